"""What is done with a shard: the model reads its inputs, and a part is written."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regard.bulk.parts import Parts
from regard.bulk.shards import Item, Shard
from regard.tasks.computing import computing, place
from regard.tasks.opening import open_model
from regard.training.options import Device, Precision


@dataclass(frozen=True, eq=False, kw_only=True)
class Work:
    """A model by name and how it is to predict: what can be sent to another machine.

    Args:
        model, task: as `open_model` takes them.
        folder: for the parts, and what outputs draw.
        search: how a model that writes is to search, as its `predict` takes it.
    """

    model: str
    task: str | None
    folder: str
    device: Device = "auto"
    precision: Precision = "float32"
    search: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Any:
        """The model, read and put where it is to compute."""
        _, predictor, _ = open_model(self.model, self.task)
        place(predictor, self.device)
        return predictor

    def do(self, predictor: Any, shard: Shard) -> tuple[int, int]:
        """Write the part of a shard: how many items it has, and how many of them could not be read."""
        items = list(shard.items())
        found = dict(self._predicted(predictor, [item for item in items if not isinstance(item[1], ValueError)]))
        records: list[dict[str, Any]] = []
        for number, (where, given) in enumerate(items):
            if isinstance(given, ValueError):
                records.append({"id": where, "error": str(given)})
            elif isinstance(found[where], ValueError):
                records.append({"id": where, "input": given, "error": str(found[where])})
            else:
                record: dict[str, Any] = {
                    "id": where,
                    "input": given,
                    "outputs": [output.record() for output in found[where]],
                }
                if getattr(predictor, "draws", False):
                    record["files"] = self._drawn(found[where], shard, number)
                records.append(record)
        Parts(Path(self.folder)).write(shard.number, records)
        return len(records), sum("error" in record for record in records)

    def _predicted(self, predictor: Any, items: list[Item]) -> Iterator[tuple[str, Any]]:
        """The outputs of each item, or the error that it is; one bad item costs its neighbours nothing but time."""
        with computing(predictor, self.precision):
            try:
                outputs = list(predictor.predict([given for _, given in items], **self.search)) if items else []
            except ValueError:
                for where, given in items:
                    try:
                        yield where, next(iter(predictor.predict([given], **self.search)))
                    except ValueError as error:
                        yield where, error
            else:
                yield from zip((where for where, _ in items), outputs, strict=True)

    def _drawn(self, outputs: Any, shard: Shard, number: int) -> list[str]:
        """Writes what the outputs of an item draw: the names of the files, in the folder."""
        folder = Path(self.folder) / "files" / f"{shard.number:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        names = []
        for output in outputs:
            for ending, content in output.files().items():
                path = folder / f"{number:04d}-{Path(shard.files[number]).stem}{ending}"
                path.write_bytes(content)
                names.append(str(path.relative_to(self.folder)))
        return names
