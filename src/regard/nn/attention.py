"""Multi-head attention: projections around `regard.attend`."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.api import attend
from regard.attention.masks import Mask
from regard.attention.normalizers import Normalizer
from regard.attention.scores import Score
from regard.nn.cache import KeyValueCache
from regard.nn.plain import is_plain
from regard.nn.positions import Rotary
from regard.ops.columns import split_heads
from regard.ops.following import followed


class MultiHeadAttention(nn.Module):
    """`concat_h(attend(x W_q[h], y W_k[h], y W_v[h])) W_o` (Vaswani et al. 2017), to itself or to a memory.

    Args:
        dim: width of the inputs and outputs.
        heads: number of query heads.
        kv_heads: number of key and value heads; `heads` when not given (grouped queries: Ainslie et al. 2023).
        head_dim: width of a head; `dim / heads` when not given.
        memory_dim: width of the memory in cross-attention; `dim` when not given.
        score, normalize, mask: as in `regard.attend`; a mask given to `forward` is joined to this one by `&`.
        rotary: turns queries and keys by their positions; in self-attention alone.
        dropout: probability of dropping a weight in training.
        backend: as in `regard.attend`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        memory_dim: int | None = None,
        score: Score | None = None,
        normalize: Normalizer | None = None,
        mask: Mask | None = None,
        rotary: Rotary | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if head_dim is None and dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads}), or head_dim given")
        if heads % kv_heads:
            raise ValueError(f"heads ({heads}) must be a multiple of kv_heads ({kv_heads})")
        head_dim = head_dim or dim // heads
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.score, self.normalize, self.mask, self.rotary = score, normalize, mask, rotary
        self.dropout, self.backend = dropout, backend
        linear = partial(nn.Linear, bias=bias, device=device, dtype=dtype)
        self.query = linear(dim, heads * head_dim)
        self.key_value = linear(memory_dim or dim, 2 * kv_heads * head_dim)
        self.output = linear(heads * head_dim, dim)
        for weight in (self.query.weight, *self.key_value.weight.chunk(2), self.output.weight):
            nn.init.xavier_uniform_(weight)
        for layer in (self.query, self.key_value, self.output):
            if bias:
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        inputs: Float[Tensor, "batch queries dim"],
        memory: Float[Tensor, "batch keys memory_dim"] | None = None,
        *,
        mask: Mask | None = None,
        offset: int | Int[Tensor, " batch"] = 0,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        """Attend from `inputs` to themselves, or to `memory`.

        With a cache, self-attention appends its keys and values and attends to all of them (the query then stands
        after what the cache held: `offset` grows by its length); cross-attention projects the memory at the first
        call only, and reads the cache after that.
        """
        if self.rotary is not None and memory is not None:
            raise ValueError(
                "rotary turns queries and keys of one sequence by their positions in it; "
                "build the layer without rotary for a memory"
            )
        if memory is not None and self.score is not None and self.score.of_one_sequence:
            raise ValueError(
                f"{self.score!r} reads positions of one sequence, and inputs and memory are two: give its positions, "
                "such as regard.Alibi(heads, query_positions=..., key_positions=...), or build the layer without"
            )
        if memory is None:
            query, key, value = self._project(inputs)
        else:
            (query,) = split_heads(self.query(inputs), (self.heads,), self.head_dim)
            if cache is not None and cache.length:
                key, value = cache.key, cache.value
            else:
                key, value = self._key_value(memory)
        if memory is None and cache is not None:
            offset = offset + cache.length
        if self.rotary is not None:
            query, key = self.rotary(query, offset), self.rotary(key, offset)
        if cache is not None and (memory is None or not cache.length):
            cache.append(key, value)
            key, value = cache.key, cache.value
        context = attend(
            query,
            key,
            value,
            score=self.score,
            normalize=self.normalize,
            mask=mask if self.mask is None else self.mask if mask is None else self.mask & mask,
            offset=offset,
            dropout=self.dropout if self.training else 0.0,
            backend=self.backend,
        )
        return self.output(context.transpose(1, 2).flatten(2))

    def _project(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of one sequence: in training by one product, where that costs but a copy of weights."""
        layers = self.query, self.key_value
        columns = self.query.out_features + self.key_value.out_features
        joins = (
            torch.is_grad_enabled()
            and not followed(inputs)  # a graph would keep the sizes it is traced with
            and inputs.shape[:-1].numel() > columns
            and all(is_plain(layer, nn.Linear) for layer in layers)
            and not torch.is_autocast_enabled(inputs.device.type)  # which casts a weight once, but not a copy
        )
        if not joins:
            (query,) = split_heads(self.query(inputs), (self.heads,), self.head_dim)
            return query, *self._key_value(inputs)
        weight = torch.cat([layer.weight for layer in layers])
        bias = None if self.query.bias is None else torch.cat([layer.bias for layer in layers])
        heads = self.heads, self.kv_heads, self.kv_heads
        query, key, value = split_heads(nn.functional.linear(inputs, weight, bias), heads, self.head_dim)
        return query, key, value

    def _key_value(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        key, value = split_heads(self.key_value(inputs), (self.kv_heads, self.kv_heads), self.head_dim)
        return key, value
