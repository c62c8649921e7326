"""The command line as its users meet it: words in; a status, an output and one line of error out."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from regard.cli.main import main

# What a run of a second is told; each test adds --data and --run.
TINY = (
    *("--sub_words.vocabulary=60", "--model.dim=16", "--model.layers=1", "--model.heads=2"),
    *("--model.feed_forward=32", "--model.dropout=0.1", "--batch_tokens=128", "--training.epochs=2"),
    *("--training.warmup_steps=5", "--training.log_every=1", "--training.average=2", "--training.device=cpu"),
    *("--training.precision=float32", "--decoding.max_length=17", "--decoding.width=3"),
)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    def told(self, verb: str) -> str:
        """The one line of a command that failed as it should."""
        assert self.status == 1, self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith(f"regard {verb}: ")
        assert "Traceback" not in self.err
        assert self.out == ""
        return self.err.removeprefix(f"regard {verb}: ").removesuffix("\n")


@pytest.fixture
def regard(capsys) -> Callable[..., Done]:
    """Runs `regard WORDS...` in this process."""

    def run(*words: object) -> Done:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Done(status=status, out=captured.out, err=captured.err)

    return run


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """The flags of a training that takes a second."""
    return TINY


def write_pairs(folder: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    for ending, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{ending}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder of pairs: 24 to train, 7 to validate, 5 to test. To be read only."""
    subjects = {"the dog": "der Hund", "a man": "ein Mann", "a bird": "ein Vogel"}
    verbs = {"sees": "sieht", "hears": "hört", "likes": "mag"}
    objects = {"the cat": "die Katze", "a house": "ein Haus", "the car": "das Auto", "a ball": "einen Ball"}
    pairs = [
        (" ".join((s, v, o)), " ".join((subjects[s], verbs[v], objects[o])))
        for s, v, o in product(subjects, verbs, objects)
    ]
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder, "train", pairs[:24])
    write_pairs(folder, "val", pairs[24:31])
    write_pairs(folder, "test", pairs[31:])
    return folder


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory) -> tuple[Path, Done]:
    """A run that was trained by `regard train`, and what that printed."""
    import contextlib
    import io

    path = tmp_path_factory.mktemp("runs") / "whole"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["train", "translation", "--data", str(data), "--run", str(path), *TINY])
    return path, Done(status=status, out=out.getvalue(), err=err.getvalue())


@pytest.fixture(scope="session")
def model(finished) -> Path:
    """The run directory of a trained model. To be read only."""
    path, done = finished
    assert done.status == 0, done.err
    return path


@pytest.fixture
def copied(model, tmp_path) -> Path:
    """A copy of that run directory, to be spoilt."""
    return Path(shutil.copytree(model, tmp_path / "copied"))
