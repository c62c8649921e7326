"""A tokenizer of `transformers` under the numbers that Regard's models, batches and search have for special tokens."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from regard.data.tokenizer import SPACE, Tokenizer
from regard.hub.pieces import pieces_of
from regard.models.tokens import END, UNKNOWN


class HubTokenizer(Tokenizer):
    """Tokens of a pretrained model, numbered anew: PAD, UNKNOWN, START and END first, then all others in their order.

    What a text is framed by is the pretrained tokenizer's own, but for a closing END, which batches add.

    Args:
        inner: the tokenizer of `transformers`.
        size: how many tokens the model has, which may be more than the tokenizer knows.
        start: the token that a decoder starts from; of an encoder any.
        of_target: whether texts are targets, which some models cut otherwise.

    Raises:
        ValueError: a tokenizer that names no token for padding or for the end.
    """

    def __init__(self, inner: Any, *, size: int, start: int | None = None, of_target: bool = False) -> None:
        end = inner.eos_token_id if inner.eos_token_id is not None else inner.sep_token_id
        pad = inner.pad_token_id if inner.pad_token_id is not None else end
        if end is None or pad is None:
            raise ValueError("the pretrained tokenizer names no token for the end of a text (eos_token or sep_token)")
        unknown = pad if inner.unk_token_id is None else inner.unk_token_id
        start = pad if start is None else start
        special = {pad, unknown, start, end}
        self.theirs = [pad, unknown, start, end, *(number for number in range(size) if number not in special)]
        # Of a number that stands for two special tokens the last counts: END before START, and both before PAD.
        self._ours = {theirs: ours for ours, theirs in enumerate(self.theirs) if theirs not in (start, end)}
        self._ours |= {start: 2, end: END}
        self.inner, self.of_target = inner, of_target

    def __len__(self) -> int:
        return len(self.theirs)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts, not one text: encode([text])[0]")
        if not texts:
            return []
        given = {"text_target": list(texts)} if self.of_target else {"text": list(texts)}
        found = [[self._ours.get(token, UNKNOWN) for token in tokens] for tokens in self.inner(**given)["input_ids"]]
        return [tokens[:-1] if tokens and tokens[-1] == END else tokens for tokens in found]

    def decode(self, ids: Iterable[int]) -> str:
        theirs: list[int] = []
        for number in ids:
            if number == END:
                break
            theirs.append(self.theirs[number])
        text: str = self.inner.decode(theirs, skip_special_tokens=True)
        return text

    def tokens(self, ids: Iterable[int]) -> list[str]:
        pieces = pieces_of(self.inner, [self.theirs[number] for number in ids])
        return [SPACE + piece.text if piece.starts else piece.text for piece in pieces]

    def spelled(self, text: str) -> list[str]:
        return self.tokens(self.encode([text])[0])

    def number(self, piece: str) -> int:
        return self._ours.get(self.inner.convert_tokens_to_ids(piece), UNKNOWN)

    def words(self, text: str) -> list[str]:
        raise ValueError("a pretrained tokenizer cuts words one way: --sub_words.dropout 0")

    def merges(self) -> dict[tuple[str, str], int]:
        raise ValueError("a pretrained tokenizer cuts words one way: --sub_words.dropout 0")

    def save(self, path: str | Path) -> None:
        """Write the files of the tokenizer into a folder."""
        self.inner.save_pretrained(path)
