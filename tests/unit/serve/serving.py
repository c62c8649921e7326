"""A service that runs in a thread, on a port of its own."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from regard.serve.app import service
from regard.serve.model import Model
from regard.serve.settings import Settings


@contextmanager
def serving(models: Sequence[Model], settings: Settings | None = None) -> Iterator[str]:
    """Its address."""
    app = service(models, settings or Settings())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
