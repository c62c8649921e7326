"""What requests and answers look like."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from regard.decoding import Beam, Greedy, Sampling
from regard.decoding.choosing import chosen, misplaced


class Closed(BaseModel):
    """No field that is not known: a misspelt option is told and not passed over."""

    model_config = ConfigDict(extra="forbid")


class Search(Closed):
    """How to search; what is not given is as in the model's recipe."""

    kind: Literal["beam", "greedy", "sampling"] = "beam"
    width: int | None = Field(None, ge=1, le=32, description="beam: outputs kept at every step")
    length_penalty: float | None = Field(None, ge=0, le=10, description="beam: 0 favours short outputs, 1 the mean")
    n_best: int | None = Field(None, ge=1, le=32, description="beam: outputs given for each input")
    temperature: float | None = Field(None, gt=0, le=100, description="sampling: below 1 sharpens, above 1 flattens")
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="sampling: among the K likeliest tokens; 0: all")
    top_p: float | None = Field(None, gt=0, le=1, description="sampling: among the likeliest of this probability")
    samples: int | None = Field(None, ge=1, le=32, description="sampling: outputs drawn for each input")
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="sampling: seed")
    max_length: int | None = Field(None, ge=1, le=1000, description="longest output, in tokens")
    min_length: int | None = Field(None, ge=0, le=1000, description="shortest output, in tokens")
    no_repeat_ngram: int | None = Field(None, ge=0, le=100, description="no N tokens in a row appear twice; 0: off")

    def options(self, recipe: Beam) -> Greedy | Beam | Sampling:
        """The recipe's search with what was given.

        Raises:
            ValueError: options of another kind, or that contradict each other.
        """
        given = self.model_dump(exclude={"kind"}, exclude_none=True)
        if found := misplaced(self.kind, given):
            raise ValueError(f'{found[0]} does nothing in {self.kind} search: give "kind": "{found[1]}" too')
        return chosen(self.kind, given, recipe)


class Output(BaseModel):
    """One of the outputs for an input, with what the task says of it."""

    model_config = ConfigDict(extra="allow")

    files: dict[str, str] | None = Field(None, description="what is drawn or written of it, in base64, by its ending")


class Prediction(BaseModel):
    """The outputs of each input, best first, in the order of the inputs."""

    model: str
    outputs: list[list[Output]]


class About(BaseModel):
    """A model that is served."""

    name: str
    task: str
    reads: Literal["texts", "pictures", "sounds"]
    searches: bool = Field(description="whether there is a choice of how to search")
    streams: bool = Field(description="whether it can say what it has so far")
    files: bool = Field(description="whether its outputs have files")
    example: str | None = Field(description="of a model of texts, one to try")


class Health(BaseModel):
    """Whether the service runs."""

    status: Literal["ok"] = "ok"
    waiting: int = Field(description="inputs in the queue")


class Problem(BaseModel):
    """What is wrong with a request, and what to do."""

    detail: Any
