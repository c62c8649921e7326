"""One thread that runs models, and one bounded queue before it."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

_RECENT = 0.9  # what stays of the mean time of an input when another has been run


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is run on inputs: equal calls can be run together.

    Args:
        model: its name.
        verb: what it is to do.
        options: how.
        run: gives a result for each input.
    """

    model: str
    verb: str
    options: Hashable
    run: Callable[[list[Any]], Sequence[Any]] = field(compare=False)


@dataclass(frozen=True, eq=False)
class _Job:
    call: Call
    item: Any
    future: "Future[Any]"


class Full(Exception):
    """The queue has no place.

    Args:
        seconds: after which there may be one.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full: try again in {seconds} s")
        self.seconds = seconds


class Worker:
    """Runs what is submitted, one batch at a time, in the order in which it came.

    Args:
        queue: inputs that may wait.
        batch: inputs that are run together, where they wait for the same call.
        ran: told of every batch: its call, how many inputs, and seconds.
    """

    def __init__(
        self, *, queue: int, batch: int, ran: Callable[[Call, int, float], None] = lambda call, size, seconds: None
    ) -> None:
        self._queue, self._batch, self._ran = queue, batch, ran
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._pace = 0.0  # seconds of an input, the mean of late
        self._thread = threading.Thread(target=self._work, name="regard-worker", daemon=True)

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def close(self) -> None:
        """Run what was accepted, take nothing more, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def submit(self, call: Call, items: Sequence[Any]) -> list["Future[Any]"]:
        """Accept all of these inputs, or none; a future that is cancelled while it waits is not run.

        Raises:
            Full: there is no place for them, or the worker is being closed.
        """
        jobs = [_Job(call, item, Future()) for item in items]
        with self._changed:
            if self._closed or len(self._waiting) + len(jobs) > self._queue:
                raise Full(max(1, math.ceil(self._pace * len(self._waiting))))
            self._waiting.extend(jobs)
            self._changed.notify()
        return [job.future for job in jobs]

    def _work(self) -> None:
        while jobs := self._next():
            alive = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if alive:
                began = time.perf_counter()
                _run(alive)
                seconds = time.perf_counter() - began
                self._pace = _RECENT * self._pace + (1 - _RECENT) * seconds / len(alive)
                self._ran(alive[0].call, len(alive), seconds)

    def _next(self) -> list[_Job]:
        """The first that waits, and those behind it that wait for the same call; none when the worker is closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            taken: list[_Job] = []
            left: deque[_Job] = deque()
            for job in self._waiting:
                same = not taken or job.call == taken[0].call
                (taken if same and len(taken) < self._batch else left).append(job)
            self._waiting = left
            return taken


def _run(jobs: list[_Job]) -> None:
    """Run them together; where that fails, each alone, so that none fails by its neighbour's fault."""
    try:
        results = list(jobs[0].call.run([job.item for job in jobs]))
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
            return
        for job in jobs:
            _run([job])
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)
