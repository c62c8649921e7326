"""Decoding: from a model's next-token probabilities to whole outputs, by greedy, beam or sampled search."""

from .options import Beam as Beam
from .options import Greedy as Greedy
from .options import Sampling as Sampling
from .result import Hypothesis as Hypothesis
from .result import attention_of as attention_of
from .search import search as search
from .step import Progress as Progress
