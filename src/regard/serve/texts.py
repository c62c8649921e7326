"""The addresses of a model that reads texts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, create_model

from regard.serve.answers import LOOKS, MEDIA, PROBLEMS, answer, encoded, event
from regard.serve.model import Form, Model
from regard.serve.running import Gone, Runner
from regard.serve.schemas import Closed, Prediction, Search


def routes(model: Model, runner: Runner) -> APIRouter:
    """What can be asked of it."""
    router = APIRouter(prefix=f"/v1/models/{model.name}", tags=[model.name], responses=PROBLEMS)
    settings = runner.settings
    Text = Annotated[str, Field(min_length=1, max_length=settings.characters)]
    search: dict[str, Any] = {"search": (Search | None, None)} if model.searches else {}
    example = model.example
    Many: Any = create_model(
        f"{model.name}_Texts",
        __base__=Closed,
        inputs=(
            list[Text],
            Field(min_length=1, max_length=settings.inputs, examples=[[example]], description="texts, one or more"),
        ),
        **search,
    )
    One: Any = create_model(
        f"{model.name}_Text", __base__=Closed, input=(Text, Field(examples=[example], description="a text")), **search
    )

    def options(body: Any) -> Any:
        """How to search; nothing where there is no choice."""
        if not model.searches:
            return None
        recipe = model.predictor.recipe.decoding
        try:
            return recipe if body.search is None else body.search.options(recipe)
        except (ValueError, TypeError) as error:
            raise HTTPException(422, str(error)) from None

    @router.post("/predict", response_model=Prediction, response_model_exclude_none=True)
    async def predict(request: Request, body: Many) -> dict[str, Any]:
        """The outputs for each text, best first."""
        found = await answer(runner.run(request, model.predict(options(body)), body.inputs))
        return {"model": model.name, "outputs": [[encoded(one) for one in outputs] for outputs in found]}

    @router.post("/look", response_class=Response, responses=LOOKS)
    async def look(
        request: Request,
        body: One,
        form: Annotated[Form, Query(description="json for programs, a page to explore, or a picture")] = "json",
        strongest: Annotated[int, Query(ge=1, le=64, description="json: keys of each query")] = 8,
    ) -> Response:
        """What the model attended to while it read a text, and wrote its own."""
        (content,) = await answer(runner.run(request, model.look(form, strongest), [body.input]))
        return Response(content, media_type=MEDIA[form])

    if not model.streams:
        return router

    @router.post("/stream", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
    async def stream(request: Request, body: One) -> StreamingResponse:
        """The text while it is written, as server-sent events: `text` with all there is so far, then `done`."""
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[str] = asyncio.Queue()

        def tell(so_far: str) -> None:
            loop.call_soon_threadsafe(told.put_nowait, so_far)

        futures = runner.accept(model.write(options(body)), [(body.input, tell)])

        async def events() -> AsyncIterator[bytes]:
            whole = asyncio.ensure_future(answer(runner.wait(request, futures)))
            try:
                while not whole.done() or not told.empty():
                    next_one = asyncio.ensure_future(told.get())
                    await asyncio.wait({whole, next_one}, return_when=asyncio.FIRST_COMPLETED)
                    if next_one.done():
                        yield event("text", {"text": next_one.result()})
                    next_one.cancel()
                yield event("done", {"outputs": [encoded(one) for one in whole.result()[0]]})
            except HTTPException as error:  # the answer has begun: it is told as its last event
                yield event("error", {"status": error.status_code, "detail": error.detail})
            except Gone:
                return
            finally:
                whole.cancel()

        return StreamingResponse(events(), media_type="text/event-stream")

    return router
