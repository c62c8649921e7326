"""The addresses of a model that reads pictures or sounds."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from regard.serve import model as models
from regard.serve.answers import LOOKS, MEDIA, PROBLEMS, answer, encoded
from regard.serve.hearing import add_hearing
from regard.serve.model import Model
from regard.serve.running import Runner
from regard.serve.schemas import Prediction, Search
from regard.serve.uploads import Unfit, check, keep, mended


def routes(model: Model, runner: Runner) -> APIRouter:
    """What can be asked of it."""
    router = APIRouter(prefix=f"/v1/models/{model.name}", tags=[model.name], responses=PROBLEMS)
    settings, noun = runner.settings, model.reads

    @asynccontextmanager
    async def kept(uploads: Sequence[UploadFile]) -> AsyncIterator[list[Path]]:
        """The files of a request, for as long as it is answered."""
        if len(uploads) > settings.inputs:
            raise HTTPException(
                413, f"{len(uploads)} files were sent, and at most {settings.inputs} are read at a time"
            )
        with TemporaryDirectory(prefix="regard-") as folder:
            paths = []
            for number, upload in enumerate(uploads):
                path = await run_in_threadpool(keep, upload.file, upload.filename, number, Path(folder))
                try:
                    await run_in_threadpool(check, path, model.reads, settings)
                except Unfit as error:
                    raise HTTPException(422, str(error)) from None
                paths.append(path)
            yield paths

    def options(given: str | None) -> Any:
        """How to search, as JSON in a field of the form; nothing where there is no choice."""
        if not model.searches:
            return None
        recipe = model.predictor.recipe.decoding
        try:
            return recipe if not given else Search.model_validate_json(given).options(recipe)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        except (ValueError, TypeError) as error:
            raise HTTPException(422, str(error)) from None

    Files = Annotated[list[UploadFile], File(description=f"{noun}, one or more")]
    Wanted = Annotated[bool, Form(description="whether to give what is drawn or written of each output, in base64")]
    How = Annotated[str | None, Form(description="of models that write: a Search as JSON")]

    @router.post("/predict", response_model=Prediction, response_model_exclude_none=True)
    async def predict(request: Request, files: Files, drawn: Wanted = False, search: How = None) -> dict[str, Any]:
        """The outputs for each file, best first."""
        chosen = options(search)
        async with kept(files) as paths:
            mend = partial(mended, paths=paths)
            found = await answer(runner.run(request, model.predict(chosen), paths), mend)
            with_files = drawn and model.files
            rows = await run_in_threadpool(lambda: [[encoded(one, files=with_files) for one in row] for row in found])
        return {"model": model.name, "outputs": rows}

    @router.post("/look", response_class=Response, responses=LOOKS)
    async def look(
        request: Request,
        file: Annotated[UploadFile, File(description=f"one of the {noun}")],
        form: Annotated[models.Form, Query(description="json for programs, a page to explore, or a picture")] = "json",
        strongest: Annotated[int, Query(ge=1, le=64, description="json: keys of each query")] = 8,
    ) -> Response:
        """What the model attended to."""
        async with kept([file]) as paths:
            call = model.look(form, strongest)
            (content,) = await answer(runner.run(request, call, paths), partial(mended, paths=paths))
        return Response(content, media_type=MEDIA[form])

    if model.streams:
        add_hearing(router, model, runner, kept)
    return router
