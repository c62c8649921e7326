"""Attention, CTC and a language model deciding together on each token (Watanabe et al. 2017)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.decoding.ctc import PrefixState
from regard.models.ngram import NGram
from regard.models.recognizer import Heard, Writing
from regard.models.tokens import END


@dataclass(eq=False)
class JointState:
    """What the decoder remembers, what CTC does, and what each row has emitted, START before it."""

    writing: Writing | None
    prefix: PrefixState | None
    emitted: list[tuple[int, ...]]

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        for state in (self.writing, self.prefix):
            if state is not None:
                state.select(rows)
        self.emitted = [self.emitted[row] for row in rows.tolist()]


class Joint(nn.Module):
    """`(1 - ctc) log p_attention(y) + ctc log p_ctc(the sound goes on by y) + weight log p_language(y)`.

    Of the protocol of `models/seq2seq.py`. What `step` gives are scores as they are to be added up, and no logits:
    `scores` says so to the search.

    Args:
        model: a recognizer, or its programs.
        heard: by it; without a decoder CTC alone decides.
        ctc: its share, 0 to 1.
        language: counts of what is usually said; None: no such opinion.
        weight: of it.
    """

    scores = True

    def __init__(
        self, model: Any, heard: Heard, ctc: float, language: NGram | None = None, weight: float = 0.0
    ) -> None:
        super().__init__()
        self.model, self.heard, self.ctc = model, heard, 1.0 if heard.begin is None else ctc
        self.language, self.weight = language if weight else None, weight

    def encode(self, labels: Float[Tensor, "batch length vocabulary"], lengths: Int[Tensor, " batch"]) -> JointState:
        """Be ready to write what was heard: its sources are the labels of that, which others read too."""
        writing = None if self.ctc == 1.0 or self.heard.begin is None else self.heard.begin()
        prefix = None if self.ctc == 0.0 else PrefixState.of(labels, lengths)
        return JointState(writing, prefix, [()] * len(lengths))

    def step(self, tokens: Int[Tensor, " rows"], state: JointState) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the token after `tokens`, the next of each row; advances the state in place."""
        begun = bool(state.emitted[0])
        state.emitted = [(*row, token) for row, token in zip(state.emitted, tokens.tolist(), strict=True)]
        total = torch.zeros((), device=tokens.device)
        if state.writing is not None:
            total = (1.0 - self.ctc) * self.model.step(tokens, state.writing).float().log_softmax(-1)
        if state.prefix is not None:
            if begun:
                state.prefix.append(tokens)
            total = total + self.ctc * state.prefix.following(END)
        if self.language is not None:
            likely = torch.stack([self.language.following(row) for row in state.emitted])
            total = total + self.weight * likely.to(tokens.device)
        return total
