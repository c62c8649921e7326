"""Sentiment, and every other classification of texts: labelled texts in, a classifier out."""

from regard.tasks.sentiment.application import load, load_pretrained, read, resume, train
from regard.tasks.sentiment.recipe import Recipe
from regard.tasks.sentiment.text_classifier import Classification, Output, TextClassifier

__all__ = ["Classification", "Output", "Recipe", "TextClassifier", "load", "load_pretrained", "read", "resume", "train"]
