"""The data of a page: what is kept of looks, and how finely, so that it fits into a number of bytes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from regard.explain.block import COARSE, FINE, Block, Plan
from regard.explain.look import POOLED, Look, Side
from regard.explain.pieces import Piece, visible

FEW = 500_000  # single weights that are all kept with 16 bits, so that three decimals are right
LINES = 1 / 3  # of the bytes: the most that entropies and weights received take ...
MAPS = 1 / 2  # ... and, of what they leave, pooled maps; the rest is for single weights
STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
LEAST = (0.0, *(float(f"{step}e{power}") for power in range(-5, 0) for step in STEPS), 1.0)

Packed = tuple[dict[str, Any], list[str]]


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What the page's script reads.

    Args:
        plan: how finely the heads are kept.
        about: what every look is made of, for JSON: the script finds the texts by its numbers.
        texts: by the ids of the elements that hold them, packed numbers.
    """

    plan: Plan
    about: list[dict[str, Any]]
    texts: dict[str, str]

    @classmethod
    def of(cls, looks: Sequence[Look], room: int) -> "Archive":
        """The finest that fits.

        First lines of entropies and of weights received are averaged over neighbours until they fit into their share,
        then maps are pooled further until they fit into theirs, then the weakest single weights are left out. One
        plan holds for all looks, so that the page can say it in a sentence.

        Args:
            looks: what to keep.
            room: bytes of all texts at most.

        Raises:
            ValueError: what does not fit however coarse it is, or numbers that are no weights.
        """
        blocks = [(look, number, block) for look, one in enumerate(looks) for number, block in enumerate(_blocks(one))]
        rows = [block for _, _, block in blocks]
        longest = max(block.entropy.shape[1] for block in rows), max(block.received.shape[1] for block in rows)
        plan = Plan(bits=FINE, cells=POOLED, bins=max(longest))
        if sum(block.numbers(plan) for block in rows) > FEW:
            plan = replace(plan, bits=COARSE)

        lines, plan = _first(
            lambda plan: [row.pack_lines(plan) for row in rows],
            [replace(plan, bins=size) for size in _halves(plan.bins)],
            lambda plan: room * LINES,
        )
        room -= _size(lines)
        maps, plan = _first(
            lambda plan: [row.pack_maps(plan) for row in rows],
            [replace(plan, cells=size) for size in _halves(plan.cells)],
            lambda plan: room if all(row.whole(plan) for row in rows) else room * MAPS,
        )
        room -= _size(maps)
        singles, plan = _least(
            lambda plan: [row.pack_singles(plan) for row in rows], [replace(plan, least=least) for least in LEAST], room
        )

        about: list[dict[str, Any]] = [
            {"title": visible(look.title), "sides": [_side(side) for side in look.sides], "blocks": []}
            for look in looks
        ]
        texts: dict[str, str] = {}
        for (look, number, block), *packed in zip(blocks, lines, maps, singles, strict=True):
            about[look]["blocks"].append(_about(looks[look], block) | {k: v for a, _ in packed for k, v in a.items()})
            for kind, (_, some) in zip(("lines", "maps", "singles"), packed, strict=True):
                texts |= {f"{kind}-{look}-{number}-{part}": text for part, text in enumerate(some)}
        return cls(plan=plan, about=about, texts=texts)


def _blocks(look: Look) -> Iterable[Block]:
    """Layers grouped by who attends to whom; before a group of several, their mean."""
    groups: dict[tuple[str, str], list[Block]] = {}
    for layer in look.layers:
        groups.setdefault((layer.queries, layer.keys), []).append(Block.of(layer))
    for group in groups.values():
        yield from [Block.mean(group), *group] if len(group) > 1 else group


def _about(look: Look, block: Block) -> dict[str, Any]:
    names = [side.name for side in look.sides]
    return {
        "names": [visible(name) for name in block.names],
        "queries": names.index(block.queries),
        "keys": names.index(block.keys),
        "heads": block.heads,
    }


def _side(side: Side) -> dict[str, Any]:
    grid = side.grid
    return {
        "name": visible(side.name),
        "pieces": [visible(piece.text) for piece in side.pieces],
        "kinds": "".join(map(_kind, side.pieces)),
        "grid": grid and {"rows": grid.rows, "columns": grid.columns, "first": grid.first, "seconds": grid.seconds},
    }


def _kind(piece: Piece) -> str:
    """`.` for the start of a word, `-` for what goes on with one, `+` for what does so unmarked, `e` for no text."""
    if piece.special:
        return "e"
    return "." if piece.starts else "+" if piece.label == piece.text else "-"


def _halves(size: int) -> list[int]:
    return [size >> times for times in range(size.bit_length())]


def _size(packed: Iterable[Packed]) -> int:
    return sum(len(text) for _, texts in packed for text in texts)


def _first(
    pack: Callable[[Plan], list[Packed]], plans: Sequence[Plan], room: Callable[[Plan], float]
) -> tuple[list[Packed], Plan]:
    """The first plan that fits, of plans from the finest to the coarsest."""
    for plan in plans:
        packed = pack(plan)
        if _size(packed) <= room(plan):
            return packed, plan
    raise ValueError(
        f"a page cannot hold this much: {len(packed)} rows of heads do not fit, however coarse they are made; give it "
        f"fewer looks, layers or heads"
    )


def _least(pack: Callable[[Plan], list[Packed]], plans: Sequence[Plan], room: int) -> tuple[list[Packed], Plan]:
    """The first plan that fits, found by bisection: the fewer single weights are kept, the less room they take."""
    low, high = 0, len(plans) - 1
    packed = pack(plans[low])
    if _size(packed) <= room:
        return packed, plans[low]
    found, _ = _first(pack, plans[high:], lambda plan: room)
    while high - low > 1:
        middle = (low + high) // 2
        packed = pack(plans[middle])
        if _size(packed) <= room:
            found, high = packed, middle
        else:
            low = middle
    return found, plans[high]
