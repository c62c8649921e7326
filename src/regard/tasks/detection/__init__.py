"""Detection: pictures with boxes around things in, a model that finds such things out."""

from regard.tasks.detection.application import load, resume, train
from regard.tasks.detection.detection import Detection
from regard.tasks.detection.picture_detector import Output, PictureDetector
from regard.tasks.detection.recipe import Recipe

__all__ = ["Detection", "Output", "PictureDetector", "Recipe", "load", "resume", "train"]
