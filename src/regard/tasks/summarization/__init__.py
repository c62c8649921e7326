"""Summarization: documents and their summaries in, a model that summarises out."""

from regard.tasks.summarization.application import load, load_pretrained, read, resume, train
from regard.tasks.summarization.recipe import Recipe
from regard.tasks.summarization.summarizer import Summarization, Summarizer
from regard.tasks.writing import Output

__all__ = ["Output", "Recipe", "Summarization", "Summarizer", "load", "load_pretrained", "read", "resume", "train"]
