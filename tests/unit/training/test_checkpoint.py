import os

import pytest
import torch

from regard.training.checkpoint import load_checkpoint, save_checkpoint


class Bomb:
    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_tensors_and_plain_values_come_back(tmp_path):
    path = tmp_path / "resume.ckpt"
    state = {
        "model": {"a": torch.randn(3)},
        "progress": {"best": None, "spent": 1.5},
        "random": (3, (1, 2), None),
    }
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["model"].pop("a"), state["model"].pop("a"))
    assert loaded == {"version": 1, **state}


def test_a_strangers_checkpoint_is_not_executed(tmp_path):
    path = tmp_path / "resume.ckpt"
    torch.save({"version": 1, "model": Bomb(tmp_path / "executed")}, path)
    with pytest.raises(ValueError, match="not written by regard, and was not executed"):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_neither_is_one_in_any_other_form(tmp_path, legacy):
    import pickle

    path = tmp_path / "resume.ckpt"
    if legacy:
        torch.save(Bomb(tmp_path / "executed"), path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(ValueError, match=r"not executed|is broken"):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_missing_broken_and_of_another_format(tmp_path):
    path = tmp_path / "resume.ckpt"
    with pytest.raises(ValueError, match=r"does not exist.*start it anew"):
        load_checkpoint(path)
    save_checkpoint(path, {"a": torch.zeros(99)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="is broken"):
        load_checkpoint(path)
    torch.save({"version": 7}, path)
    with pytest.raises(ValueError, match="format 7; this regard reads 1"):
        load_checkpoint(path)
