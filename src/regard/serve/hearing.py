"""Words while they are said: of a recording, and of a sound that is still coming in."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import APIRouter, File, HTTPException, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from regard.data.sounds import read_sound
from regard.serve.answers import answer, event
from regard.serve.guard import LIVE
from regard.serve.model import Model
from regard.serve.running import Runner
from regard.serve.uploads import mended

Kept = Callable[[list[UploadFile]], AbstractAsyncContextManager[list[Path]]]

_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def add_hearing(router: APIRouter, model: Model, runner: Runner, kept: Kept) -> None:
    """Add both addresses."""
    rate = int(model.predictor.recipe.rate)
    Chunk = Annotated[float, Query(ge=0.1, le=30, description="seconds that are heard at a time")]
    Ahead = Annotated[float, Query(ge=0, le=10, description="seconds behind them that are awaited")]

    async def words(sound: AsyncIterator[torch.Tensor], chunk: float, ahead: float) -> AsyncIterator[bytes]:
        """The events of a sound that comes in pieces."""
        stream = model.predictor.stream(chunk=chunk, ahead=ahead)
        said: list[str] = []

        async def step(run: Callable[[Any], Any], given: Any) -> list[bytes]:
            """Let the stream hear more; the words that are complete."""
            call = model.feed(lambda one: list(run(one)))
            # That the client is gone is seen when the next piece is read, or an event sent.
            (found,) = await answer(runner.wait(None, await runner.accept_when_free(call, [given])))
            said.extend(word.text for word in found)
            return [event("word", {"text": word.text, "start": word.start, "end": word.end}) for word in found]

        try:
            async for piece in sound:
                for one in await step(stream.feed, piece):
                    yield one
            for one in await step(lambda nothing: stream.finish(), None):
                yield one
            yield event("done", {"text": " ".join(said)})
        except HTTPException as error:  # the answer has begun: it is told as its last event
            yield event("error", {"status": error.status_code, "detail": error.detail})
        except ClientDisconnect:
            return

    @router.post("/stream", response_class=StreamingResponse, responses=_EVENTS)
    async def stream(
        file: Annotated[UploadFile, File(description="a recording")],
        chunk: Chunk = 1.0,
        ahead: Ahead = 0.5,
    ) -> StreamingResponse:
        """The words of a recording as they are heard, as server-sent events: `word` with its times, then `done`."""
        async with kept([file]) as paths:
            reading = run_in_threadpool(read_sound, paths[0], rate)
            sound = await answer(reading, partial(mended, paths=paths))

        async def pieces() -> AsyncIterator[torch.Tensor]:
            for piece in sound.split(max(1, round(chunk * rate))):
                yield piece

        return StreamingResponse(words(pieces(), chunk, ahead), media_type="text/event-stream")

    @router.post(LIVE, response_class=StreamingResponse, responses=_EVENTS)
    async def listen(request: Request, chunk: Chunk = 1.0, ahead: Ahead = 0.5) -> StreamingResponse:
        """The words of a sound while it comes in: raw, 16 bits, one channel, at the model's rate.

        arecord -t raw -f S16_LE -r 16000 | curl -N -T - http://127.0.0.1:8000/v1/models/NAME/listen
        """

        async def pieces() -> AsyncIterator[torch.Tensor]:
            rest, least = b"", 2 * max(1, round(0.1 * rate))
            async for more in request.stream():
                rest += more
                while len(rest) >= least:
                    size = min(len(rest) - len(rest) % 2, 16 * least)
                    piece, rest = rest[:size], rest[size:]
                    yield _samples(piece)
            if len(rest) > 1:
                yield _samples(rest[: len(rest) - len(rest) % 2])

        return _Live(words(pieces(), chunk, ahead), media_type="text/event-stream")


class _Live(StreamingResponse):
    """An answer to what is still being sent: nobody else listens for what arrives, whether the client is gone."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.stream_response(send)


def _samples(raw: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw), dtype=torch.int16).float() / 32768.0
