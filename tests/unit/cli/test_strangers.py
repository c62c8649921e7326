"""Run directories that are no such thing, damaged, of another version, or traps: one line, and nothing is executed."""

import json
import os
import pickle
import re

import pytest
import torch
import yaml

READERS = ("evaluate", "predict", "look", "resume")


class Bomb:
    """What it is unpickled to is a folder that its maker named."""

    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    """A folder that is there if something was executed."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "a file was executed"


@pytest.fixture
def told(regard, copied):
    """What a verb says of the spoilt run, with what it needs to do its work."""

    def tell(verb: str) -> str:
        words = {"predict": ["a man"], "look": ["a man", "-o", copied / "page.html"]}.get(verb, [])
        message = regard(verb, copied, *words).told(verb)
        assert not (copied / "page.html").exists()
        return message

    return tell


def test_the_bomb_is_one(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


@pytest.mark.parametrize("verb", READERS)
def test_a_configuration_that_calls_a_function(told, copied, marker, verb):
    (copied / "config.yaml").write_text(f"version: 1\ntask: !!python/object/apply:os.mkdir ['{marker}']\n")
    assert "config.yaml is not plain YAML: could not determine a constructor" in told(verb)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "look"])
def test_weights_that_are_a_pickle(told, copied, marker, verb):
    (copied / "weights.safetensors").write_bytes(pickle.dumps(Bomb(marker)))
    assert "weights.safetensors is not a readable safetensors file" in told(verb)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "look"])
def test_weights_of_torch_save(told, copied, marker, verb):
    torch.save(Bomb(marker), copied / "weights.safetensors")
    assert "weights.safetensors is not a readable safetensors file" in told(verb)


def test_a_checkpoint_that_calls_a_function(told, copied, marker):
    torch.save({"version": 1, "model": Bomb(marker)}, copied / "resume.ckpt")
    assert "holds more than tensors and plain values, so it was not written by regard, and was not executed" in told(
        "resume"
    )


def test_a_checkpoint_of_something_else(told, copied):
    torch.save({"version": 1, "model": {}}, copied / "resume.ckpt")
    assert "resume.ckpt lacks progress, metrics, " in told("resume")


def test_a_checkpoint_is_none_of_prediction_s_business(regard, copied, marker):
    torch.save({"version": 1, "model": Bomb(marker)}, copied / "resume.ckpt")
    assert regard("predict", copied, "a man").status == 0


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1, "joint": true, "source": {}, "target": null}'])
def test_a_tokenizer_that_is_none(told, copied, verb, text):
    (copied / "tokenizer.json").write_text(text)
    assert re.search(r"tokenizer\.json is damaged \(.*\): take it from a copy of the run, or train again", told(verb))


@pytest.mark.parametrize("verb", READERS)
def test_a_tokenizer_of_another_version(told, copied, verb):
    content = json.loads((copied / "tokenizer.json").read_text(encoding="utf-8"))
    (copied / "tokenizer.json").write_text(json.dumps({**content, "version": 7}))
    assert "tokenizer.json has version 7, but this release reads version 1" in told(verb)


def changed(copied, **values) -> None:
    config = yaml.safe_load((copied / "config.yaml").read_text())
    kept = {key: value for key, value in {**config, **values}.items() if value is not None}
    (copied / "config.yaml").write_text(yaml.safe_dump(kept))


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"version": 99, "regard": "9.9.9"},
            r"has `version: 99` \(written by regard 9\.9\.9\); regard .* reads `version: 1`",
        ),
        ({"version": None}, r"has `version: None`"),
        ({"task": None}, r"config\.yaml does not say which task it is a run of: it has no `task:`"),
        ({"task": "cooking"}, r"there is no task 'cooking'; the tasks are: translation"),
        ({"task": "os"}, r"there is no task 'os'"),
        ({"modle": {}}, r"config\.yaml: unknown key modle; did you mean model\?"),
        ({"data": None}, r"config\.yaml: .*data"),
        ({"batch_tokens": "many"}, r"config\.yaml: .*\"batch_tokens\": Expected a <class 'int'>\. Got value: many"),
    ],
)
def test_a_configuration_of_another_kind(told, copied, verb, values, message):
    changed(copied, **values)
    assert re.search(message, told(verb))


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n"])
def test_a_configuration_that_is_no_mapping(told, copied, text):
    (copied / "config.yaml").write_text(text)
    assert "config.yaml is not a mapping of options" in told("predict")


@pytest.mark.parametrize("size", [0, 5, 997])
def test_damaged_weights(told, copied, size):
    weights = copied / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "weights.safetensors is not a readable safetensors file" in told("predict")


def test_weights_of_another_model(told, copied):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    changed(copied, model={**config["model"], "dim": 20})
    message = told("predict")
    assert "does not fit the model" in message
    assert "Build the model with the options in the run's own config.yaml" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weights.safetensors", "does not exist"),
        ("tokenizer.json", "there is no tokenizer at"),
        ("config.yaml", "it has no"),
    ],
)
def test_a_file_that_is_missing(told, copied, name, message):
    (copied / name).unlink()
    assert message in told("predict")


@pytest.mark.parametrize("verb", READERS)
def test_no_run_at_all(regard, tmp_path, verb):
    words = ["a man"] if verb in ("predict", "look") else []
    for path, message in ((tmp_path / "none", "there is no such folder"), (tmp_path, "it has no config.yaml")):
        told = regard(verb, path, *words).told(verb)
        assert told == f"{path} is not a run directory: {message}"
