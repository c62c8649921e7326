"""Captioning: pictures with what is said of them in, a model that says what a picture shows out."""

from regard.tasks.captioning.application import load, resume, train
from regard.tasks.captioning.captioning import Captioning
from regard.tasks.captioning.picture_captioner import Output, PictureCaptioner
from regard.tasks.captioning.recipe import Recipe

__all__ = ["Captioning", "Output", "PictureCaptioner", "Recipe", "load", "resume", "train"]
