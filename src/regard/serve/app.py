"""The service: models under one roof, with their page."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from regard import __version__
from regard.explain.page import digest, script_and_style
from regard.serve import files as file_routes
from regard.serve import metrics, texts
from regard.serve.guard import Guard
from regard.serve.model import Model
from regard.serve.running import Gone, Runner
from regard.serve.schemas import About, Health
from regard.serve.settings import Settings
from regard.serve.worker import Worker

ASSETS = files("regard.serve").joinpath("assets")


def service(models: Sequence[Model], settings: Settings) -> FastAPI:
    """An ASGI application that serves these models.

    Raises:
        ValueError: no model, or two of one name.
    """
    names = [model.name for model in models]
    if not names:
        raise ValueError("there is no model to serve: give a run directory, or more")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two models are called {twice}: name one of them, such as {twice}-2=RUN")

    worker = Worker(queue=settings.queue, batch=settings.batch, ran=lambda *batch: counted.ran(*batch))
    counted, runner = metrics.Metrics(waiting=worker.__len__), Runner(worker, settings)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.close()  # what was accepted has been answered by now

    app = FastAPI(
        title="Regard",
        description="Trained models: what they say, and what they attended to.",
        version=__version__,
        lifespan=running,
        docs_url=None,  # a page that loads its script from elsewhere
        redoc_url=None,
    )

    @app.exception_handler(Gone)
    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        """What is wrong and where; what was sent is not sent back: it may be large, or no text that JSON can hold."""
        found = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
        return JSONResponse({"detail": found}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": "the service failed at this request; its log says how"}, 500)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(str(ASSETS / "index.html"))

    @app.get("/health")
    async def health() -> Health:
        """Whether the service runs, and how many inputs wait."""
        return Health(waiting=len(worker))

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        """What Prometheus reads."""
        return Response(counted.text(), media_type=metrics.MEDIA)

    @app.get("/v1/models")
    async def about() -> list[About]:
        """The models that are served."""
        return [described(model) for model in models]

    for model in models:
        kind: Any = texts if model.reads == "texts" else file_routes
        app.include_router(kind.routes(model, runner))
    app.state.metrics, app.state.ending = counted, False
    app.mount("/assets", StaticFiles(directory=str(ASSETS)), name="assets")
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Guard, settings=settings, policy=policy())
    app.add_middleware(metrics.Counting, metrics=counted)
    return app


def described(model: Model) -> About:
    """What people are told of a model."""
    return About.model_validate({name: getattr(model, name) for name in About.model_fields})


def policy() -> str:
    """What the page may do: run the service's own scripts and that of a look, show what it was given, and no more."""
    script, style = map(digest, script_and_style())
    return (
        f"default-src 'none'; script-src 'self' {script}; style-src 'self' {style}; img-src 'self' data: blob:; "
        "media-src data: blob:; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
