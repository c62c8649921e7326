"""The process that serves."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from regard.serve.app import service
from regard.serve.model import Model
from regard.serve.settings import Settings

LINGER = 1.0  # seconds for those who are connected, and just about to ask again, to hear that it is over


def serve(models: Sequence[Model], settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; then take no more requests, answer those that were accepted, and end.

    Raises:
        OSError: the address cannot be listened on.
    """
    app = service(models, settings)
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # what people send is theirs
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(settings.timeout) + 5,  # an answer may take that long
    )
    print(f"serving on http://{shown}:{port} - Ctrl-C ends it", file=sys.stderr, flush=True)
    if not settings.local and settings.token is None:
        print(
            "others can reach it, and it asks for no token: set REGARD_TOKEN, or put a proxy before it", file=sys.stderr
        )
    # The server restores these handlers and raises once more what ended it: a service that ended well exits with 0.
    for ends in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ends, lambda number, frame: None)
    _Server(config).run(sockets=[listening])
    counted = app.state.metrics
    print(f"{counted.accepted} requests accepted, {counted.completed} answered", file=sys.stderr)
    return 0


class _Server(uvicorn.Server):
    """One that takes leave: a connection that is kept open is closed with an answer, never under a request."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections; answer those there are, each for the last time; close what is left."""
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        self.config.app.state.ending = True  # type: ignore[union-attr]
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(
            f"cannot listen on {settings.host} port {settings.port} ({os.strerror(error.errno or 0)}): "
            "give another --port, or 0 for any"
        ) from None
