import pytest
import torch
from torch import nn

from regard.training import TrainingOptions
from regard.training.module import TaskModule, parameter_groups


def test_vectors_have_no_weight_decay_and_every_parameter_is_in_one_group():
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3), nn.LayerNorm(3))
    model[0].weight.requires_grad = False
    decayed, plain = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(3, 5)]
    assert [tuple(parameter.shape) for parameter in plain["params"]] == [(3,), (3,), (3,)]


def test_nothing_to_train():
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        parameter_groups(nn.ReLU(), 0.0)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_the_gradient_is_clipped_as_a_whole(toy, clip):
    task = toy.Toy()
    module = TaskModule(task, TrainingOptions(clip=clip), lambda step: 1.0)
    for parameter in task.model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    length = 3.0 * sum(parameter.numel() for parameter in task.model.parameters()) ** 0.5
    module.configure_gradient_clipping(None)
    norm = torch.cat([parameter.grad.flatten() for parameter in task.model.parameters()]).norm().item()
    assert norm == pytest.approx(clip or length, rel=1e-5)
    if clip:
        assert module.gradient_norm.item() == pytest.approx(length)
