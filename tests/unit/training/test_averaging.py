import pytest
import torch

from regard.training.averaging import average_weights
from regard.training.weights import write_tensors


def test_the_mean_by_hand(tmp_path):
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for number, path in enumerate(paths):
        half = torch.tensor([float(number)], dtype=torch.bfloat16)
        write_tensors(path, {"a": torch.tensor([1.0, 3.0 * number]), "half": half, "count": torch.tensor(number)})
    mean = average_weights(paths)
    assert mean["a"].tolist() == [1.0, 3.0]
    assert mean["half"].dtype == torch.bfloat16
    assert mean["count"].item() == 2  # not floating point: the last


def test_the_mean_of_one_is_itself(tmp_path):
    tensor = torch.randn(7, 11)
    write_tensors(tmp_path / "a", {"a": tensor})
    assert torch.equal(average_weights([tmp_path / "a"] * 3)["a"], tensor)


def test_nothing_to_average():
    with pytest.raises(ValueError, match="no epochs to average"):
        average_weights([])
