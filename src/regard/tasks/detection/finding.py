"""From a picture to the boxes of its things."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from regard.data.scene import Scene, cropped, fitted
from regard.models.boxes import to_corners
from regard.models.detector import Detector
from regard.models.device import device_of
from regard.tasks.detection.metrics import MOST, Detected, Truth
from regard.tasks.detection.recipe import Recipe
from regard.training.programs import Exported


@torch.no_grad()
def find_things(model: Detector | Exported, picture: UInt8[Tensor, "3 height width"], recipe: Recipe) -> Detected:
    """The surest things in a picture, in its own pixels, at most `MOST`; of each query every class counts."""
    height, width = recipe.size
    small = fitted(Scene(picture=picture), height, width)
    given = cropped(small, 0, 0, height, width).picture[None].to(device_of(model))
    found = model(given)
    sure, classes = found.logits[0].float().sigmoid().flatten().cpu(), found.logits.shape[-1]
    scores, places = sure.topk(min(MOST, len(sure)))
    boxes = to_corners(found.boxes[0].float().cpu())[places // classes]
    tall, wide = picture.shape[-2:]
    scale = width * wide / small.size[1], height * tall / small.size[0]
    boxes = boxes * boxes.new_tensor(scale * 2)
    limits = boxes.new_tensor((wide, tall, wide, tall))
    return Detected(boxes=boxes.clamp(min=torch.zeros(4), max=limits), scores=scores, labels=places % classes)


def truth(scene: Scene) -> Truth:
    """What is true of a scene."""
    assert scene.boxes is not None
    assert scene.labels is not None
    return Truth(size=scene.size, boxes=scene.boxes, labels=scene.labels)
