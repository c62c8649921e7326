"""What a model attended to, as people read it: looks, explanations, numbers of each head, an HTML page and pictures."""

from regard.explain.attribution import Attribution
from regard.explain.heads import HeadReport, head_report, sinks
from regard.explain.look import Grid, Layer, Look, Side, of_weights, records
from regard.explain.page import page
from regard.explain.picture import draw, draw_attribution, draw_entropy, draw_map, draw_over, draw_received
from regard.explain.pieces import Piece, read
from regard.explain.relevance import cross_relevance, head_importance, pooled_relevance, relevance
from regard.explain.rollout import raw, rollout

__all__ = [
    "Attribution",
    "Grid",
    "HeadReport",
    "Layer",
    "Look",
    "Piece",
    "Side",
    "cross_relevance",
    "draw",
    "draw_attribution",
    "draw_entropy",
    "draw_map",
    "draw_over",
    "draw_received",
    "head_importance",
    "head_report",
    "of_weights",
    "page",
    "pooled_relevance",
    "raw",
    "read",
    "records",
    "relevance",
    "rollout",
    "sinks",
]
