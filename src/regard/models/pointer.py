"""The pointer-generator (See et al. 2017) on a Transformer: a decoder that writes a word of its own, or copies one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.api import observe
from regard.attention.masks import Mask
from regard.attention.observations import Weights
from regard.attention.padding import Documents, Lengths
from regard.models.packed import PackedDecoder
from regard.models.transformer import Layers, Transformer, TransformerState
from regard.ops.log_probability import linear_log_probability

_LEAST = 1e-20  # the probability of copying a token that the source does not have, so that its logarithm is finite


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """What a pointer-generator says of target tokens.

    Args:
        log_probability: of each token, under the mixture of both ways.
        mean: over all tokens, of the log-probabilities of writing: what label smoothing adds.
        weights: of the head that copies.
    """

    log_probability: Float[Tensor, "rows target"]
    mean: Float[Tensor, "rows target"]
    weights: Float[Tensor, "rows target source"]

    @property
    def coverage(self) -> Float[Tensor, "rows target"]:
        """How much attention each position gave again to what had it before: `sum_j min(a_j, c_j)`."""
        # What the positions before gave each word of the source; of packed pairs others gave it nothing.
        before = self.weights.cumsum(1) - self.weights
        return torch.minimum(self.weights, before).sum(-1)


class Copying(nn.Module):
    """A head of attention to the source whose weights are the probabilities of copying, and the gate between both ways.

    `a = softmax(W_q h (W_k m)' / sqrt(d))`, and the gate `sigmoid(w . [h, a m] + b)` is the probability of writing.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.gate = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(2 * dim, 1)
        for layer in (self.query, self.key):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        hidden: Float[Tensor, "rows target dim"],
        memory: Float[Tensor, "rows source dim"],
        mask: Mask,
        key: Float[Tensor, "rows source dim"] | None = None,
    ) -> tuple[Float[Tensor, "rows target source"], Float[Tensor, "rows target"]]:
        """The weights, and the gate's logit; `key` is `self.key(memory)`, where it is there already."""
        key = self.key(memory) if key is None else key
        context, seen = observe(
            self.query(hidden).unsqueeze(1), key.unsqueeze(1), memory.unsqueeze(1), mask=mask, record=[Weights()]
        )
        gate = self.gate(torch.cat((hidden, context.squeeze(1)), -1)).squeeze(-1)
        return seen.weights.squeeze(1), gate


@dataclass(eq=False)
class PointerState(TransformerState):
    """What the decoder keeps between steps: the source's tokens too, and the copying head's keys."""

    source: Int[Tensor, "rows source"]
    keys: Float[Tensor, "rows source dim"]

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        super().select(rows)
        self.source, self.keys = self.source.index_select(0, rows), self.keys.index_select(0, rows)


class PointerTransformer(Transformer):
    """A Transformer whose next token is `g softmax(W h) + (1 - g) sum_j a_j [source_j]`.

    Source and target share one vocabulary of sub-words, so that any word of the source can be copied piece by piece,
    and none has to be in a vocabulary.

    Args:
        vocabulary: number of tokens, of the source and the target together.
        encoder, decoder: their shapes; `dim` must agree.
    """

    def __init__(self, vocabulary: int, *, encoder: Layers, decoder: Layers) -> None:
        super().__init__(vocabulary, vocabulary, encoder=encoder, decoder=decoder, share=True)
        self.copying = Copying(decoder.dim)

    def write(
        self,
        source: Int[Tensor, "rows source"],
        source_lengths: Int[Tensor, " batch"],
        target_in: Int[Tensor, "rows target"],
        target_lengths: Int[Tensor, " batch"] | None = None,
        *,
        target_out: Int[Tensor, "rows target"],
    ) -> Written:
        """Teacher forcing: the log-probability of each token of `target_out`; padded, or packed as in `forward`."""
        if target_lengths is None:
            memory, mask, documents = self.encoder(source, source_lengths), Lengths(source_lengths), None
            pairs: Mask = mask
            hidden = self.decoder(target_in, memory, memory_mask=mask)
        else:
            memory, documents = self.encoder(source, source_lengths, packed=True), Documents(target_lengths)
            pairs = Documents(target_lengths, source_lengths)
            hidden = self.decoder(target_in, memory, memory_mask=pairs, documents=documents)
        weights, gate = self.copying(hidden, memory, pairs)
        copied = (weights * (source.unsqueeze(1) == target_out.unsqueeze(2))).sum(-1)
        written, mean = linear_log_probability(hidden.flatten(0, 1), self.output_weight, target_out.flatten())
        chosen = torch.logaddexp(
            functional.logsigmoid(gate) + written.view_as(gate),
            functional.logsigmoid(-gate) + copied.clamp_min(_LEAST).log(),
        )
        return Written(log_probability=chosen, mean=mean.view_as(gate), weights=weights)

    def encode(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> PointerState:
        """Read the source, and be ready to decode."""
        state = self.begin(source, source_lengths)
        return PointerState(state.memory, state.lengths, state.caches, source, self.copying.key(state.memory))

    def step(
        self, tokens: Int[Tensor, " rows"], state: TransformerState | PackedDecoder
    ) -> Float[Tensor, "rows vocabulary"]:
        """Log-probabilities of the token after `tokens`, the next of each row; advances the state in place."""
        assert isinstance(state, PointerState)
        hidden = self.decoder(tokens.unsqueeze(1), state.memory, memory_mask=state.mask, caches=state.caches)
        weights, gate = self.copying(hidden, state.memory, state.mask, state.keys)
        written = (hidden.squeeze(1) @ self.output_weight.T).float().log_softmax(-1)
        copied = torch.zeros_like(written).scatter_add_(1, state.source, weights.squeeze(1).float())
        return torch.logaddexp(
            functional.logsigmoid(gate) + written, functional.logsigmoid(-gate) + copied.clamp_min(_LEAST).log()
        )
