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


def test_programs(model, tmp_path):
    """In a process without the run-time checks of types, which torch's tracers cannot trace."""
    command = [sys.executable, "-m", "regard", "export", str(model), "--to", "torch", "-o", str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = (
        r"wrote .*small; what it gives for random inputs is the model's within \de-\d\d; 9 of 9 outputs are the same\n"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(said, done.stderr), done.stderr
    names = {path.name for path in (tmp_path / "small").iterdir()}
    assert names == {"encoder.pt2", "decoder.pt2", "signature.json", "tokenizer.json"}


def test_hub(regard, model, tmp_path):
    folder = tmp_path / "small-hub"
    assert f"wrote {folder}; put it on a hub by: " in regard("export", model, "--to", "hub", "-o", folder).err
    assert regard("predict", folder, "a man").out == regard("predict", model, "a man").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/run", "--to", "hub"], "no/run is not a run directory: there is no such folder"),
        (["MODEL", "--to", "hub", "--quantization", "int8"], "--quantization is for --to ctranslate2, not for hub"),
        (["MODEL", "--to", "hub", "-o", "MODEL"], "exists and is not empty: choose another with -o"),
    ],
)
def test_what_cannot_be_exported(regard, model, words, said):
    assert said in regard("export", *(word.replace("MODEL", str(model)) for word in words)).told("export")
