"""Segmentation: pictures with a class for each pixel in, a model that paints such masks out."""

from regard.tasks.segmentation.application import load, resume, train
from regard.tasks.segmentation.picture_segmenter import Output, PictureSegmenter
from regard.tasks.segmentation.recipe import Recipe
from regard.tasks.segmentation.segmentation import Segmentation

__all__ = ["Output", "PictureSegmenter", "Recipe", "Segmentation", "load", "resume", "train"]
