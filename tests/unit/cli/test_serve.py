"""`regard serve` as a process: it says where it is, and ends without losing what it accepted."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest


@contextmanager
def process(*words: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running service, and its address."""
    command = [sys.executable, "-m", "regard", "serve", *map(str, words), "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        try:
            for line in served.stderr:
                if found := re.match(r"serving on (http://127\.0\.0\.1:\d+) - Ctrl-C ends it", line):
                    break
            else:
                pytest.fail("the service did not start")
            yield served, found[1]
        finally:
            served.kill()


def test_it_ends_without_losing_a_request(model: Path) -> None:
    answers: Counter[str] = Counter()

    def ask(address: str, number: int) -> None:
        """A client that keeps its connection, and asks until nobody takes one any more."""
        with httpx.Client(timeout=60) as client:
            while True:
                try:
                    body = {"inputs": [f"a man sees {number}"]}
                    answers[str(client.post(f"{address}/v1/models/small/predict", json=body).status_code)] += 1
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    answers[repr(error)] += 1  # a request without an answer
                    return

    with process(f"small={model}", "--queue", 4) as (served, address):
        clients = [threading.Thread(target=ask, args=(address, number)) for number in range(16)]
        for client in clients:
            client.start()
        until = time.monotonic() + 60
        while (sum(answers.values()) < 100 or not answers["503"]) and time.monotonic() < until:
            time.sleep(0.01)
        served.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(60)
        assert served.stderr is not None
        told = served.stderr.read()
        assert served.wait(60) == 0
    assert set(answers) == {"200", "503"}, "some were refused, all were answered"
    total = sum(answers.values())
    assert told.endswith(f"{total} requests accepted, {total} answered\n"), told


def test_a_port_that_is_taken(regard: Any, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = regard("serve", model, "--port", port)
    assert done.status == 1
    assert f"regard serve: cannot listen on 127.0.0.1 port {port} (Address already in use): give another" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/such/run"], "no/such/run is not a run directory: there is no such folder"),
        (["MODEL", "MODEL"], "two models are called "),
        (["a b=MODEL"], "stands in addresses"),
        (["MODEL", "--queue", "0"], "queue is more than 0; got 0"),
        (["hf:some/model"], "hf:some/model may do several tasks: add --task"),
    ],
)
def test_what_cannot_be_served(regard: Any, model: Path, words: list[str], said: str) -> None:
    done = regard("serve", *(word.replace("MODEL", str(model)) for word in words))
    assert done.status == 1
    assert said in done.err.splitlines()[-1]


def test_a_token_is_no_word_of_the_command(regard: Any, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "token"
    path.write_text("short\n")
    assert "a token has 8 characters or more" in regard("serve", model, "--token-file", path).err
    monkeypatch.setenv("REGARD_TOKEN", "short")
    assert "a token has 8 characters or more" in regard("serve", model).err
