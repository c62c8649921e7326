"""Sub-word pieces as people read them."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

SPACE = "␣"  # stands for a piece of which nothing would be seen
JOIN = "·"  # before a piece that goes on with the word of the piece before it
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROL_PICTURES = 0x2400  # the block of Unicode with a picture of every ASCII control character


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of a sentence: its visible text, whether it starts a word, and whether it is no text, such as END."""

    text: str
    starts: bool
    special: bool = False

    @property
    def label(self) -> str:
        """The piece standing alone, as on an axis: `Hund`, then `·e`; punctuation goes without the dot."""
        attached = not self.starts and any(character.isalnum() for character in self.text)
        return JOIN + self.text if attached else self.text


def read(pieces: Sequence[str], *, marker: str = "▁", end: str = "</s>") -> tuple[Piece, ...]:
    """Pieces of a sub-word tokenizer, readable.

    Args:
        pieces: as the tokenizer names them.
        marker: what stands before the first piece of a word; with "" every piece is a word of its own.
        end: the name of END, shown as `END` where it is the last piece.
    """
    readable = []
    for index, piece in enumerate(pieces):
        if piece == end and index == len(pieces) - 1:
            readable.append(Piece(text="END", starts=True, special=True))
            continue
        starts = index == 0 or not marker or piece.startswith(marker)
        text = piece.removeprefix(marker)
        text = text.replace(marker, " ") if marker else text
        readable.append(Piece(text=visible(text), starts=starts))
    return tuple(readable)


def sentence(pieces: Sequence[Piece]) -> str:
    """The pieces as one line of text."""
    return "".join(piece.text if not piece.starts else f" {piece.text}" for piece in pieces).strip()


def visible(text: str) -> str:
    """The text with a picture of each control character, and "␣" where there would be nothing to see."""
    text = "".join(_picture(character) for character in text)
    blank = all(unicodedata.category(character)[0] == "Z" or _formats(character) for character in text)
    return SPACE if blank else text


def _picture(character: str) -> str:
    code = ord(character)
    if code < 32:
        return chr(CONTROL_PICTURES + code)
    if code == 127:
        return chr(CONTROL_PICTURES + 33)
    # Halves of surrogate pairs cannot be written as UTF-8; changes of direction would turn neighbours around.
    hidden = unicodedata.category(character) in ("Cc", "Cs") or character in DIRECTIONS
    return "\ufffd" if hidden else character


def _formats(character: str) -> bool:
    return unicodedata.category(character) == "Cf"
