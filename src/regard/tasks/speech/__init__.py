"""Speech recognition: recordings with what is said in them in, a model that writes what it hears out."""

from regard.tasks.speech.application import load, load_pretrained, resume, train
from regard.tasks.speech.output import Output
from regard.tasks.speech.recipe import Recipe
from regard.tasks.speech.recognition import Recognition
from regard.tasks.speech.transcriber import Transcriber

__all__ = ["Output", "Recipe", "Recognition", "Transcriber", "load", "load_pretrained", "resume", "train"]
