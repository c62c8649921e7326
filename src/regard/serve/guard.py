"""What stands before the service: who may call it, how much a request may hold, and what browsers may do with it."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from regard.serve.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_OPEN = ("/", "/health", "/openapi.json")  # and all below /assets: what needs no token
LIVE = "/listen"  # ends the address of what is sent while it is answered
_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses requests by their head, counts what arrives of their body, and signs every answer.

    Args:
        app: what it stands before.
        settings: the limits.
        policy: the content security policy of pages.
    """

    def __init__(self, app: Any, settings: Settings, policy: str) -> None:
        self.app, self.settings, self.policy = app, settings, policy
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, self._signing(scope, send))
            return
        self._held += 1
        try:
            live = scope["path"].endswith(LIVE)
            await self.app(
                scope, self._awaited(receive) if live else self._counting(receive), self._signing(scope, send)
            )
        finally:
            self._held -= 1

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Why a request is not heard, if it is not."""
        settings, headers, path = self.settings, Headers(scope=scope), scope["path"]
        host = (urlsplit(f"//{headers.get('host', '')}").hostname or "").lower()
        if settings.hosts is not None and host not in settings.hosts:
            return _told(421, f"this service is not called {host!r}; allow the name by --name {host or 'NAME'}")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in _SAFE:
            own = urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
            if not own and origin not in settings.origins:
                return _told(403, f"pages of {origin} may not call this service; allow them by --origin {origin}")
        if settings.token is not None and path not in _OPEN and not path.startswith("/assets/"):
            kind, _, given = headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(given.strip().encode(), settings.token.encode())
            if (kind.lower() != "bearer" or not known) and scope["method"] != "OPTIONS":
                return _told(
                    401, "give the service's token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
                )
        if self._held >= settings.connections:
            return _told(503, f"{self._held} requests are held already: try again", {"Retry-After": "1"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > settings.upload:
            return _told(413, self._large())
        return None

    def _awaited(self, receive: Receive) -> Receive:
        """What arrives, as long as it does: of a sound that is still coming in nothing is kept."""

        async def awaited() -> MutableMapping[str, Any]:
            try:
                async with asyncio.timeout(self.settings.patience):
                    return await receive()
            except TimeoutError:
                raise HTTPException(408, f"nothing came for {self.settings.patience:g} s") from None

        return awaited

    def _counting(self, receive: Receive) -> Receive:
        """What arrives, until it is too much or too late."""
        arrived, whole = 0, False
        deadline = asyncio.get_running_loop().time() + self.settings.patience

        async def counted() -> MutableMapping[str, Any]:
            nonlocal arrived, whole
            if whole:  # what comes now is that the client is gone
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the request took longer than {self.settings.patience:g} s") from None
            arrived += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if arrived > self.settings.upload:
                raise HTTPException(413, self._large())
            return message

        return counted

    def _signing(self, scope: Scope, send: Send) -> Send:
        """Every answer, with what browsers are to know of it."""

        async def signed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", self.policy)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                if scope["app"].state.ending:
                    headers["Connection"] = "close"  # who asks again finds another service, or none
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "cross-origin" if self.settings.origins else "same-origin"
                headers["Permissions-Policy"] = "microphone=(self), camera=(), geolocation=()"
            await send(message)

        return signed

    def _large(self) -> str:
        return f"the request has more than the {self.settings.upload:,} bytes that are read"


def _told(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
