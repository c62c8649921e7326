"""The verbs of the mechanism, over the ranks of a process group: `attend` and `observe`."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.masks import Mask
from regard.attention.normalizers import Normalizer, Softmax
from regard.attention.observations import Observation, Received
from regard.attention.scores import Score
from regard.attention.seen import Record, Seen, named
from regard.attention.watching import current
from regard.distributed.layouts import Layout
from regard.distributed.observing import merging, received
from regard.distributed.ranks import Group, Ranks
from regard.distributed.setting import Options, Setting
from regard.distributed.spread import Spreading


def attend(
    query: Float[Tensor, "batch heads queries query_dim"],
    key: Float[Tensor, "batch kv_heads keys key_dim"],
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    *,
    group: Group = None,
    layout: Layout | None = None,
    key_layout: Layout | None = None,
    score: Score | None = None,
    normalize: Normalizer | None = None,
    mask: Mask | None = None,
    offset: int | Int[Tensor, " batch"] = 0,
    dropout: float = 0.0,
    backend: str = "auto",
) -> Float[Tensor, "batch heads queries value_dim"]:
    """`regard.attend` of a sequence that lies on several ranks: each gives what it holds and gets its queries' context.

    Every rank of the group calls it, with the same options. Keys and values go around the ring of the ranks, to those
    whose queries may see them, while what came before is computed; what the blocks give is merged by log-sum-exp. The
    backward pass goes around once more, so that a rank never holds the keys of more than three. A gradient of something
    learned in `score` or `normalize` is this rank's share: the whole is the sum over the ranks (`all_reduce`).

    Args:
        query, key, value: this rank's part of the sequence, as for `regard.attend`.
        group: a process group or a mesh of one dimension; None: all processes.
        layout: which positions each rank holds, `Contiguous(length)` or `ZigZag(length)`. When not given, whatever the
            ranks hold, one after the other; they then tell each other in every call how much that is.
        key_layout: that of keys and values, in cross-attention; `layout` when not given.
        score, normalize, mask, offset, dropout, backend: as for `regard.attend` of the whole sequence: masks, terms and
            `offset` count its positions. Dropout drops other weights than in one process, as many of them.

    Raises:
        TypeError: for arguments of the wrong kind or dtype.
        ValueError: for shapes that do not fit the layout, and for what cannot be split: a mask without intervals, a
            normaliser that has to see whole rows, terms that do not follow from positions.

    Source: Liu et al. 2023 (ring attention); Dubey et al. 2024, section 3.3.2 (a piece of either end).
    """
    setting = Setting(
        Ranks.of(group, layout, key_layout, query, key), Options(score, normalize, mask, offset, dropout, backend)
    )
    watched = current()
    if watched is None:
        return _run(setting, query, key, value, {})[0]
    if watched.keeps:
        raise ValueError("a call that is spread over ranks is not kept: watch(...) without keep=True")
    context, seen = _run(setting, query, key, value, watched.observations)
    watched.record(seen)
    return context


def observe(
    query: Float[Tensor, "batch heads queries query_dim"],
    key: Float[Tensor, "batch kv_heads keys key_dim"],
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    *,
    record: Record,
    group: Group = None,
    layout: Layout | None = None,
    key_layout: Layout | None = None,
    score: Score | None = None,
    normalize: Normalizer | None = None,
    mask: Mask | None = None,
    offset: int | Int[Tensor, " batch"] = 0,
    dropout: float = 0.0,
    backend: str = "auto",
) -> tuple[Float[Tensor, "batch heads queries value_dim"], Seen]:
    """`regard.observe` of a sequence that lies on several ranks.

    What is recorded of a query (`Distance`, `Entropy`, `LogSumExp`, `Mass`, `MaxScore`, `TopK`, `Total`) is of this
    rank's queries and all keys, which are counted over the whole sequence; which of two equal weights on different
    ranks is the stronger, rounding says. `Received` is of this rank's keys and all queries, and takes one more round.
    Only `LogSumExp` has a gradient.

    Args:
        record: observations, as for `regard.observe`.

    The other arguments and errors are those of `regard.distributed.attend`.
    """
    wanted = named(record)
    if not wanted:
        raise ValueError(
            "observe needs something to record: record=[regard.TopK(8)]; without, call regard.distributed.attend"
        )
    setting = Setting(
        Ranks.of(group, layout, key_layout, query, key), Options(score, normalize, mask, offset, dropout, backend)
    )
    return _run(setting, query, key, value, wanted)


def _run(
    setting: Setting, query: Tensor, key: Tensor, value: Tensor, record: dict[str, Observation]
) -> tuple[Tensor, Seen]:
    """The context of this rank's queries, and what was recorded."""
    call = setting.call(query, key, value)
    spread, normalize = setting.spread(call, record), call.normalize
    assert isinstance(normalize, Softmax), "others are not split"
    query, key, value = call.query, call.key, call.value
    inside = [*spread.score.parameters(), *spread.score.buffers()] if isinstance(spread.score, nn.Module) else []
    learned = [tensor for tensor in inside if tensor.requires_grad]
    recorder = merging(spread.record, query, spread.arrangement.parts) if spread.record else None
    context, logsumexp = Spreading.apply(spread, recorder, query, key, value, *learned)
    share = None
    if normalize.sink is not None:  # one more key, whose value is zero: it takes its share of every weight
        share = torch.sigmoid(logsumexp - normalize.sink.to(logsumexp.dtype).view(1, -1, 1))
        context = context * share.unsqueeze(-1)
    seen = {} if recorder is None else recorder.joined(None if share is None else share.detach(), logsumexp)
    for name, item in spread.record.items():
        if isinstance(item, Received):
            seen[name] = received(spread, query.detach(), key.detach(), logsumexp.detach(), share)
    return context.to(query.dtype), Seen({name: seen[name] for name in spread.record})
