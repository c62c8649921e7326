"""The folder of what came out: a part for each shard, whole or not there."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parts:
    """Files of JSON lines, one for each shard, and what they are of (`plan.json`).

    A part appears under its name when it is complete, so that what is there need not be done again, by whomever.
    """

    folder: Path

    def path(self, number: int) -> Path:
        """The part of a shard."""
        return self.folder / f"part-{number:06d}.jsonl"

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Make the folder for outputs of this plan, or go on with it.

        Raises:
            ValueError: the folder holds something else.
        """
        path = self.folder / "plan.json"
        if not path.exists():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise ValueError(f"{self.folder} is not empty: name another folder by -o")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(path, json.dumps(plan, indent=2, ensure_ascii=False))
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in plan if before.get(name) != plan[name]]
        if other:
            raise ValueError(
                f"{self.folder} holds what came out of another call ({', '.join(other)} was different): name another "
                "folder by -o"
            )

    def missing(self, count: int) -> list[int]:
        """The shards, of so many, that have no part yet."""
        return [number for number in range(count) if not self.path(number).exists()]

    def write(self, number: int, records: Sequence[Mapping[str, Any]]) -> None:
        """Write the part of a shard."""
        self._write(self.path(number), "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))

    def _write(self, path: Path, text: str) -> None:
        """Whole or not at all, also where two write the same."""
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        hidden.write_text(text, encoding="utf-8")
        os.replace(hidden, path)
