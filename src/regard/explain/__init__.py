"""What a model attended to, as people read it: explanations, numbers of each head, an HTML page and pictures."""

from regard.explain.alignment import Alignment, Attended, entropy
from regard.explain.attribution import Attribution
from regard.explain.heads import HeadReport, head_report, sinks
from regard.explain.page import page
from regard.explain.picture import draw
from regard.explain.relevance import cross_relevance, head_importance, relevance
from regard.explain.rollout import raw, rollout

__all__ = [
    "Alignment",
    "Attended",
    "Attribution",
    "HeadReport",
    "cross_relevance",
    "draw",
    "entropy",
    "head_importance",
    "head_report",
    "page",
    "raw",
    "relevance",
    "rollout",
    "sinks",
]
