"""Speech recognizers: sound in, words out; frames are labelled at once (CTC), and words attend to frames."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.padding import Lengths
from regard.models.speller import Listener, Speller, SpellingState
from regard.models.tokens import BLANK
from regard.models.transformer import Decoder, Embedding, Layers, TransformerState, table
from regard.nn.blocks import BlockCache, EncoderBlock
from regard.nn.conformer import ConformerBlock, Subsampling, quarter
from regard.nn.dropout import Dropout

Kind = Literal["conformer", "transformer", "recurrent"]
Writing = TransformerState | SpellingState


@dataclass(frozen=True, kw_only=True)
class Listening:
    """The shape of an encoder of sound.

    Args:
        bands: of the features.
        of_block: width, number and the rest of its blocks.
        kind: blocks of the Conformer or of the Transformer, or layers of LSTM.
        kernel: positions of the Conformer's convolution.
        channels: of the convolutions that subsample.
    """

    bands: int
    of_block: Layers
    kind: Kind = "conformer"
    kernel: int = 15
    channels: int = 64

    def blocks(self) -> list[nn.Module]:
        """What positions go through, one after the other."""
        shape = self.of_block
        if self.kind == "recurrent":
            return [Listener(shape.dim, shape.layers, shape.dropout)]
        return [self._block() for _ in range(shape.layers)]

    def _block(self) -> nn.Module:
        shape = self.of_block
        if self.kind == "transformer":
            return EncoderBlock(shape.attention(), shape.mlp(), pre_norm=True, dropout=shape.dropout)
        return ConformerBlock(shape.attention(), shape.dim, shape.feed_forward, self.kernel, shape.dropout)


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Recordings that were heard.

    Args:
        labels: the log-probability of each token, or of BLANK, at each position.
        lengths: how many positions each recording has.
        begin: makes the decoder ready to write; None, where there is no decoder.
    """

    labels: Float[Tensor, "batch length vocabulary"]
    lengths: Int[Tensor, " batch"]
    begin: Callable[[], Any] | None


class SoundEncoder(nn.Module):
    """Features of sound as a sequence at a quarter of their rate, each position having heard all others.

    Features are first brought to mean 0 and spread 1, band by band, by numbers that `measure` takes from data.

    Args:
        shape: of the encoder.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Listening) -> None:
        super().__init__()
        dim = shape.of_block.dim
        self.register_buffer("mean", torch.zeros(shape.bands))
        self.register_buffer("spread", torch.ones(shape.bands))
        self.subsampling, self.dropout = Subsampling(shape.bands, dim, shape.channels), Dropout(shape.of_block.dropout)
        self.position = None if shape.kind == "recurrent" else shape.of_block.position()
        self.layers = nn.ModuleList(shape.blocks())
        self.norm = nn.Identity() if shape.kind == "conformer" else nn.LayerNorm(dim)  # whose blocks end with one

    def measure(self, features: Float[Tensor, "frames bands"]) -> None:
        """Take the mean and the spread of each band from these features."""
        self.mean.copy_(features.mean(0))
        self.spread.copy_(features.std(0).clamp_min(1e-3))

    def forward(
        self, features: Float[Tensor, "batch frames bands"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch length dim"]:
        """Hear recordings of so many `frames`; there are `quarter(frames)` positions of each."""
        features = (features - self.mean) / self.spread
        features = features.masked_fill(beyond(frames, features.shape[1]), 0.0)
        hidden = self.subsampling(features)
        hidden = self.dropout(hidden if self.position is None else self.position(hidden))
        lengths = quarter(frames)
        mask, outside = Lengths(lengths), beyond(lengths, hidden.shape[1])
        for layer in self.layers:
            match layer:
                case Listener():
                    hidden = layer(hidden, lengths)
                case ConformerBlock():
                    hidden = layer(hidden, mask=mask, beyond=outside)
                case _:
                    hidden = layer(hidden, mask=mask)
        return self.norm(hidden)


class Recognizer(nn.Module):
    """CTC and attention on one encoder (Watanabe et al. 2017); of the protocol of `models/seq2seq.py`.

    Args:
        vocabulary: number of tokens.
        encoder: the shape of what hears.
        decoder: the shape of what writes, an LSTM where what hears is one; None: CTC alone.
    """

    def __init__(self, vocabulary: int, encoder: Listening, decoder: Layers | None) -> None:
        super().__init__()
        dim = encoder.of_block.dim
        self.encoder, self.labels = SoundEncoder(encoder), nn.Linear(dim, vocabulary)
        self.decoder: Decoder | Speller | None = None
        if decoder is not None and encoder.kind == "recurrent":
            self.decoder = Speller(vocabulary, dim, decoder.dropout)
        elif decoder is not None:
            self.decoder = Decoder(Embedding(table(vocabulary, decoder.dim), decoder), decoder)

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The decoder's output projection, shared with its embedding; of CTC's, where there is no decoder."""
        match self.decoder:
            case Decoder():
                return self.decoder.embedding.table.weight
            case Speller():
                return self.decoder.output_weight
        return self.labels.weight

    def frame_labels(self, memory: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length vocabulary"]:
        """The log-probability of each token, or of BLANK, at each position."""
        return self.labels(memory).float().log_softmax(-1)

    def hear(self, features: Float[Tensor, "batch frames bands"], frames: Int[Tensor, " batch"]) -> Heard:
        """Hear recordings of so many `frames`."""
        memory, lengths = self.encoder(features, frames), quarter(frames)
        begin = None if self.decoder is None else lambda: self.begin(memory, lengths)
        return Heard(labels=self.frame_labels(memory), lengths=lengths, begin=begin)

    def both(
        self,
        features: Float[Tensor, "batch frames bands"],
        frames: Int[Tensor, " batch"],
        target: Int[Tensor, "batch target"],
    ) -> tuple[Float[Tensor, "batch length vocabulary"], Float[Tensor, "batch target dim"] | None]:
        """The labels of all positions, and, by teacher forcing, the hidden state after each token."""
        memory, lengths = self.encoder(features, frames), quarter(frames)
        match self.decoder:
            case Decoder():
                return self.frame_labels(memory), self.decoder(target, memory, memory_mask=Lengths(lengths))
            case Speller():
                return self.frame_labels(memory), self.decoder(target, memory, lengths)
        return self.frame_labels(memory), None

    def forward(
        self,
        features: Float[Tensor, "batch frames bands"],
        frames: Int[Tensor, " batch"],
        target: Int[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target dim"]:
        """Teacher forcing: the hidden state after each token."""
        hidden = self.both(features, frames, target)[1]
        if hidden is None:
            raise ValueError("this recognizer has CTC alone, and no decoder: train with --model.decoder_layers 3")
        return hidden

    def encode(self, features: Float[Tensor, "batch frames bands"], frames: Int[Tensor, " batch"]) -> Writing:
        """Hear the recordings, and be ready to write."""
        return self.begin(self.encoder(features, frames), quarter(frames))

    def begin(self, memory: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"]) -> Writing:
        """Be ready to write what was heard."""
        if isinstance(self.decoder, Speller):
            return self.decoder.begin(memory, lengths)
        assert self.decoder is not None
        return TransformerState(memory, lengths, [BlockCache() for _ in self.decoder.layers])

    def step(self, tokens: Int[Tensor, " rows"], state: Writing) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`, the next of each row; advances the state in place."""
        if isinstance(state, SpellingState):
            assert isinstance(self.decoder, Speller)
            return self.decoder.advance(tokens, state) @ self.output_weight.T
        assert isinstance(self.decoder, Decoder)
        hidden = self.decoder(tokens.unsqueeze(1), state.memory, memory_mask=state.mask, caches=state.caches)
        return hidden.squeeze(1) @ self.output_weight.T


def ctc_loss(
    labels: Float[Tensor, "batch length vocabulary"],
    lengths: Int[Tensor, " batch"],
    target: Int[Tensor, "batch target"],
    target_lengths: Int[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """`-log p(target | sound)` in nats a token: the sum over all ways to spread the tokens over the positions, between
    which BLANK may stand and each of which may last (connectionist temporal classification, Graves et al. 2006).

    A recording that is too short for its text adds nothing.
    """
    total = functional.ctc_loss(
        labels.transpose(0, 1), target, lengths, target_lengths, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return total / target_lengths.sum().clamp_min(1)


def flat_start_loss(
    labels: Float[Tensor, "batch length vocabulary"],
    lengths: Int[Tensor, " batch"],
    target: Int[Tensor, "batch target"],
    target_lengths: Int[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """The same for one way alone: tokens spread evenly, each in the middle of its share of positions, BLANK between.

    As hidden Markov models began, when nothing was known yet of where words are (the flat start; Young et al. 1994).
    CTC begins by learning that most positions are BLANK, and is long in leaving that; half right is learned sooner.
    """
    count, place = target_lengths.unsqueeze(1), torch.arange(target.shape[1], device=target.device)
    fits = count <= lengths.unsqueeze(1)
    row, token = ((place < count) & fits).nonzero(as_tuple=True)
    at = ((token + 0.5) * lengths[row] / target_lengths[row]).long()
    spread = torch.full(labels.shape[:2], BLANK, device=target.device)
    spread[row, at] = target[row, token]
    loss = functional.nll_loss(labels.transpose(1, 2), spread, reduction="none")
    heard = ~beyond(lengths, labels.shape[1]).squeeze(-1) & fits
    return (loss * heard).sum() / target_lengths.sum().clamp_min(1)


def beyond(lengths: Int[Tensor, " batch"], longest: int) -> Bool[Tensor, "batch {longest} 1"]:
    """Which positions lie behind the end of a sequence."""
    return (torch.arange(longest, device=lengths.device) >= lengths.unsqueeze(1)).unsqueeze(-1)
