"""Text to sub-words and back, by byte-pair encoding (Sennrich et al., 2016) of the `tokenizers` library."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from regard.models.tokens import END, PAD, START, UNKNOWN

SPECIAL = {PAD: "<pad>", UNKNOWN: "<unk>", START: "<s>", END: "</s>"}
SPACE = "\u2581"  # "▁" stands for the space before a word, also before the first one
# A line's first word is the same token as the word inside: it too has a space before it, which `decode` takes away.
_LINES = normalizers.Replace(tokenizers.Regex(r"\n(?=[^\n])"), "\n ")
REPLACEMENT = "\ufffd"  # "�": what UNKNOWN decodes to
VERSION = 1  # of the layout of tokenizer.json


class Tokenizer:
    """Sub-words of one language, or of several that share a vocabulary.

    Words are cut at spaces and ends of lines, punctuation and digits stand alone ("street." shares "street"), and
    every piece carries the space before it: `decode(encode([text])[0]) == text` for a text of characters seen in
    training whose spaces are single and inside (lower-cased, with `lowercase`). Make one with `train` or `load`.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        for number, name in SPECIAL.items():
            if inner.id_to_token(number) != name:
                raise ValueError(f"token {number} of a tokenizer must be {name!r}, not {inner.id_to_token(number)!r}")
        inner.encode_special_tokens = True  # "<s>" in somebody's text is three characters, not START
        self._inner = inner
        self._vocabulary = inner.get_vocab()
        self._pieces = sorted(self._vocabulary, key=self._vocabulary.__getitem__)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocabulary: int,
        lowercase: bool = False,
        characters: int | None = None,
        whole: Sequence[str] = (),
    ) -> "Tokenizer":
        """Learn a vocabulary from sentences; the same sentences give the same tokenizer.

        Args:
            texts: sentences.
            vocabulary: the largest number of tokens, the four special ones included; small texts give fewer.
            lowercase: lower-case every text first; what is decoded is then lower-cased too.
            characters: keep only this many characters, the most frequent ones, and let the others be UNKNOWN.
                None keeps every character.
            whole: strings that are a word each, whatever punctuation and digits they hold, such as "#Person1#" or
                "<unit>"; one that is frequent becomes one token.

        Raises:
            ValueError: no text, a vocabulary without room for the characters, or a space in `whole`.
        """
        normalizer = normalizers.Sequence([_LINES, normalizers.Lowercase()]) if lowercase else _LINES
        sentences = [normalizer.normalize_str(text) for text in texts]
        counts = Counter(character for text in sentences for character in text if character != " ")
        if not counts:
            raise ValueError("there is no text to train a tokenizer on")
        # The library breaks ties among rare characters by chance, so the alphabet is chosen here.
        frequent = sorted(counts, key=lambda character: (-counts[character], character))[:characters]
        alphabet = sorted({*frequent, SPACE})
        if vocabulary < len(SPECIAL) + len(alphabet):
            raise ValueError(
                f"vocabulary={vocabulary} has no room for the {len(alphabet)} different characters of the "
                f"text and the {len(SPECIAL)} special tokens: set vocabulary={len(SPECIAL) + len(alphabet)} "
                f"or more, or characters=N to keep the N most frequent characters alone"
            )
        if len(frequent) < len(counts):
            rare = str.maketrans(dict.fromkeys(counts.keys() - set(frequent), " "))
            sentences = [text.translate(rare) for text in sentences]

        inner = tokenizers.Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
        words = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [words, *_cuts([text.lower() for text in whole] if lowercase else whole)]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            special_tokens=[SPECIAL[number] for number in sorted(SPECIAL)],
            initial_alphabet=alphabet,
            show_progress=False,
        )
        inner.train_from_iterator(sentences, trainer, length=len(sentences))
        inner.normalizer = normalizer
        return cls(inner)

    def __len__(self) -> int:
        """The number of tokens, the special ones included."""
        return len(self._pieces)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token numbers of each text, without special tokens; a character never seen is UNKNOWN."""
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts, not one text: encode([text])[0]")
        return [each.ids for each in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token numbers up to END; PAD and START say nothing, UNKNOWN is shown as "�"."""
        pieces: list[str] = []
        for number in ids:
            if number == END:
                break
            if number == UNKNOWN:
                pieces.append(REPLACEMENT)
            elif number not in (PAD, START):
                pieces.append(self._piece(number))
        return "".join(pieces).replace(SPACE, " ").replace("\n ", "\n").removeprefix(" ")

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """One readable piece for each number, as pictures show them: "▁" begins a word, "</s>" is END."""
        return [self._piece(number) for number in ids]

    def spelled(self, text: str) -> list[str]:
        """The tokens of a text as `tokens` shows them, but a character never seen as it stands in the text."""
        found = self._inner.encode(text, add_special_tokens=False)
        return [
            text[start:end] if number == UNKNOWN else piece
            for number, piece, (start, end) in zip(found.ids, found.tokens, found.offsets, strict=True)
        ]

    def _piece(self, number: int) -> str:
        if not 0 <= number < len(self._pieces):
            raise ValueError(f"token {number} is outside of this tokenizer's vocabulary of {len(self._pieces)}")
        return self._pieces[number]

    def words(self, text: str) -> list[str]:
        """The words of a text, which sub-words never reach across: "▁" begins one that follows a space."""
        normalizer = self._inner.normalizer
        text = text if normalizer is None else normalizer.normalize_str(text)
        return [word for word, _ in self._inner.pre_tokenizer.pre_tokenize_str(text)]

    def merges(self) -> dict[tuple[str, str], int]:
        """The pairs of pieces that are merged, and the rank of each: the lowest is merged first."""
        return {(left, right): rank for rank, (left, right) in enumerate(self.to_json()["model"]["merges"])}

    def number(self, piece: str) -> int:
        """The number of a piece; UNKNOWN, if it is none."""
        return self._vocabulary.get(piece, UNKNOWN)

    def to_json(self) -> dict[str, Any]:
        """All of the tokenizer as plain JSON values."""
        content: dict[str, Any] = json.loads(self._inner.to_str())
        return content

    @classmethod
    def from_json(cls, content: Any) -> "Tokenizer":
        """The tokenizer that `to_json` described."""
        try:
            inner = tokenizers.Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the library raises bare Exceptions
            raise ValueError(f"not a tokenizer: {error}") from None
        return cls(inner)

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to one JSON file."""
        _write(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read what `save` wrote; a damaged file is a ValueError that names it."""
        content = _read(path)
        try:
            return cls.from_json(content)
        except ValueError as error:
            raise _damaged(path, error) from None


@dataclass(frozen=True)
class Tokenizers:
    """The source's and the target's tokenizer in one file; one object twice where they share a vocabulary."""

    source: Tokenizer
    target: Tokenizer

    @property
    def joint(self) -> bool:
        """Whether source and target share one vocabulary."""
        return self.source is self.target

    @classmethod
    def train(
        cls,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        vocabulary: int,
        joint: bool,
        lowercase: bool = False,
        characters: int | None = None,
        whole: Sequence[str] = (),
    ) -> "Tokenizers":
        """Learn one vocabulary of both sides (`joint`), or one of `vocabulary` tokens each."""

        def learn(texts: Iterable[str]) -> Tokenizer:
            return Tokenizer.train(
                texts, vocabulary=vocabulary, lowercase=lowercase, characters=characters, whole=whole
            )

        if joint:
            shared = learn([*sources, *targets])
            return cls(shared, shared)
        return cls(learn(sources), learn(targets))

    def save(self, path: str | Path) -> None:
        """Write both to one JSON file."""
        target = None if self.joint else self.target.to_json()
        _write(path, {"version": VERSION, "joint": self.joint, "source": self.source.to_json(), "target": target})

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizers":
        """Read what `save` wrote; a damaged file or one of another version is a ValueError."""
        content = _read(path)
        if not isinstance(content, dict) or not {"version", "joint", "source", "target"} <= content.keys():
            raise _damaged(path, 'it lacks "version", "joint", "source" or "target"')
        if content["version"] != VERSION:
            raise ValueError(f"{path} has version {content['version']!r}, but this release reads version {VERSION}")
        try:
            source = Tokenizer.from_json(content["source"])
            return cls(source, source if content["joint"] else Tokenizer.from_json(content["target"]))
        except ValueError as error:
            raise _damaged(path, error) from None


def _cuts(whole: Sequence[str]) -> list[pre_tokenizers.PreTokenizer]:
    """What cuts words at ends of lines, punctuation and digits, but for the strings `whole`."""
    lines = pre_tokenizers.Split("\n", "isolated")
    if not whole:
        return [lines, pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Digits(individual_digits=True)]
    for text in whole:
        if not text or any(map(str.isspace, text)):
            raise ValueError(f"sub_words.whole has {text!r}, but a word has one character or more and no space")
    # Where one of them begins another, the longer is found first. The last part is what the two cuts above cut at.
    strings = "|".join(re.escape(text) for text in sorted(whole, key=len, reverse=True))
    pattern = tokenizers.Regex(rf"{SPACE}?(?:{strings})|[\p{{P}}$+<=>^`|~]|\p{{N}}")
    return [lines, pre_tokenizers.Split(pattern, "isolated")]


def _write(path: str | Path, content: dict[str, Any]) -> None:
    unfinished = Path(f"{path}.unfinished")  # whatever happens, `path` is whole or as it was
    unfinished.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    os.replace(unfinished, path)


def _read(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no tokenizer at {path}") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str | Path, why: object) -> ValueError:
    return ValueError(f"{path} is damaged ({why}): take it from a copy of the run, or train again")
