"""What is said, as tokens."""

from collections.abc import Sequence

from regard.data.tokenizer import SPACE, Tokenizer


def spoken(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text, without the space before its first word where that is a token of its own: nothing is
    heard there."""
    space = tokenizer.number(SPACE)
    return [tokens[1:] if tokens[:1] == [space] else tokens for tokens in tokenizer.encode(texts)]
