"""A service under load: clients that all ask at once, the bound of the queue, and an end in the middle of it.

    python benchmarks/serving.py RUN INPUT...

RUN is a model of texts, INPUT are texts that clients send in turn. Every client asks again as soon as it is answered,
and waits as long as it is told where the queue is full. Latencies are those of answered requests, as clients see them.
At the end the service is sent SIGTERM while all of them ask: what it accepted it has to answer, and it says how many
those were. Clients and service share the machine.
"""

import argparse
import asyncio
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle

import httpx
from timing import machine


class Load:
    """What clients saw."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.refused_connections = 0
        self.lost = 0
        self.waiting = 0

    async def ask(self, url: str, texts: list[str], until: float, number: int) -> None:
        """One client."""
        given = cycle(texts[number % len(texts) :] + texts[: number % len(texts)])
        async with httpx.AsyncClient(timeout=120) as client:
            while time.perf_counter() < until:
                began = time.perf_counter()
                try:
                    answer = await client.post(url, json={"inputs": [next(given)]})
                except httpx.ConnectError:  # it takes no more
                    self.refused_connections += 1
                    return
                except httpx.TransportError:  # it took the connection, and gave no answer
                    self.lost += 1
                    return
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.seconds.append(time.perf_counter() - began)
                elif answer.status_code == 503:
                    await asyncio.sleep(min(float(answer.headers["Retry-After"]), 1.0))

    async def watch(self, url: str, until: float) -> None:
        """The longest queue."""
        async with httpx.AsyncClient() as client:
            while time.perf_counter() < until:
                try:
                    self.waiting = max(self.waiting, (await client.get(url)).json()["waiting"])
                except httpx.TransportError:
                    return
                await asyncio.sleep(0.02)

    def row(self, name: str, took: float) -> str:
        """A line of the table."""
        ordered = sorted(self.seconds) or [float("nan")]
        p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
        ok, full = self.statuses[200], self.statuses[503]
        other = sum(self.statuses.values()) - ok - full
        return f"| {name} | {ok} | {ok / took:.1f} | {p50:.3f} | {p99:.3f} | {full} | {other} | {self.waiting} |"


async def load(address: str, name: str, texts: list[str], clients: int, seconds: float, stop: object = None) -> Load:
    """So many clients for so long; `stop` is called in the middle."""
    found, until = Load(), time.perf_counter() + seconds
    url = f"{address}/v1/models/{name}/predict"
    asking = [found.ask(url, texts, until, number) for number in range(clients)]
    tasks = [asyncio.ensure_future(one) for one in (*asking, found.watch(f"{address}/health", until))]
    if callable(stop):
        await asyncio.sleep(seconds / 2)
        stop()
    await asyncio.gather(*tasks)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of a task that reads texts")
    parser.add_argument("input", nargs="+", help="texts")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 20, 200])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    flags = ["--port", "0", "--queue", str(options.queue), "--threads", str(options.threads)]
    command = [sys.executable, "-m", "regard", "serve", f"model={options.run}", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        address = next(found[1] for line in served.stderr if (found := re.match(r"serving on (\S+) ", line)))
        print(f"{machine()}\nqueue of {options.queue}, {options.threads} computing threads\n")
        print(
            "| clients | answered | a second | p50, s | p99, s | 503 | other | longest queue |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        httpx.post(f"{address}/v1/models/model/predict", json={"inputs": options.input[:1]}, timeout=120)
        for clients in options.clients:
            found = asyncio.run(load(address, "model", options.input, clients, options.seconds))
            print(found.row(str(clients), options.seconds), flush=True)

        def end() -> None:
            served.send_signal(signal.SIGTERM)

        found = asyncio.run(load(address, "model", options.input, options.clients[-1], options.seconds, end))
        print(found.row(f"{options.clients[-1]}, ended in the middle", options.seconds / 2), flush=True)
        print(
            f"\n{served.stderr.read().strip().splitlines()[-1]}; exit status {served.wait()}; "
            f"{found.lost} connections without an answer, {found.refused_connections} refused when it was over"
        )


if __name__ == "__main__":
    main()
