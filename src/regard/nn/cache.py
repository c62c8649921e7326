"""The key-value cache of incremental decoding."""

from jaxtyping import Float, Int
from torch import Tensor


class KeyValueCache:
    """The keys and values that one attention layer has seen, growing along `keys`; rows follow the batch.

    Room is doubled when it runs out, so that appending one step costs O(1) copies a key.
    """

    def __init__(self) -> None:
        self._key: Tensor | None = None
        self._value: Tensor | None = None
        self.length = 0  # keys held

    def append(
        self, key: Float[Tensor, "rows heads new head_dim"], value: Float[Tensor, "rows heads new value_dim"]
    ) -> None:
        """Add the keys and values of the next positions."""
        end = self.length + key.shape[2]
        self._key, self._value = self._room(self._key, key, end), self._room(self._value, value, end)
        self._key[:, :, self.length : end] = key
        self._value[:, :, self.length : end] = value
        self.length = end

    def _room(self, held: Tensor | None, new: Tensor, end: int) -> Tensor:
        if held is not None and held.shape[2] >= end:
            return held
        wider = new.new_empty(*new.shape[:2], end if held is None else max(end, 2 * held.shape[2]), new.shape[3])
        if held is not None:
            wider[:, :, : self.length] = held[:, :, : self.length]
        return wider

    @property
    def key(self) -> Float[Tensor, "rows heads keys head_dim"]:
        return self._held(self._key)

    @property
    def value(self) -> Float[Tensor, "rows heads keys value_dim"]:
        return self._held(self._value)

    def _held(self, tensor: Tensor | None) -> Tensor:
        if tensor is None:
            raise ValueError("the cache is empty: append keys and values first")
        return tensor[:, :, : self.length]

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep, drop, reorder or repeat batch rows."""
        if self._key is not None and self._value is not None:
            self._key, self._value = self._key.index_select(0, rows), self._value.index_select(0, rows)
