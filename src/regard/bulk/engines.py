"""Who does the shards: this process, or the actors of Ray on as many machines as it has."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regard.bulk.shards import Shard
from regard.bulk.work import Work

Done = tuple[int, int, int]  # a shard, its items, and those of them that could not be read


def here(work: Work, predictor: Any, shards: Sequence[Shard]) -> Iterator[Done]:
    """One shard after the other, in this process, which has the model."""
    for shard in shards:
        yield shard.number, *work.do(predictor, shard)


def on_ray(work: Work, shards: Sequence[Shard], workers: int) -> Iterator[Done]:
    """On so many actors, each of which reads the model once (Ray Data's `map_batches`).

    The shards go out as rows and are done in any order. An actor that dies is started again, and so is its shard: a
    part is written whole or not at all, so that it is there once. The cluster is that of `RAY_ADDRESS`, all of whose
    machines have to see the model, the files and the folder; without it Ray starts on this machine.
    """
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")  # it says more of itself than of what it does
    import ray

    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers, cores = min(workers, len(shards)), int(ray.cluster_resources().get("CPU", 0))
    if workers > cores:
        raise ValueError(f"Ray has {cores} cores here, and {workers} workers take one each: --workers {max(cores, 1)}")
    rows = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
    gpu = work.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
    done = rows.map_batches(
        actor_of(work),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=1 if gpu else 0,
    )
    for row in done.iter_rows():
        yield row["number"], row["items"], row["errors"]


def actor_of(work: Work) -> type:
    """What Ray starts on a machine: the model, which does shards; in the folder that names of files start from here."""
    folder = Path.cwd()

    class Actor:
        def __init__(self) -> None:
            os.chdir(folder)
            self.predictor = work.open()

        def __call__(self, table: Any) -> dict[str, list[int]]:
            found: dict[str, list[int]] = {"number": [], "items": [], "errors": []}
            for row in table.to_pylist():
                shard = Shard(**{**row, "files": tuple(row["files"] or ())})
                items, errors = work.do(self.predictor, shard)
                for name, value in (("number", shard.number), ("items", items), ("errors", errors)):
                    found[name].append(value)
            return found

    return Actor
