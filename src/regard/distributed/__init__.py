"""Attention over several processes: a sequence that is longer than one device holds (ring attention)."""

from regard.distributed.api import attend, observe
from regard.distributed.layouts import Contiguous, Layout, ZigZag
from regard.distributed.plan import Plan, plan
from regard.distributed.shards import gather, shard

__all__ = ["Contiguous", "Layout", "Plan", "ZigZag", "attend", "gather", "observe", "plan", "shard"]
