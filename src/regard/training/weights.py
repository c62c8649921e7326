"""Weights as safetensors: every tensor once, read and checked by name and shape, nothing executed."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from regard.training.files import atomic_write


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and persistent buffers by name, tied ones once under their first name."""
    seen: set[tuple[object, ...]] = set()
    unique = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        unique[name] = tensor
    return unique


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes `tensors` to `path`, whole or not at all."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with atomic_write(path) as file:
        file.write(content)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads what `write_tensors` wrote.

    Raises:
        ValueError: the file is missing or is no safetensors file.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: a run has it from the end of its first epoch on")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}): copy it again") from error


def save_weights(model: nn.Module, path: Path) -> None:
    """Saves the model's weights to `path`, whole or not at all."""
    write_tensors(path, unique_tensors(model))


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads the weights at `path` into the model, in place.

    Raises:
        ValueError: the file is missing or broken, or lacks tensors, has others, or has them in another shape.
    """
    assign_tensors(model, read_tensors(path), str(path))


@torch.no_grad()
def assign_tensors(model: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Copies `tensors` into the model's own, after checking every name and shape; errors name `origin`."""
    own = unique_tensors(model)
    problems = []
    if missing := [name for name in own if name not in tensors]:
        problems.append(f"it lacks {_listed(missing)}")
    if unexpected := sorted(tensors.keys() - own.keys()):
        problems.append(f"it has {_listed(unexpected)}, which the model lacks")
    for name in own:
        if name in tensors and tensors[name].shape != own[name].shape:
            problems.append(f"{name} is {tuple(tensors[name].shape)}, in the model {tuple(own[name].shape)}")
    if problems:
        raise ValueError(
            f"{origin} does not fit the model: {'; '.join(problems[:5])}. "
            "Build the model with the options in the run's own config.yaml"
        )
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _listed(names: list[str]) -> str:
    """At most four names, and how many more."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
