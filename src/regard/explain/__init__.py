"""What a model attended to, as people read it: alignments, an HTML page and a picture."""

from regard.explain.alignment import Alignment, Attended, entropy
from regard.explain.page import page
from regard.explain.picture import draw

__all__ = ["Alignment", "Attended", "draw", "entropy", "page"]
