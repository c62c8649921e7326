"""Maps and lines of numbers made coarser, exactly: every coarse cell is made of whole fine ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cells(size: int, pieces: int, most: int) -> int:
    """How many cells to make of `size` that `pieces` pieces lie in, piece i in cell `i * size // pieces`.

    At most `most`, and so many that each is made of whole old ones, and no piece is cut in two.
    """
    if size >= pieces:  # a piece has a cell of its own: any number of cells is made of whole ones
        return min(pieces, most)
    return next(number for number in range(min(size, most), 0, -1) if size % number == 0)


def coarser(
    maps: Float[Tensor, "heads rows columns"], queries: int, keys: int, rows: int, columns: int
) -> Float[Tensor, "heads new_rows new_columns"]:
    """Pooled maps with fewer cells, still summed over keys and averaged over queries.

    Args:
        maps: as `regard.Pooled` gives them; where there are more cells than pieces, those between are left out.
        queries: how many the maps were pooled from.
        keys: the same of the other axis.
        rows: the new number of rows, as `cells` gives it.
        columns: the new number of columns.
    """
    row, share, new_row = _cells(maps.shape[1], queries, rows)
    column, _, new_column = _cells(maps.shape[2], keys, columns)
    fine = maps[:, row][:, :, column] * share[:, None]
    narrow = fine.new_zeros(len(maps), len(row), columns).index_add_(2, new_column, fine)
    summed = fine.new_zeros(len(maps), rows, columns).index_add_(1, new_row, narrow)
    return summed / share.new_zeros(rows).index_add_(0, new_row, share)[:, None]


def averaged(lines: Float[Tensor, "heads pieces"], bins: int) -> Float[Tensor, "heads bins"]:
    """Lines of numbers, one a piece, as the means over neighbours: piece i lies in bin `i * bins // pieces`."""
    pieces = lines.shape[1]
    bin_ = torch.arange(pieces) * bins // pieces
    count = torch.bincount(bin_, minlength=bins)
    return lines.new_zeros(len(lines), bins).index_add_(1, bin_, lines) / count


def _cells(
    size: int, pieces: int, new: int
) -> tuple[Int[Tensor, " fine"], Float[Tensor, " fine"], Int[Tensor, " fine"]]:
    """The cells that hold pieces, how many pieces each holds, and the new cell that each belongs to."""
    fine, share = (torch.arange(pieces) * size // pieces).unique_consecutive(return_counts=True)
    coarse = torch.arange(pieces) * new // pieces if size >= pieces else fine * new // size
    return fine, share.float(), coarse
