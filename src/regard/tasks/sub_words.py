"""How a task's text is cut into sub-words, as options of its recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from regard.data.resegmentation import Resegmentation
from regard.data.tokenizer import Tokenizer, Tokenizers


@dataclass(frozen=True, kw_only=True)
class SubWords:
    """How text is cut into sub-words.

    Args:
        vocabulary: Greatest number of tokens.
        lowercase: Lower-case everything; what is written is then lower-cased too.
        characters: Keep the N most frequent characters alone (null: all).
        whole: Strings that are a word each, whatever punctuation they hold, such as ["#Person1#", "<unit>"].
        dropout: Probability of leaving out a merge in training, so that words are cut anew each epoch (0: never).
    """

    vocabulary: int = 8000
    lowercase: bool = False
    characters: int | None = None
    whole: list[str] = field(default_factory=list)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(
                f"sub_words.dropout is a probability, 0 <= dropout <= 1; got {self.dropout}; "
                "usual is --sub_words.dropout 0.1"
            )

    def learn(self, sources: Sequence[str], targets: Sequence[str], *, joint: bool = True) -> Tokenizers:
        """The tokenizers that these texts give."""
        return Tokenizers.train(
            sources,
            targets,
            vocabulary=self.vocabulary,
            joint=joint,
            lowercase=self.lowercase,
            characters=self.characters,
            whole=self.whole,
        )

    def recut(self, tokenizer: Tokenizer, texts: Sequence[str], seed: int) -> Resegmentation | None:
        """What cuts texts anew each epoch; nothing where words are cut one way."""
        return Resegmentation(tokenizer, texts, p=self.dropout, seed=seed) if self.dropout else None
