"""What an encoder-decoder offers to training and to decoding, whatever it is built of."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class State(Protocol):
    """What a decoder remembers between two steps, for the rows of one batch.

    A row is one unfinished output. Its memory is the encoded source and what was emitted so far: keys and
    values of a Transformer, the hidden state of a recurrent model. A row's memory must not depend on the
    rows beside it.
    """

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Make row i of the state what row `rows[i]` is now, in place.

        Rows that are left out are dropped (finished outputs), a row that is named twice is repeated (the
        first step of beam search, which encodes each source once), and the order is free (beams overtake
        each other).

        Arguments:
            rows: indices of rows of the state as it stands; int64, on the state's device.
        """
        ...


@runtime_checkable
class Searchable(Protocol):
    """What a search asks of a model."""

    def encode(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> State:
        """Read the sources once and return the state in which nothing has been emitted: one row a sentence.

        Arguments:
            source: tokens, padded with PAD on the right.
            source_lengths: how many tokens of each row are not padding; what lies beyond has no influence.
        """
        ...

    def step(self, tokens: Int[Tensor, " rows"], state: Any) -> Float[Tensor, "rows vocabulary"]:
        """Emit: the logits of each row's next token, the caller's until the next step. Advances `state` by `tokens`.

        Arguments:
            tokens: the token that each row emitted last; START at the first step.
            state: of this model's `encode`, advanced by all tokens before.
        """
        ...


@runtime_checkable
class Seq2Seq(Searchable, Protocol):
    """An encoder-decoder: p(target | source) as a product over the target's tokens.

    The recurrent models and the Transformer share this protocol; `regard.decoding.search` and the training of
    translation know nothing else of a model. Tokens are int64, the special ones those of
    `regard.models.tokens`.
    """

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        source_lengths: Int[Tensor, " batch"],
        target: Int[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target dim"]:
        """Teacher forcing: the hidden states of all target positions at once.

        `hidden @ output_weight.T` are the logits, those of position t equal to what `step` gives for
        `target[:, t]` after the tokens before it. They are left to the caller, who may fuse them with the
        loss.

        Arguments:
            source: as for `encode`.
            source_lengths: as for `encode`.
            target: what the decoder reads: START and the target's tokens without END, padded with PAD on
                the right.
        """
        ...

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The output projection; it has no bias, and may be the target embedding itself."""
        ...
