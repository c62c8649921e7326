"""Translation: parallel text in, a translator out."""

from regard.tasks.translation.application import load, load_pretrained, read, resume, train
from regard.tasks.translation.recipe import Recipe
from regard.tasks.translation.translator import Translation, Translator
from regard.tasks.writing import Output

__all__ = ["Output", "Recipe", "Translation", "Translator", "load", "load_pretrained", "read", "resume", "train"]
