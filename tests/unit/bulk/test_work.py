"""What is done with a shard, by a model of two lines."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.bulk.shards import Shard
from regard.bulk.work import Work


@dataclass(frozen=True)
class Drawn:
    text: str

    def record(self) -> dict[str, Any]:
        return {"text": self.text}

    def files(self) -> dict[str, bytes]:
        return {"-mask.png": self.text.encode()}


class Predictor:
    """Reads every name but those with "broken" in them."""

    model = None
    draws = True

    def predict(self, inputs: Sequence[str], *, loud: bool = False) -> Iterator[list[Drawn]]:
        for given in inputs:
            if "broken" in given:
                raise ValueError(f"{given} is cut off")
            yield [Drawn(given.upper() if loud else given)]


def test_one_that_is_broken_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    work = Work(model="run", task=None, folder=str(tmp_path), search={"loud": True})
    files = ("a/one.png", "b/one.png", "a/broken.png", "c/two.png")
    assert work.do(Predictor(), Shard(number=4, files=files)) == (4, 1)
    records = [json.loads(line) for line in (tmp_path / "part-000004.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == list(files)
    assert records[2] == {"id": files[2], "input": files[2], "error": "a/broken.png is cut off"}
    assert [record["outputs"][0]["text"] for record in records if "outputs" in record] == [
        "A/ONE.PNG",
        "B/ONE.PNG",
        "C/TWO.PNG",
    ]
    drawn = [record["files"] for record in records if "files" in record]
    assert drawn == [
        [f"files/000004/{name}"] for name in ("0000-one-mask.png", "0001-one-mask.png", "0003-two-mask.png")
    ]
    assert (tmp_path / drawn[1][0]).read_bytes() == b"B/ONE.PNG"


def test_a_shard_that_is_done_again_is_the_same(tmp_path: Path) -> None:
    work = Work(model="run", task=None, folder=str(tmp_path))
    shard = Shard(number=0, files=("one.png", "two.png"))
    found = []
    for _ in range(2):
        work.do(Predictor(), shard)
        found.append({path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert found[0] == found[1]
    assert sorted(found[0]) == ["0000-one-mask.png", "0001-two-mask.png", "part-000000.jsonl"]
