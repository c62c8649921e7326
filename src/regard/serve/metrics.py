"""What a service counts, as Prometheus reads it."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from regard.serve.guard import Receive, Scope, Send
from regard.serve.worker import Call

MEDIA = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Requests by address and status, seconds of each, batches, and the queue."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.accepted, self.completed = 0, 0  # requests; and those whose answer was sent to its last byte
        self._requests = Counter(
            "regard_requests", "Requests that were answered.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "regard_request_seconds",
            "From a request to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "regard_batch_inputs",
            "Inputs that were run together.",
            ["model", "verb"],
            buckets=_SIZES,
            registry=self.registry,
        )
        self._computed = Counter(
            "regard_computing_seconds", "Seconds in which models ran.", ["model", "verb"], registry=self.registry
        )
        Gauge("regard_waiting_inputs", "Inputs in the queue.", registry=self.registry).set_function(waiting)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is one of the service's own, never what a client made up."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ran(self, call: Call, size: int, seconds: float) -> None:
        """A batch was run."""
        model, verb = call.model, call.verb
        self._batches.labels(model, verb).observe(size)
        self._computed.labels(model, verb).inc(seconds)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)


class Counting:
    """Counts every request, refused ones too, and the seconds to the last byte of its answer."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        self.metrics.accepted += 1

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.metrics.completed += 1

        try:
            await self.app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.answered(route, status, time.perf_counter() - began)
