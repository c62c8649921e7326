import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from regard.training.weights import load_weights, save_weights


def model(width: int = 3) -> nn.Sequential:
    first, last = nn.Linear(width, width), nn.Linear(width, width)
    last.weight = first.weight  # tied
    return nn.Sequential(first, nn.BatchNorm1d(width), last)


def test_what_was_saved_is_loaded_and_tied_tensors_are_stored_once(tmp_path):
    saved, loaded = model(), model()
    save_weights(saved, tmp_path / "weights.safetensors")
    assert "2.weight" not in load_file(tmp_path / "weights.safetensors")
    load_weights(loaded, tmp_path / "weights.safetensors")
    for name, tensor in saved.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    assert loaded[0].weight is loaded[2].weight


def test_loading_keeps_the_tensors_themselves(tmp_path):
    """An optimiser that holds the parameters still holds them."""
    loaded = model()
    before = [id(parameter) for parameter in loaded.parameters()]
    save_weights(model(), tmp_path / "w")
    load_weights(loaded, tmp_path / "w")
    assert [id(parameter) for parameter in loaded.parameters()] == before
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            nn.Sequential(nn.Linear(3, 3)),
            r"it has 1\.bias, 1\.num_batches_tracked, .* and 2 more, which the model lacks",
        ),
        (nn.Sequential(*model(), nn.Linear(3, 2)), r"it lacks 3\.weight, 3\.bias"),
        (model(5), r"0\.weight is \(3, 3\), in the model \(5, 5\)"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, other, message):
    path = tmp_path / "weights.safetensors"
    save_weights(model(), path)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=rf"weights\.safetensors does not fit the model: .*{message}"):
        load_weights(other, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ValueError, match="does not exist: a run has it from the end of its first epoch on"):
        load_weights(model(), tmp_path / "weights.safetensors")
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04no safetensors")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_weights(model(), tmp_path / "weights.safetensors")
