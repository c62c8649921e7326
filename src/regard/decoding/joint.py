"""Attention and CTC deciding together on each token (Watanabe et al. 2017)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.decoding.ctc import PrefixState
from regard.models.recognizer import Recognizer
from regard.models.tokens import END
from regard.models.transformer import TransformerState
from regard.nn.conformer import quarter


@dataclass(eq=False)
class JointState:
    """What the decoder remembers, what CTC does, and whether anything was emitted."""

    writing: TransformerState | None
    prefix: PrefixState | None
    begun: bool = False

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        for state in (self.writing, self.prefix):
            if state is not None:
                state.select(rows)


class Joint(nn.Module):
    """`(1 - ctc) log p_attention(y) + ctc log p_ctc(the sound goes on by y)`; of the protocol of `models/seq2seq.py`.

    What `step` gives are scores as they are to be added up, and no logits: `scores` says so to the search.

    Args:
        model: with or without a decoder; without one, CTC alone decides.
        ctc: its share, 0 to 1.
    """

    scores = True

    def __init__(self, model: Recognizer, ctc: float) -> None:
        super().__init__()
        self.model, self.ctc = model, 1.0 if model.decoder is None else ctc

    def encode(self, features: Float[Tensor, "batch frames bands"], frames: Int[Tensor, " batch"]) -> JointState:
        """Hear the recordings, and be ready to write."""
        writing = None if self.ctc == 1.0 else self.model.encode(features, frames)
        memory = self.model.encoder(features, frames) if writing is None else writing.memory
        labels = None if self.ctc == 0.0 else self.model.frame_labels(memory)
        return JointState(writing, None if labels is None else PrefixState.of(labels, quarter(frames)))

    def step(self, tokens: Int[Tensor, " rows"], state: JointState) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the token after `tokens`, the next of each row; advances the state in place."""
        total = torch.zeros((), device=tokens.device)
        if state.writing is not None:
            total = (1.0 - self.ctc) * self.model.step(tokens, state.writing).float().log_softmax(-1)
        if state.prefix is not None:
            if state.begun:
                state.prefix.append(tokens)
            total = total + self.ctc * state.prefix.following(END)
        state.begun = True
        return total
