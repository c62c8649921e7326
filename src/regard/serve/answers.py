"""What answers are made of: outputs as JSON, errors in the user's words, events of a stream."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import HTTPException

from regard.serve.schemas import Problem

T = TypeVar("T")

MEDIA = {"json": "application/json", "html": "text/html; charset=utf-8", "png": "image/png"}
LOOKS: dict[int | str, dict[str, Any]] = {200: {"content": {media.split(";")[0]: {} for media in MEDIA.values()}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The body is not what it says it is",
        401: "No token, or another",
        408: "The request did not arrive in time",
        413: "More than what is read at a time",
        422: "Something in the request is wrong, and what",
        503: "The queue is full: try again after the seconds of Retry-After",
        504: "No answer in time",
    }.items()
}


async def answer(running: Awaitable[T], mend: Callable[[ValueError], str] = str) -> T:
    """What ran; what a model finds wrong with its input is the client's to mend, in the model's words."""
    try:
        return await running
    except ValueError as error:
        raise HTTPException(422, " ".join(mend(error).split())) from None


def encoded(output: Any, *, files: bool = False) -> dict[str, Any]:
    """An output for programs, with its files if they are wanted."""
    record = dict(output.record())
    if files:
        record["files"] = {name: base64.b64encode(content).decode() for name, content in output.files().items()}
    return record


def event(kind: str, data: Any) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
