"""The steps of a Transformer's decoder on a CPU: weights laid out for them, and nothing copied that a beam moves."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.watching import current
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import DecoderBlock, FeedForward, Residual
from regard.nn.plain import is_plain
from regard.nn.positions import Learned, Rotary, Sinusoidal
from regard.ops.decode import paged_attention
from regard.ops.native import runs
from regard.ops.projection import Projection

_ROOM = 32  # steps that there is room for at first


class PackedDecoder:
    """What a decoder keeps between steps, and its steps: the state of a search.

    A step is some 30 products of a few rows, each with its norm, bias, activation and sum in one call. A row's keys and
    values stay where they were written, and it has a table of where that is: so a beam that overtakes another moves
    integers. Keys and values of the memory are those of a sentence, read once for all its rows.

    Args:
        decoder: for which `fits` holds.
        output_weight: `(vocabulary, dim)`.
        memory: what the encoder gives.
        lengths: how much of each row of it is there.
    """

    def __init__(
        self,
        decoder: nn.Module,
        output_weight: Float[Tensor, "vocabulary dim"],
        memory: Float[Tensor, "batch source dim"],
        lengths: Int[Tensor, " batch"],
    ) -> None:
        self.embedding = decoder.embedding
        final = decoder.norm if isinstance(decoder.norm, nn.LayerNorm) else None
        self.logits = Projection(output_weight, norm=final)
        rows = memory.flatten(0, 1).contiguous()
        self.blocks = [_Block(block, rows, len(memory)) for block in decoder.layers]
        self.lengths = lengths
        self.steps, self.used = 0, 0  # steps that were made, and places that are taken
        self.table = torch.zeros(len(memory), _ROOM, dtype=torch.int32)
        self._arrange(torch.arange(len(memory)))

    @staticmethod
    def fits(decoder: nn.Module, memory: Tensor) -> bool:
        """Whether its steps can be made here: plain layers in float32 on a CPU, which nobody watches or follows."""
        return (
            memory.dtype == torch.float32
            and runs(memory)
            and not torch.is_grad_enabled()
            and not decoder.training
            and current() is None
            and not torch.is_autocast_enabled("cpu")
            and isinstance(decoder.embedding.position, Sinusoidal | Learned | None)
            and all(_is_plain(block) for block in decoder.layers)
        )

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep, drop, reorder or repeat rows."""
        self.table = self.table.index_select(0, rows)
        self._arrange(self.sentence[rows])

    def _arrange(self, sentence: Int[Tensor, " rows"]) -> None:
        """The sentence of each row; rows of one that stand together, as many of each, are read together."""
        self.sentence = sentence
        groups, counts = torch.unique_consecutive(sentence, return_counts=True)
        together = int(counts[0]) if len(counts) and bool((counts == counts[0]).all()) else 1
        self.pages = (groups if together > 1 else sentence).int().unsqueeze(1)
        self.together = together
        ends = self.lengths[self.pages[:, 0].long()]
        self.bounds = torch.stack((torch.zeros_like(ends), ends), -1).view(-1, 1, 1, 1, 2)

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`."""
        hidden = self.embedding(tokens.unsqueeze(1), self.steps).squeeze(1).contiguous()
        rows, first = len(tokens), self.used
        self.used, self.steps = first + rows, self.steps + 1
        if self.steps > self.table.shape[1]:
            self.table = torch.cat((self.table, torch.zeros_like(self.table)), 1)
        self.table[:, self.steps - 1] = torch.arange(first, self.used, dtype=torch.int32)
        seen = self.table[:, : self.steps]
        for block in self.blocks:
            hidden = block.step(hidden, self, first, seen)
        return self.logits(hidden)


class _Block:
    """The projections of a decoder's block, what was said so far, and the memory's keys and values."""

    def __init__(self, block: DecoderBlock, memory: Float[Tensor, "places dim"], batch: int) -> None:
        own, cross, mlp = block.attention, block.cross, block.feed_forward
        assert cross is not None
        assert block.around_cross is not None
        self.own, self.cross, self.rotary = _Sizes(own), _Sizes(cross), own.rotary
        around = block.around_attention, block.around_cross, block.around_feed_forward
        before = [each.norm if each.pre_norm else None for each in around]
        self.after = [None if each.pre_norm else each.norm for each in around]
        weight = torch.cat((own.query.weight, own.key_value.weight))
        bias = None if own.query.bias is None else torch.cat((own.query.bias, own.key_value.bias))
        self.read = Projection(weight, bias, norm=before[0])
        self.write = Projection(own.output.weight, own.output.bias)
        self.ask = Projection(cross.query.weight, cross.query.bias, norm=before[1])
        self.answer = Projection(cross.output.weight, cross.output.bias)
        relu = isinstance(mlp.activation, nn.ReLU)
        self.inner = Projection(mlp.inner.weight, mlp.inner.bias, norm=before[2], relu=relu)
        self.outer = Projection(mlp.outer.weight, mlp.outer.bias)
        self.activation = None if relu else mlp.activation
        held = torch.nn.functional.linear(memory, cross.key_value.weight, cross.key_value.bias)
        self.memory = held.view(batch, -1, held.shape[-1])
        self.said = torch.empty(0, self.read.columns)  # query, key and value of every row of every step

    def step(
        self, hidden: Float[Tensor, "rows dim"], state: PackedDecoder, first: int, seen: Int[Tensor, "rows steps"]
    ) -> Float[Tensor, "rows dim"]:
        """One step of the block; `seen` says where each row's keys and values are."""
        rows, sizes = len(hidden), self.own
        if len(self.said) < first + rows:
            wider = torch.empty(max(first + rows, 2 * len(self.said), _ROOM * rows), self.read.columns)
            wider[:first] = self.said[:first]
            self.said = wider
        new = self.said[first : first + rows]
        self.read(hidden, to=new)
        if self.rotary is not None:  # queries and keys, which stand side by side
            turned = new[:, : (sizes.heads + sizes.kv_heads) * sizes.width].view(rows, -1, 1, sizes.width)
            turned.copy_(self.rotary(turned, state.steps - 1))
        query = new[:, : sizes.queries].view(rows, 1, sizes.heads, sizes.width).transpose(1, 2)
        key, value = sizes.split(self.said[: state.used, sizes.queries :].unsqueeze(1))
        context = paged_attention(query, key, value, seen, None, sizes.scale)
        hidden = self._added(self.write, context.transpose(1, 2).flatten(1), hidden, 0)

        sizes = self.cross
        asked = self.ask(hidden).view(-1, state.together, sizes.heads, sizes.width).transpose(1, 2)
        key, value = sizes.split(self.memory)
        context = paged_attention(asked, key, value, state.pages, state.bounds, sizes.scale)
        hidden = self._added(self.answer, context.transpose(1, 2).reshape(rows, -1), hidden, 1)

        inner = self.inner(hidden)
        return self._added(self.outer, inner if self.activation is None else self.activation(inner), hidden, 2)

    def _added(self, projection: Projection, inputs: Tensor, hidden: Tensor, which: int) -> Tensor:
        total, norm = projection(inputs, hidden), self.after[which]
        return total if norm is None else norm(total)


class _Sizes:
    """The sizes of an attention layer's heads."""

    def __init__(self, layer: MultiHeadAttention) -> None:
        self.heads, self.kv_heads, self.width = layer.heads, layer.kv_heads, layer.head_dim
        self.queries, self.scale = self.heads * self.width, self.width**-0.5

    def split(self, held: Float[Tensor, "pages size _columns"]) -> tuple[Tensor, Tensor]:
        """Keys and values, `(pages, kv_heads, size, width)`, of numbers that stand side by side."""
        heads = held.view(*held.shape[:2], 2, self.kv_heads, self.width).permute(2, 0, 3, 1, 4)
        return heads[0], heads[1]


def _is_plain(block: nn.Module) -> bool:
    """Whether a block is what this file computes, and nobody waits for calls of its parts."""
    if not is_plain(block, DecoderBlock) or block.cross is None:
        return False
    layers = block.attention, block.cross
    parts = block.around_attention, block.around_cross, block.around_feed_forward
    return (
        all(is_plain(layer, MultiHeadAttention) for layer in layers)
        and all(layer.score is layer.normalize is layer.mask is None and layer.backend == "auto" for layer in layers)
        and all(
            is_plain(linear, nn.Linear) for layer in layers for linear in (layer.query, layer.key_value, layer.output)
        )
        and isinstance(block.attention.rotary, Rotary | None)
        and all(
            is_plain(part, Residual) and is_plain(part.norm, nn.LayerNorm) and part.norm.bias is not None
            for part in parts
        )
        and is_plain(block.feed_forward, FeedForward)
        and all(is_plain(linear, nn.Linear) for linear in (block.feed_forward.inner, block.feed_forward.outer))
    )
