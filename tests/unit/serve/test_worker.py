"""The queue: what waits, what runs together, and what is refused."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from typing import Any

import pytest

from regard.serve.worker import Call, Full, Worker


class Running:
    """A worker whose calls double numbers, once they are let."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.let, self.begun = threading.Event(), threading.Event()
        self.ran: list[tuple[str, int]] = []
        self.worker = Worker(ran=lambda call, size, seconds: self.ran.append((call.verb, size)), **options)
        self.worker.start()

    def call(self, verb: str) -> Call:
        def run(items: list[int]) -> list[int]:
            self.begun.set()
            assert self.let.wait(30)
            self.batches.append((verb, list(items)))
            if any(item < 0 for item in items):
                raise ValueError("numbers below 0 are not doubled")
            return [2 * item for item in items]

        return Call(model="m", verb=verb, options=None, run=run)

    def held(self) -> Any:
        """Something that runs, so that all else waits."""
        (future,) = self.worker.submit(self.call("first"), [0])
        assert self.begun.wait(30)
        return future


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(*, queue: int = 8, batch: int = 4) -> Running:
        made.append(Running(queue=queue, batch=batch))
        return made[-1]

    yield make
    for one in made:
        one.let.set()
        one.worker.close()


def test_what_waits_for_the_same_call_is_run_together_and_in_order(running: Callable[..., Running]) -> None:
    one = running(queue=20, batch=4)
    futures = [one.held()]
    for verb, items in (("a", [1, 2]), ("b", [3]), ("a", [4, 5, 6]), ("b", [7])):
        futures += one.worker.submit(one.call(verb), items)
    assert len(one.worker) == 7
    one.let.set()
    assert [future.result(30) for future in futures] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert one.batches == [("first", [0]), ("a", [1, 2, 4, 5]), ("b", [3, 7]), ("a", [6])]
    one.worker.close()
    assert one.ran == [("first", 1), ("a", 4), ("b", 2), ("a", 1)]


def test_the_queue_is_bounded_and_takes_all_or_nothing(running: Callable[..., Running]) -> None:
    one = running(queue=4)
    one.held()
    one.worker.submit(one.call("a"), [1, 2, 3])
    with pytest.raises(Full, match=r"the queue is full: try again in 1 s"):
        one.worker.submit(one.call("a"), [4, 5])
    assert len(one.worker) == 3
    one.worker.submit(one.call("a"), [4])
    with pytest.raises(Full):
        one.worker.submit(one.call("b"), [5])
    one.let.set()


def test_an_input_that_fails_fails_alone(running: Callable[..., Running]) -> None:
    one = running(batch=8)
    held = one.held()
    good, bad, other = one.worker.submit(one.call("a"), [1, -1, 3])
    one.let.set()
    wait([held, good, bad, other], 30)
    assert (good.result(), other.result()) == (2, 6)
    with pytest.raises(ValueError, match="below 0"):
        bad.result()


def test_what_nobody_waits_for_is_not_run(running: Callable[..., Running]) -> None:
    one = running()
    held = one.held()
    gone, stays = one.worker.submit(one.call("a"), [1, 2])
    assert gone.cancel()
    one.let.set()
    assert stays.result(30) == 4
    assert held.result() == 0
    assert one.batches[1] == ("a", [2])
    with pytest.raises(CancelledError):
        gone.result()


def test_closing_runs_what_was_accepted_and_takes_no_more(running: Callable[..., Running]) -> None:
    one = running(batch=1)
    futures = [one.held(), *one.worker.submit(one.call("a"), [1, 2, 3])]
    closing = threading.Thread(target=one.worker.close)
    closing.start()
    while True:  # until the worker knows that it is closed
        try:
            futures += one.worker.submit(one.call("a"), [9])
        except Full:
            break
    one.let.set()
    closing.join(30)
    assert not closing.is_alive()
    assert all(future.done() and not future.cancelled() for future in futures)
    assert [future.result() for future in futures[:4]] == [0, 2, 4, 6]
