"""Reading all of a data set once, before anything is trained: what cannot be read is named, or left out."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_all(
    read: Callable[[int], T], count: int, *, skip: bool, things: str = "pictures"
) -> tuple[dict[int, T], list[str]]:
    """What `read` gives for each place that can be read, and what is wrong with each of the others.

    Args:
        read: reads what stands at a place; a ValueError says what is wrong with it. Threads call it, since decoding
            pictures holds no lock.
        count: how many places there are.
        skip: go on without what cannot be read, instead of raising.
        things: what they are, in the error.

    Raises:
        ValueError: something cannot be read, and is not to be left out; or nothing can be read.
    """

    def tried(place: int) -> tuple[T | None, str]:
        try:
            return read(place), ""
        except ValueError as error:
            return None, str(error)

    found: dict[int, T] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for place, (one, problem) in enumerate(pool.map(tried, range(count))):
            if problem:
                problems.append(problem)
            else:
                found[place] = one  # type: ignore[assignment]
    if problems and not (skip and found):
        rest = f" And {len(problems) - 1} more cannot be read." if len(problems) > 1 else ""
        raise ValueError(f"{problems[0]}.{rest} To go on without such {things}: --files.broken skip")
    return found, problems
