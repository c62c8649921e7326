"""Sentences cut into other sub-words each epoch: byte-pair encoding with dropout (Provilkov et al. 2020)."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from regard.data.tokenizer import Tokenizer

_CUTS = 4  # of a word in an epoch, at most: each of its occurrences has one of them


class Resegmentation:
    """The token numbers of sentences whose words are cut anew each epoch: a merge is left out with probability `p`.

    A rare cut shows a model what a word is made of, so that it learns the parts too; with `p=0` it is `encode`.
    What an epoch is depends on `(seed, epoch)` alone. A word has at most four cuts in an epoch, drawn
    once, and shares them among its occurrences: cutting every occurrence by itself would take as long as a step.

    Args:
        tokenizer: whose merges are applied.
        texts: the sentences.
        p: the probability that a merge is left out, each time that it could be made; 0.1 is usual.
        seed: of the cuts.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], *, p: float, seed: int) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"the dropout of sub-words is a probability, 0 <= p <= 1; got {p}")
        self.p, self.seed = p, seed
        self._number, self._ranks = tokenizer.number, tokenizer.merges()
        words: dict[str, int] = {}
        self._sentences = [[words.setdefault(word, len(words)) for word in tokenizer.words(text)] for text in texts]
        self._words = list(words)
        counts = Counter(word for sentence in self._sentences for word in sentence)
        self._cuts = [min(counts[number], _CUTS) for number in range(len(words))]

    def epoch(self, epoch: int) -> list[list[int]]:
        """Every sentence's token numbers in this epoch."""
        draw = random.Random(f"{self.seed} {epoch}").random
        cuts = [
            [self._cut(word, draw) for _ in range(count)] for word, count in zip(self._words, self._cuts, strict=True)
        ]
        encoded = []
        for sentence in self._sentences:
            numbers: list[int] = []
            for word in sentence:
                of_word = cuts[word]
                numbers += of_word[int(draw() * len(of_word))]
            encoded.append(numbers)
        return encoded

    def _cut(self, word: str, draw: Callable[[], float]) -> list[int]:
        """Merge the best pair that is not left out, the leftmost of equals, until there is none."""
        pieces = list(word)
        while len(pieces) > 1:
            best, at = None, 0
            for place, pair in enumerate(pairwise(pieces)):
                rank = self._ranks.get(pair)
                if rank is not None and (best is None or rank < best) and draw() >= self.p:
                    best, at = rank, place
            if best is None:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return [self._number(piece) for piece in pieces]
