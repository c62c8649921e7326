"""A run directory: everything that one training leaves, and nothing that is executed when it is read."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from regard.training.files import atomic_write, clear_disk_errors
from regard.training.programs import SIGNATURE, Exported
from regard.training.weights import load_weights, save_weights

FORMAT = 1


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run, by name.

    `config.yaml` (resolved options), `weights.safetensors` (all that predict, look and serve read),
    `tokenizer.json` and, of what classifies, `labels.json` beside it, `metrics.jsonl`, `loss.png`, `metric.png`,
    `train.log`, `evaluation.json` (what `regard evaluate` found), `resume.ckpt` (read by `resume` alone),
    `epochs/epoch-NNN.safetensors` (the last, for the average),
    `samples/epoch-NNN.png` of tasks that show what they find.
    """

    path: Path

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any]) -> "RunDirectory":
        """Makes a new run directory with `config` (plain values) in its `config.yaml`.

        Raises:
            ValueError: `path` is a file, or a folder that is not empty.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, and a run is a folder: choose another, for example {path}-run")
        if path.is_dir() and any(path.iterdir()):
            hint = f"continue it with: regard resume {path}" if (path / "config.yaml").exists() else "it is no run"
            raise ValueError(f"{path} exists and is not empty ({hint}): choose another, for example {path}-2")
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        head = {"regard": _version(), "version": FORMAT}
        text = yaml.safe_dump({**head, **config}, sort_keys=False, allow_unicode=True)
        with atomic_write(run.config_path) as file:
            file.write(text.encode())
        return run

    @classmethod
    def open(cls, path: Path | str) -> "RunDirectory":
        """Opens the run directory at `path`.

        Raises:
            ValueError: `path` is no run directory, or one of a format that this version does not read.
        """
        path = Path(path)
        if not path.is_dir():
            raise ValueError(f"{path} is not a run directory: there is no such folder")
        run = cls(path)
        if not run.config_path.is_file():
            raise ValueError(f"{path} is not a run directory: it has no config.yaml")
        run.read_config()
        return run

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def weights_path(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def pretrained_path(self) -> Path:
        return self.path / "pretrained"

    @property
    def labels_path(self) -> Path:
        return self.path / "labels.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluation_path(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "resume.ckpt"

    @property
    def log_path(self) -> Path:
        return self.path / "train.log"

    @property
    def exported(self) -> bool:
        """Whether it is no run, but what `regard export` wrote of one: programs in the place of weights."""
        return (self.path / SIGNATURE).exists()

    def read_config(self) -> dict[str, Any]:
        """What `create` was given, without the two keys of the format.

        Raises:
            ValueError: `config.yaml` is no YAML mapping of plain values, or of another format.
        """
        try:
            config = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{self.config_path} is not plain YAML: {reason}") from error
        if not isinstance(config, dict):
            raise ValueError(
                f"{self.config_path} is not a mapping of options: a run's own file has `version: {FORMAT}`"
            )
        written_by, found = config.pop("regard", "an unknown version"), config.pop("version", None)
        if found != FORMAT:
            raise ValueError(
                f"{self.config_path} has `version: {found}` (written by regard {written_by}); "
                f"regard {_version()} reads `version: {FORMAT}`: train again, or use the regard that wrote it"
            )
        return config

    def save_labels(self, labels: Sequence[str]) -> None:
        """Writes `labels.json`, whole or not at all."""
        with atomic_write(self.labels_path) as file:
            file.write(json.dumps(list(labels), ensure_ascii=False, indent=0).encode())

    def read_labels(self) -> list[str]:
        """The classes that the run tells apart, in the order of its model's outputs.

        Raises:
            ValueError: `labels.json` is missing or is no list of texts.
        """
        try:
            labels = json.loads(self.labels_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"there are no labels at {self.labels_path}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.labels_path} is damaged ({error}): take it from a copy of the run") from None
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise ValueError(
                f"{self.labels_path} is damaged: it must be a list of texts; take it from a copy of the run"
            )
        return labels

    def save_samples(self, epoch: int, png: bytes) -> None:
        """Writes what a task shows after an epoch to `samples/epoch-NNN.png`, whole or not at all."""
        path = self.path / "samples" / f"epoch-{epoch:03d}.png"
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            file.write(png)

    def save_weights(self, model: nn.Module) -> None:
        """Writes `weights.safetensors`, whole or not at all."""
        save_weights(model, self.weights_path)

    def load_weights(self, model: nn.Module) -> None:
        """Loads `weights.safetensors` into `model`; see `regard.training.weights.load_weights`."""
        load_weights(model, self.weights_path)

    def load_model(self, build: Callable[[], nn.Module]) -> Any:
        """The trained model: what `build` makes, with the run's weights; of what `regard export` wrote, programs."""
        if self.exported:
            return Exported(self.path)
        model = build()
        self.load_weights(model)
        return model

    def epoch_path(self, epoch: int) -> Path:
        """Where the weights after `epoch` epochs (counted from 1) are."""
        return self.path / "epochs" / f"epoch-{epoch:03d}.safetensors"

    def epoch_paths(self) -> list[Path]:
        """The epochs' weights that are kept, in order."""
        return sorted((self.path / "epochs").glob("epoch-*.safetensors"), key=lambda path: int(path.stem[6:]))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds one line to `metrics.jsonl`."""
        self._append(self.metrics_path, json.dumps(row))

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last line cut off by a kill is left out."""
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def save_evaluation(self, split: str, scores: Sequence[Mapping[str, Any]]) -> None:
        """Keeps what `regard evaluate` found on a split in `evaluation.json`, beside what it found on others."""
        found = {**self.read_evaluations(), split: [dict(score) for score in scores]}
        with atomic_write(self.evaluation_path) as file:
            file.write(json.dumps(found, ensure_ascii=False, indent=1).encode())

    def read_evaluations(self) -> dict[str, list[dict[str, Any]]]:
        """The scores of every split that was evaluated: `name`, `value`, `signature`, and of what writes `search`."""
        if not self.evaluation_path.exists():
            return {}
        found: dict[str, list[dict[str, Any]]] = json.loads(self.evaluation_path.read_text(encoding="utf-8"))
        return found

    def forget_metrics_after(self, step: int) -> None:
        """Drops what a run resumed at `step` measures again: what came after, a cut epoch, the end."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        rows = [row for row in rows if row["kind"] != "final" and row.get("complete", True)]
        with atomic_write(self.metrics_path) as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    def log(self, text: str) -> None:
        """Adds one line with the time to `train.log`."""
        self._append(self.log_path, f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")

    @staticmethod
    def _append(path: Path, line: str) -> None:
        with clear_disk_errors(path), open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def _version() -> str:
    import regard

    return regard.__version__
