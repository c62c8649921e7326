"""Vision models of `transformers` as visual encoders: pictures in, maps of features at several strides out."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig, AutoImageProcessor, PreTrainedConfig, ViTImageProcessor

from regard.hub.adopt import adopt
from regard.hub.pretrained import without_bars
from regard.models.vision import MEAN, SPREAD, MapsOfOne, Normalise

_LEVELS = 4  # maps of a model in stages: its last ones
_TRIAL = 64  # pixels of the picture that a model's strides are measured by


class Backbone(nn.Module):
    """A vision model of `transformers`, by the protocol of :class:`regard.models.vision.VisualEncoder`.

    Of a model in stages, each at half the resolution of the one before, the maps are those of its last four stages. A
    model that keeps one resolution, such as a Vision Transformer, gives its last map, from which finer and coarser ones
    are made (ViTDet: Li et al. 2022).

    Attention runs by Regard; a model that computes it in code of its own keeps that, and shows nothing to `watch`.

    Args:
        inner: the model.
        mean, spread: what its pictures are normalised by.
    """

    def __init__(self, inner: Any, mean: tuple[float, ...] = MEAN, spread: tuple[float, ...] = SPREAD) -> None:
        super().__init__()
        self.normalise = Normalise(mean, spread)
        try:
            self.inner = adopt(inner)
        except ValueError:  # of convolutions alone, or with attention of its own
            self.inner = inner
        training = inner.training
        with torch.no_grad():
            maps = inner.eval()(torch.zeros(1, 3, _TRIAL, _TRIAL)).feature_maps
        inner.train(training)
        sides = [each.shape[-1] for each in maps]
        self.patch: int | None = None
        if len(set(sides)) == len(sides) > 1:
            self.dims, self.strides = tuple(each.shape[1] for each in maps), tuple(_TRIAL // side for side in sides)
        else:
            self.patch = int(inner.config.patch_size)
            self.pyramid = MapsOfOne(maps[-1].shape[1], self.patch)
            self.dims, self.strides = self.pyramid.dims, self.pyramid.strides

    @property
    def global_layers(self) -> dict[str, int]:
        """None that are known: whether a model's layers attend among all places is its own affair."""
        return {}

    def forward(self, pictures: Tensor) -> list[Float[Tensor, "batch _dim _height _width"]]:
        """The maps of pictures `(batch, 3, height, width)`, whose values are 0 to 255, by ascending stride."""
        normal = self.normalise(pictures)
        if self.patch is None:
            return list(self.inner(normal).feature_maps)
        height, width = normal.shape[-2:]
        filled = nn.functional.pad(normal, (0, -width % self.patch, 0, -height % self.patch))
        return self.pyramid(self.inner(filled).feature_maps[-1], height, width)


def load_backbone(name: str) -> Backbone:
    """A model of the hub or of a folder, with its weights. Safetensors only; no remote code.

    Raises:
        OSError: there is no such model, or it has no safetensors.
        ValueError: it is no visual encoder with stages.
    """
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    kind, stages = _kind(config, name), len(config.stage_names)
    indices = list(range(max(0, stages - _LEVELS), stages))
    with without_bars():
        inner = kind.from_pretrained(name, out_indices=indices, use_safetensors=True)
    return Backbone(inner, *_normalisation(name))


def build_backbone(folder: Path) -> Backbone:
    """The model that :func:`save_backbone` described, with new weights."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return Backbone(_kind(config, str(folder))(config), *_normalisation(str(folder)))


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write what a run needs beside its weights: the configuration, and what pictures are normalised by."""
    backbone.inner.config.save_pretrained(folder)
    mean, spread = ((each.flatten() / 255.0).tolist() for each in (backbone.normalise.mean, backbone.normalise.spread))
    ViTImageProcessor(image_mean=mean, image_std=spread).save_pretrained(folder)


def _kind(config: PreTrainedConfig, name: str) -> Any:
    """The class that gives maps of features. `AutoBackbone` would ask the hub, of a folder too, whether it has it."""
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING or not getattr(config, "stage_names", None):
        raise ValueError(
            f"{name} ({config.model_type}) is no visual encoder that gives maps: take one such as resnet, convnext, "
            "swin or dinov2"
        )
    return MODEL_FOR_BACKBONE_MAPPING[type(config)]


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and spread of the pictures that a model was trained on; ImageNet's, if it does not say."""
    try:
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        return MEAN, SPREAD
    return tuple(processor.image_mean), tuple(processor.image_std)
