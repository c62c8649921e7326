"""Captioning: pictures with what is said of them in, a model that says what a picture shows out."""

from regard.tasks.captioning.application import load, resume, train
from regard.tasks.captioning.captioning import Captioning
from regard.tasks.captioning.picture_captioner import PictureCaptioner
from regard.tasks.captioning.recipe import Recipe
from regard.tasks.said import Said

__all__ = ["Captioning", "PictureCaptioner", "Recipe", "Said", "load", "resume", "train"]
