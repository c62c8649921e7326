"""A language model that counts: how often a token came after those before it."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from regard.models.tokens import END, START

_KEPT = 100_000  # contexts whose distribution is remembered


class NGram:
    """`p(y | context)`, each order interpolated with the one below it, and the lowest with all tokens alike.

    `p_k(y) = (count(context y) + types(context) p_{k-1}(y)) / (count(context) + types(context))`, where `types` are the
    different tokens that came after the context (Witten and Bell 1991): the more of them, the more is left for others.

    Args:
        texts: in token numbers, without special tokens.
        vocabulary: number of tokens.
        order: tokens of an n-gram, the one that is predicted among them.
    """

    def __init__(self, texts: Sequence[Sequence[int]], vocabulary: int, order: int) -> None:
        if order < 1:
            raise ValueError(f"order is 1 token or more, got {order}")
        self.texts, self.vocabulary, self.order = [list(text) for text in texts], vocabulary, order
        self._counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in self.texts:
            whole = [START, *text, END]
            for place in range(1, len(whole)):
                for width in range(min(order, place + 1)):
                    self._counts[tuple(whole[place - width : place])][whole[place]] += 1
        self._known: dict[tuple[int, ...], Tensor] = {}

    def following(self, context: Sequence[int]) -> Float[Tensor, " vocabulary"]:
        """The log-probability of each token behind a context, which begins with START."""
        key = tuple(context[max(0, len(context) - self.order + 1) :])
        found = self._known.get(key)
        if found is None:
            found = self._distribution(key).log()
            if len(self._known) < _KEPT:
                self._known[key] = found
        return found

    def _distribution(self, context: tuple[int, ...]) -> Float[Tensor, " vocabulary"]:
        p = torch.full((self.vocabulary,), 1.0 / self.vocabulary)
        for width in range(len(context) + 1):
            counts = self._counts.get(context[len(context) - width :])
            if counts is None:
                break
            total, types = sum(counts.values()), len(counts)
            seen = torch.zeros(self.vocabulary)
            seen[list(counts)] = torch.tensor([float(count) for count in counts.values()])
            p = (seen + types * p) / (total + types)
        return p

    def save(self, path: str | Path) -> None:
        """Write what it was made of, as JSON."""
        content = {"order": self.order, "vocabulary": self.vocabulary, "texts": self.texts}
        Path(path).write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "NGram":
        """Read what `save` wrote.

        Raises:
            ValueError: there is no such file, or it is damaged.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(content["texts"], int(content["vocabulary"]), int(content["order"]))
        except FileNotFoundError:
            raise ValueError(f"there is no language model at {path}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}): take it from a copy of the run, or train again") from None
