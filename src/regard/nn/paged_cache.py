"""Keys and values of rows that come and go, in one pool of pages."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention import decode


class PagedCache:
    """The keys and values that one attention layer has seen, of many rows in one pool (Kwon et al. 2023).

    A row holds as many pages as its keys need, wherever they are free: it wastes less than a page, and when it is
    released the next row has them. `admit` gives a row, `append` its keys, `decode` the context of the newest.

    Args:
        pages: how many pages there are, of `page_size` keys each.
        kv_heads: heads of keys and values.
        head_dim: width of a key.
        value_dim: width of a value; `head_dim` when not given.
        dtype, device: of the pool; torch's defaults when not given.
    """

    def __init__(
        self,
        pages: int,
        kv_heads: int,
        head_dim: int,
        value_dim: int | None = None,
        *,
        page_size: int = 16,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        value_dim = head_dim if value_dim is None else value_dim
        self.page_size = page_size
        self.key = torch.empty(pages, kv_heads, page_size, head_dim, dtype=dtype, device=device)
        self.value = torch.empty(pages, kv_heads, page_size, value_dim, dtype=dtype, device=device)
        self._free = list(range(pages))
        self._pages: dict[int, list[int]] = {}
        self._lengths: dict[int, int] = {}
        self._admitted = 0

    @property
    def free(self) -> int:
        """Pages that no row holds."""
        return len(self._free)

    def length(self, row: int) -> int:
        """Keys of a row."""
        self._check([row])
        return self._lengths[row]

    def admit(self) -> int:
        """A new row without keys; its number is not used again."""
        row = self._admitted
        self._pages[row], self._lengths[row] = [], 0
        self._admitted += 1
        return row

    def release(self, row: int) -> None:
        """Forget a row: its pages are free."""
        self._check([row])
        self._free.extend(self._pages.pop(row))
        del self._lengths[row]

    def append(
        self,
        rows: Sequence[int],
        key: Float[Tensor, "rows kv_heads new head_dim"],
        value: Float[Tensor, "rows kv_heads new value_dim"],
    ) -> None:
        """Add the keys and values of the next positions of some rows.

        Raises:
            ValueError: if there are too few free pages; then nothing is added.
        """
        self._check(rows)
        new, size = key.shape[2], self.page_size
        wanted = [-(-(self._lengths[row] + new) // size) - len(self._pages[row]) for row in rows]
        if sum(wanted) > self.free:
            raise ValueError(
                f"{new} keys a row for {len(rows)} rows need {sum(wanted)} more pages of {size}, but {self.free} are "
                "free: release rows first, or make the cache with more pages"
            )
        places = []
        for row, count in zip(rows, wanted, strict=True):
            self._pages[row] += [self._free.pop() for _ in range(count)]
            first, pages = self._lengths[row], self._pages[row]
            places += [(pages[at // size], at % size) for at in range(first, first + new)]
            self._lengths[row] += new
        page, place = torch.tensor(places, dtype=torch.int64, device=key.device).view(-1, 2).unbind(1)
        self.key[page, :, place] = key.detach().transpose(1, 2).flatten(0, 1)
        self.value[page, :, place] = value.detach().transpose(1, 2).flatten(0, 1)

    def decode(
        self, rows: Sequence[int], query: Float[Tensor, "rows heads queries head_dim"], *, scale: float | None = None
    ) -> Float[Tensor, "rows heads queries value_dim"]:
        """The context of the newest positions of some rows, whose keys were appended: `regard.decode`."""
        self._check(rows)
        most = max((len(self._pages[row]) for row in rows), default=0)
        entries = [self._pages[row] + [-1] * (most - len(self._pages[row])) for row in rows]
        table = torch.tensor(entries, dtype=torch.int32, device=query.device).view(len(rows), most)
        lengths = torch.tensor([self._lengths[row] for row in rows], dtype=torch.int64, device=query.device)
        return decode(query, self.key, self.value, lengths=lengths, table=table, scale=scale)

    def _check(self, rows: Sequence[int]) -> None:
        for row in rows:
            if row not in self._pages:
                raise ValueError(f"the cache has no row {row}: row = cache.admit() makes one, until cache.release(row)")
        if len(set(rows)) < len(rows):
            raise ValueError(f"each row once, got rows {list(rows)}")
