"""Interleaved timing: every rival runs once a round, so that a noisy machine is noisy for all of them."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def interleaved(rivals: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each rival's runs, `rounds` of them after `warmup` that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(warmup + rounds):
        for name, run in rivals.items():
            began = time.perf_counter()
            run()
            if number >= warmup:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def median(values: list[float]) -> float:
    return statistics.median(values)


def machine() -> str:
    """The line that every report begins with."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return (
        f"{cpu}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
