"""Tokens of a `transformers` tokenizer as people read them."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from regard.explain.pieces import Piece, visible

_PART = "\ufffd"  # what a byte decodes to that is only a part of a character
_STARTS = (
    "▁",
    "Ġ",
    "Ċ",
    " ",
)  # before a token that starts a word: SentencePiece's space, byte-level BPE's, a line's end
_REST = "⋯"  # a token that holds the rest of a character


def pieces_of(tokenizer: Any, tokens: Sequence[int]) -> tuple[Piece, ...]:
    """One piece for each token; of a character cut into several bytes the first piece shows it."""
    names = [
        name or f"<{token}>"  # a model may have more words than its tokenizer
        for token, name in zip(tokens, tokenizer.convert_ids_to_tokens(list(tokens)), strict=True)
    ]
    texts = [tokenizer.decode([token]) for token in tokens]
    special = set(tokenizer.all_special_ids)
    joined = any(name.startswith("##") for name in tokenizer.get_vocab())  # WordPiece marks what does not start a word
    found: list[Piece] = []
    for parted, run in groupby(
        range(len(texts)), key=lambda place: _PART in texts[place] and tokens[place] not in special
    ):
        places = list(run)
        if parted:
            whole = tokenizer.decode([tokens[place] for place in places])
            texts[places[0]] = whole if _PART not in whole else texts[places[0]]
            for place in places[1:]:
                texts[place] = _REST
        for place in places:
            name = names[place]
            if tokens[place] in special:
                found.append(Piece(text=visible(name), starts=True, special=True))
                continue
            starts = not name.startswith("##") if joined else name.startswith(_STARTS)
            text = texts[place].removeprefix("##") or name
            found.append(Piece(text=visible(text.strip(" ") or text), starts=starts or place == 0))
    return tuple(found)
