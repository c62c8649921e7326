"""The steps of a Transformer's decoder on a CPU: weights laid out for them, and nothing copied that a beam moves."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.watching import current
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import DecoderBlock, FeedForward, Residual
from regard.nn.plain import is_plain
from regard.nn.positions import Learned, Rotary, Sinusoidal
from regard.ops.native import in_use, runs
from regard.ops.steps import ACTIVATIONS, MOST_BLOCKS, Block, Heads, Linear, Norm, Steps, Words, fingerprint

_CHUNK = 64  # positions whose encodings are computed at a time


class PackedDecoder:
    """What a decoder keeps between steps, and its steps: the state of a search.

    A step is one call of the kernels. Keys and values of the memory are those of a sentence, for all rows that go on
    with it.

    Args:
        decoder: for which `fits` holds.
        output_weight: `(vocabulary, dim)`.
        memory: what the encoder gives.
        lengths: how much of each row of it is there.
    """

    def __init__(
        self,
        decoder: Any,
        output_weight: Float[Tensor, "vocabulary dim"],
        memory: Float[Tensor, "batch source dim"],
        lengths: Int[Tensor, " batch"],
    ) -> None:
        self.embedding = decoder.embedding
        self.rotary: Rotary | None = decoder.layers[0].attention.rotary
        norm = Norm(decoder.norm if isinstance(decoder.norm, nn.LayerNorm) else None)
        laid_out = _laid_out(decoder, output_weight)
        pairs = zip(decoder.layers, laid_out.blocks, strict=True)
        self.steps = Steps([_block(*pair, memory) for pair in pairs], norm, laid_out.logits, lengths)
        self._encodings = torch.empty(0)  # of the positions of this chunk

    @staticmethod
    def fits(decoder: Any, memory: Tensor) -> bool:
        """Whether its steps can be made here: plain layers in float32 on a CPU, which nobody watches or follows."""
        return (
            memory.dtype == torch.float32
            and runs(memory)
            and not torch.is_grad_enabled()
            and not decoder.training
            and current() is None
            and not torch.is_autocast_enabled("cpu")
            and isinstance(decoder.embedding.position, Sinusoidal | Learned | None)
            and len(decoder.layers) <= MOST_BLOCKS
            and all(_is_plain(block) for block in decoder.layers)
            and len({_turns(block.attention.rotary) for block in decoder.layers}) == 1
        )

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep, drop, reorder or repeat rows."""
        self.steps.select(rows)

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`."""
        place, position = self.steps.made, self.embedding.position
        hidden = self.embedding.table(tokens) * self.embedding.scale
        if isinstance(position, Sinusoidal):
            if place % _CHUNK == 0:
                self._encodings = position(hidden.new_zeros(1, _CHUNK, hidden.shape[1]), place)[0]
            hidden += self._encodings[place % _CHUNK]
        elif position is not None:
            hidden = position(hidden.unsqueeze(1), place).squeeze(1)
        return self.steps.step(hidden, None if self.rotary is None else torch.cat(self.rotary.at(torch.tensor(place))))

    def words(self, longest: int) -> Words | None:
        """What is read of a token at each of so many steps; nothing, where the model has not learned so many."""
        table, position = self.embedding.table.weight.detach().contiguous(), self.embedding.position
        added = None
        if isinstance(position, Sinusoidal):
            added = position(table.new_zeros(1, longest, table.shape[1]))[0].contiguous()
        elif isinstance(position, Learned):
            if longest > len(position.table):
                return None
            added = position.table.detach()[:longest].contiguous()
        turns = None if self.rotary is None else torch.cat(self.rotary.at(torch.arange(longest)), -1).contiguous()
        return Words(table=table, scale=self.embedding.scale, positions=added, turns=turns)


class LaidOut:
    """A decoder's weights in the order in which the kernels read them."""

    def __init__(self, decoder: Any, output_weight: Float[Tensor, "vocabulary dim"]) -> None:
        self.blocks = [[Linear.of(*layers) for layers in _linears(block)] for block in decoder.layers]
        self.logits = Linear(output_weight)


_KEPT: WeakKeyDictionary[nn.Module, tuple[object, LaidOut]] = WeakKeyDictionary()


def _laid_out(decoder: Any, output_weight: Float[Tensor, "vocabulary dim"]) -> LaidOut:
    """A decoder's weights as they are now.

    They are laid out once, and again when one of them is another, in whatever way it was changed: to look at all of
    them is less work.
    """
    linears = [linear for block in decoder.layers for layers in _linears(block) for linear in layers]
    tensors = [output_weight, *(linear.weight for linear in linears)]
    tensors += [linear.bias for linear in linears if linear.bias is not None]
    if not all(tensor.is_contiguous() for tensor in tensors):
        return LaidOut(decoder, output_weight)
    now = in_use(), fingerprint(tensors)
    before, kept = _KEPT.get(decoder, (None, None))
    if kept is None or before != now:
        kept = LaidOut(decoder, output_weight)
        _KEPT[decoder] = now, kept
    return kept


def _linears(block: Any) -> list[tuple[nn.Linear, ...]]:
    """The layers of a block in the order of `Block.linears`, those of one input together."""
    own, cross, mlp = block.attention, block.cross, block.feed_forward
    return [
        (own.query, own.key_value),
        *((layer,) for layer in (own.output, cross.query, cross.output, mlp.inner, mlp.outer)),
    ]


def _block(block: Any, linears: list[Linear], memory: Float[Tensor, "batch source dim"]) -> Block:
    """What the kernels read of a block, and the memory's keys and values for it."""
    own, cross, mlp = block.attention, block.cross, block.feed_forward
    around = block.around_attention, block.around_cross, block.around_feed_forward
    return Block(
        before=[Norm(each.norm if each.pre_norm else None) for each in around],
        after=[Norm(None if each.pre_norm else each.norm) for each in around],
        linears=linears,
        own=Heads(own.heads, own.kv_heads, own.head_dim),
        cross=Heads(cross.heads, cross.kv_heads, cross.head_dim),
        activation=ACTIVATIONS.index(type(mlp.activation)),
        memory=cross.key_value(memory).contiguous(),
    )


def _turns(rotary: Rotary | None) -> tuple[int, float] | None:
    return None if rotary is None else (rotary.head_dim, rotary.base)


def _is_plain(block: Any) -> bool:
    """Whether a block is what the kernels compute, and nobody waits for calls of its parts."""
    if not is_plain(block, DecoderBlock) or block.cross is None:
        return False
    layers, mlp = (block.attention, block.cross), block.feed_forward
    parts = block.around_attention, block.around_cross, block.around_feed_forward
    linears = [one for layer in layers for one in (layer.query, layer.key_value, layer.output)]
    return (
        all(is_plain(layer, MultiHeadAttention) for layer in layers)
        and all(layer.score is layer.normalize is layer.mask is None and layer.backend == "auto" for layer in layers)
        and block.cross.rotary is None
        and isinstance(block.attention.rotary, Rotary | None)
        and is_plain(mlp, FeedForward)
        and any(is_plain(mlp.activation, kind) for kind in ACTIVATIONS)
        and getattr(mlp.activation, "approximate", "none") == "none"
        and all(is_plain(linear, nn.Linear) for linear in (*linears, mlp.inner, mlp.outer))
        and all(is_plain(part, Residual) and is_plain(part.norm, nn.LayerNorm) for part in parts)
        and all(part.norm.weight is not None and part.norm.bias is not None for part in parts)
    )
