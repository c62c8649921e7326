"""What the engine asks of a task: a model, batches, a loss and a validation."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn


@runtime_checkable
class Batches(Protocol):
    """Training batches whose order is a function of the epoch and the position alone.

    An iteration goes through one epoch; it draws no number from the global random streams, so that reading
    ahead changes nothing.
    """

    def __len__(self) -> int:
        """Batches in an epoch, the same in every epoch."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def load_state_dict(self, state: Any) -> None:
        """After `{"epoch": e, "position": n}` the next iteration starts at batch `n` of epoch `e`, from 0."""
        ...


@runtime_checkable
class Showing(Protocol):
    """A task that has something to show beside its numbers."""

    def samples(self) -> bytes:
        """What the model made of a few examples of the last validation, as PNG."""
        ...


@runtime_checkable
class Remarking(Protocol):
    """A task that has something to say of its last validation."""

    def remark(self) -> str:
        """A line for people; empty, if there is nothing to say."""
        ...


@runtime_checkable
class Task(Protocol):
    """What `fit` trains.

    `model` holds the weights; `metric` names the entry of `validate()` that is maximised (higher is better);
    `batches` are the training batches, and `unit` names what they count: "tokens", "texts".
    """

    @property
    def model(self) -> nn.Module: ...

    @property
    def metric(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def batches(self) -> Batches: ...

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        """The mean loss over what `batch` counts, with its graph."""
        ...

    def validate(self) -> dict[str, float]:
        """Measures `model` on the validation data: `metric`, `"loss"` and what else is worth a curve.

        The engine calls it without gradients, in evaluation mode, and puts the random streams back after it.
        """
        ...
