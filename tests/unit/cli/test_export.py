"""`regard export`: a run in another form."""

import re
import subprocess
import sys

import pytest


def test_ctranslate2(regard, model, tmp_path):
    folder = tmp_path / "small-ct2"
    done = regard("export", model, "--to", "ctranslate2", "-o", folder)
    assert (done.status, done.out) == (0, ""), done.err
    assert done.err.startswith(f"wrote {folder}; 2")
    assert done.err.endswith(" of 24 random sources give the same output in float32\n")
    assert {"config.json", "model.bin"} <= {path.name for path in folder.iterdir()}
    done = regard("export", model, "--to", "ctranslate2", "--quantization", "int8", "-o", tmp_path / "small-int8")
    assert "random sources give the same output in int8" in done.err


def test_programs(regard, model, tmp_path):
    """Written in a process without run-time checks of types, which torch's tracers cannot trace; in a run's place."""
    folder = tmp_path / "small"
    command = [sys.executable, "-m", "regard", "export", str(model), "--to", "onnx", "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = (
        r"wrote .*small; what it gives for random inputs is the model's within \de-\d\d; 9 of 9 outputs are the same\n"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(said, done.stderr), done.stderr
    names = {path.name for path in folder.iterdir()}
    assert names == {"encoder.onnx", "decoder.onnx", "signature.json", "config.yaml", "tokenizer.json"}

    for words in (["predict", "RUN", "a man", "the dog sees"], ["evaluate", "RUN"]):
        own, other = (regard(*(str(path) if word == "RUN" else word for word in words)) for path in (model, folder))
        assert (own.status, own.out) == (other.status, other.out), other.err
    assert "look with the run that they were exported from" in regard("look", folder, "a man").told("look")
    words = ("predict", folder, "a man", "--precision", "bfloat16")
    assert "programs compute as they were exported" in regard(*words).told("predict")
    assert "programs run on the CPU" in regard("predict", folder, "a man", "--device", "cuda").told("predict")
    assert f"{folder} was exported itself" in regard("export", folder, "--to", "hub").told("export")
    assert f"{folder} was exported from a run, and does not train" in regard("resume", folder).told("resume")

    signature = (folder / "signature.json").read_text()
    for damaged, said in (
        (signature[:70], "signature.json is damaged"),
        (signature.replace("decoder.onnx", "other.onnx"), f"there is no program {folder / 'other.onnx'}"),
        (signature.replace("decoder.onnx", "../decoder.pt2"), f"{folder / 'decoder.pt2'} is read by pickle"),
        (signature.replace("decoder.onnx", "tokenizer.onnx"), "tokenizer.onnx is damaged, or no program of ONNX"),
    ):
        (folder / "signature.json").write_text(damaged)
        (folder / "tokenizer.onnx").write_bytes((folder / "tokenizer.json").read_bytes())
        assert said in regard("predict", folder, "a man").told("predict")


def test_hub(regard, model, tmp_path):
    folder = tmp_path / "small-hub"
    assert f"wrote {folder}; put it on a hub by: " in regard("export", model, "--to", "hub", "-o", folder).err
    assert regard("predict", folder, "a man").out == regard("predict", model, "a man").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/run", "--to", "hub"], "no/run is not a run directory: there is no such folder"),
        (["MODEL", "--to", "hub", "--quantization", "int8"], "is for --to ctranslate2 and onnx, not for hub"),
        (["MODEL", "--to", "hub", "-o", "MODEL"], "exists and is not empty: choose another with -o"),
    ],
)
def test_what_cannot_be_exported(regard, model, words, said):
    assert said in regard("export", *(word.replace("MODEL", str(model)) for word in words)).told("export")
