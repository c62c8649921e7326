"""A request's way through the worker: refused, answered in time, or given up."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import HTTPException, Request

from regard.serve.settings import Settings
from regard.serve.worker import Call, Full, Worker

_LOOK = 0.5  # seconds between looks whether the client is still there
_AGAIN = 0.05  # seconds until a stream asks again for a place


class Gone(Exception):
    """The client did not wait for the answer."""


class Runner:
    """Runs calls for requests.

    Args:
        worker: that runs them.
        settings: the time that a request may take.
    """

    def __init__(self, worker: Worker, settings: Settings) -> None:
        self.worker, self.settings = worker, settings

    def accept(self, call: Call, items: Sequence[Any]) -> "list[Future[Any]]":
        """Put inputs into the queue.

        Raises:
            HTTPException: 503, with the seconds after which to try again, where it is full.
        """
        try:
            return self.worker.submit(call, items)
        except Full as full:
            raise HTTPException(503, str(full), {"Retry-After": str(full.seconds)}) from None

    async def accept_when_free(self, call: Call, items: Sequence[Any]) -> "list[Future[Any]]":
        """The same for what belongs to a stream that was accepted: it waits for its turn.

        Raises:
            HTTPException: 503, where it waited in vain.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.timeout
        while True:
            try:
                return self.worker.submit(call, items)
            except Full:
                if loop.time() > deadline:
                    raise HTTPException(503, f"no place in the queue within {self.settings.timeout:g} s") from None
                await asyncio.sleep(_AGAIN)

    async def run(self, request: Request, call: Call, items: Sequence[Any]) -> list[Any]:
        """The results of inputs, in their order.

        Raises:
            HTTPException: 503 as `accept`; 504 where it took too long.
            Gone: the client left; what had not begun is not run.
        """
        return await self.wait(request, self.accept(call, items))

    async def wait(self, request: Request | None, futures: "Sequence[Future[Any]]") -> list[Any]:
        """What inputs that were accepted have for results; of a request it is asked whether its client is there."""
        results = asyncio.gather(*map(asyncio.wrap_future, futures))
        try:
            async with asyncio.timeout(self.settings.timeout):
                while not (await asyncio.wait({results}, timeout=_LOOK))[0]:
                    if request is not None and await request.is_disconnected():
                        raise Gone
            return await results
        except TimeoutError:
            raise HTTPException(504, f"no answer within {self.settings.timeout:g} s") from None
        finally:
            results.cancel()  # what still waits is not run
