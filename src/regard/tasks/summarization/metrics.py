"""The metrics of summarization: ROUGE (Lin 2004) by rouge-score, and how much of a summary is the document's words."""

import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from regard.tasks.evaluation import Score

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_WORD = re.compile(r"\w+")

References = Sequence[Sequence[str]]


def rouge(outputs: Sequence[str], references: References) -> dict[str, float]:
    """ROUGE-1, -2 and -L in percent, the mean over each document's references; `rouge` is the mean of the three."""
    found, _ = _rouge(outputs, references, KINDS[:3])
    return {"rouge": sum(found.values()) / 3, **found}


def _rouge(
    outputs: Sequence[str], references: References, kinds: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """F1 in percent by kind, with stemming: the mean over a document's references, and the best of them."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(kinds), use_stemmer=True)
    mean, best = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    for output, given in zip(outputs, references, strict=True):
        found = [scorer.score(_by_line(reference), _by_line(output)) for reference in given]
        for kind in kinds:
            values = [100.0 * one[kind].fmeasure for one in found]
            mean[kind] += sum(values) / len(values) / len(outputs)
            best[kind] += max(values) / len(outputs)
    return mean, best


def _by_line(text: str) -> str:
    """A sentence a line, which ROUGE-Lsum asks for and nothing else notices."""
    return "\n".join(sentences(text))


def sentences(text: str) -> list[str]:
    """The sentences of a text: what ends in a full stop, a question or exclamation mark, or stands on a line."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def first_sentences(document: str, count: int) -> str:
    """The first sentences of a document: what a summary has to beat."""
    return " ".join(sentences(document)[:count])


def novelty(outputs: Sequence[str], documents: Sequence[str], n: int) -> float:
    """The percentage of the outputs' n-grams of words that their documents do not have (See et al. 2017)."""
    new = total = 0
    for output, document in zip(outputs, documents, strict=True):
        there, written = _ngrams(document, n), _ngrams(output, n)
        new += sum(count for ngram, count in written.items() if ngram not in there)
        total += sum(written.values())
    return 100.0 * new / max(total, 1)


def copied(outputs: Sequence[str], documents: Sequence[str]) -> tuple[float, float]:
    """Coverage, the percentage of words that stand in spans copied from the document, and those spans' mean length.

    A span is the longest run of the output's words, from left to right, that the document has too (Grusky et al. 2018).
    """
    inside = words = spans = 0
    for output, document in zip(outputs, documents, strict=True):
        written, source = _words(output), _words(document)
        places: dict[str, list[int]] = {}
        for place, word in enumerate(source):
            places.setdefault(word, []).append(place)
        at = 0
        while at < len(written):
            longest = max((_run(written, at, source, place) for place in places.get(written[at], ())), default=0)
            inside, spans = inside + longest, spans + (longest > 0)
            at += max(longest, 1)
        words += len(written)
    return 100.0 * inside / max(words, 1), inside / max(spans, 1)


def _run(written: Sequence[str], at: int, source: Sequence[str], place: int) -> int:
    """How many words are the same from here on."""
    most = min(len(written) - at, len(source) - place)
    return next((length for length in range(most) if written[at + length] != source[place + length]), most)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = _words(text)
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def all_scores(outputs: Sequence[str], references: References, documents: Sequence[str], *, lead: int) -> list[Score]:
    """ROUGE of the outputs, and of the lead; how new their words are, how much is copied, and how long they are."""
    leads = [first_sentences(document, lead) for document in documents]
    tool = f"F1 in %, rouge-score {version('rouge-score')}, stemmed"
    several = max(map(len, references), default=1) > 1
    mean, best = _rouge(outputs, references, KINDS)
    baseline, _ = _rouge(leads, references, KINDS[:3])
    over = "mean over references" if several else "one reference"
    scores = [Score(name=_NAMES[kind], value=mean[kind], signature=f"{tool}, {over}") for kind in KINDS]
    if several:
        scores += [
            Score(name=f"{_NAMES[kind]}, best reference", value=best[kind], signature=f"{tool}, the best of each")
            for kind in KINDS[:3]
        ]
    first = "the first sentence" if lead == 1 else f"the first {lead} sentences"
    scores += [
        Score(name=f"{_NAMES[kind]} of the lead", value=baseline[kind], signature=f"{first} of the document")
        for kind in KINDS[:3]
    ]
    scores += [
        Score(
            name=f"new {n}-grams", value=novelty(outputs, documents, n), signature="that the document does not have, %"
        )
        for n in (1, 2, 3)
    ]
    coverage, length = copied(outputs, documents)
    scores.append(Score(name="words in copied spans", value=coverage, signature="in %"))
    scores.append(Score(name="length of copied spans", value=length, signature="words, their mean"))
    words = sum(len(_words(output)) for output in outputs) / max(len(outputs), 1)
    scores.append(Score(name="length of outputs", value=words, signature="words, their mean"))
    return scores
