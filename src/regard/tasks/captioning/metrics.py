"""The metrics of captioning: BLEU, ROUGE-L and CIDEr by pycocoevalcap, and how much of it was learned by heart."""

import re
from collections.abc import Collection, Sequence
from importlib.metadata import version

from regard.tasks.evaluation import Score

ENOUGH = 100  # pictures, below which CIDEr's document frequencies mean nothing
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_HOW = "lower-cased words, without punctuation"

References = Sequence[Sequence[str]]


def words(caption: str) -> str:
    """A caption as it is measured: lower-cased words divided by spaces, without punctuation."""
    return " ".join(_WORD.findall(caption.lower()))


def bleu(outputs: Sequence[str], references: References) -> list[float]:
    """BLEU-1 to BLEU-4 of all captions together, in percent (Papineni et al. 2002)."""
    from pycocoevalcap.bleu.bleu import Bleu

    found, _ = Bleu(4).compute_score(*_tables(outputs, references), verbose=0)
    return [100.0 * float(value) for value in found]


def rouge_l(outputs: Sequence[str], references: References) -> float:
    """ROUGE-L in percent, the mean over captions (Lin 2004)."""
    from pycocoevalcap.rouge.rouge import Rouge

    found, _ = Rouge().compute_score(*_tables(outputs, references))
    return 100.0 * float(found)


def cider(outputs: Sequence[str], references: References) -> float:
    """CIDEr in percent (Vedantam et al. 2015); NaN for so few pictures that it would mean nothing."""
    from pycocoevalcap.cider.cider import Cider

    if len(outputs) < ENOUGH:
        return float("nan")
    found, _ = Cider().compute_score(*_tables(outputs, references))
    return 100.0 * float(found)


def by_heart(outputs: Sequence[str], training: Collection[str]) -> float:
    """The percentage of captions that stand, word by word, among the training captions."""
    known = {words(caption) for caption in training}
    return 100.0 * sum(words(output) in known for output in outputs) / max(1, len(outputs))


def distinct(outputs: Sequence[str]) -> float:
    """How many different captions there are, in percent of all."""
    return 100.0 * len({words(output) for output in outputs}) / max(1, len(outputs))


def all_scores(outputs: Sequence[str], references: References) -> list[Score]:
    """Every metric that results are published in."""
    by = f"pycocoevalcap {version('pycocoevalcap')}, {_HOW}, {len(outputs)} pictures"
    scores = [
        Score(name=f"BLEU-{n}", value=value, signature=by) for n, value in enumerate(bleu(outputs, references), 1)
    ]
    scores.append(Score(name="ROUGE-L", value=rouge_l(outputs, references), signature=by))
    value = cider(outputs, references)
    few = f"; left out below {ENOUGH} pictures" if value != value else ""
    scores.append(Score(name="CIDEr", value=value, signature=by + few))
    return scores


def table(outputs: Sequence[str], training: Collection[str]) -> str:
    """How much of what is said was learned by heart, and how much of it is the same."""
    lengths = sum(len(words(output).split()) for output in outputs) / max(1, len(outputs))
    return (
        f"captions that stand among the {len(training):,} training captions: {by_heart(outputs, training):.1f}%\n"
        f"different captions: {distinct(outputs):.1f}% of {len(outputs):,}\n"
        f"words of a caption: {lengths:.1f} in the mean"
    )


def _tables(outputs: Sequence[str], references: References) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and outputs by number, as the library takes them."""
    true = {number: [words(one) for one in given] for number, given in enumerate(references)}
    return true, {number: [words(output)] for number, output in enumerate(outputs)}
