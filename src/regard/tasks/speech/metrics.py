"""The metrics of speech recognition, by jiwer: word and character error rates, and how sure they are."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from regard.tasks.evaluation import Score

_DRAWS = 1000  # of the bootstrap
_MOST = 10  # errors of a kind that are listed


def word_errors(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Word error rate in percent: words that are wrong, too few or too many, of those that were said."""
    import jiwer

    return 100.0 * float(jiwer.wer(list(references), list(outputs)))


def character_errors(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The same of characters, spaces among them."""
    import jiwer

    return 100.0 * float(jiwer.cer(list(references), list(outputs)))


def all_scores(outputs: Sequence[str], references: Sequence[str]) -> list[Score]:
    """Every metric that results are published in."""
    from importlib.metadata import version

    signature = f"jiwer {version('jiwer')}, text as it is"
    right = sum(one.split() == other.split() for one, other in zip(outputs, references, strict=True))
    return [
        Score(name="WER", value=word_errors(outputs, references), signature=signature),
        Score(name="CER", value=character_errors(outputs, references), signature=signature),
        Score(name="sentences right", value=100.0 * right / max(1, len(outputs)), signature="to the word, in %"),
    ]


def table(outputs: Sequence[str], references: Sequence[str]) -> str:
    """What a person wants to know besides: how sure the rate is, and which errors there were."""
    import jiwer

    found = jiwer.process_words(list(references), list(outputs))
    low, high = interval(outputs, references)
    words = sum(len(reference.split()) for reference in references)
    lines = [
        f"of {words} words {found.substitutions} are wrong, {found.deletions} are missing and {found.insertions} are "
        f"too many; 95% of word error rates, drawn from these recordings anew, lie between {low:.2f} and {high:.2f}"
    ]
    confused: Counter[tuple[str, str]] = Counter()
    for reference, hypothesis, chunks in zip(found.references, found.hypotheses, found.alignments, strict=True):
        for chunk in chunks:
            if chunk.type == "equal":
                continue
            said = " ".join(reference[chunk.ref_start_idx : chunk.ref_end_idx])
            heard = " ".join(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
            confused[said, heard] += 1
    if confused:
        lines += ["", "the most frequent errors: what was said, and what was written", ""]
        lines += [
            f"{count:4}  {said or '(nothing)'} -> {heard or '(nothing)'}"
            for (said, heard), count in confused.most_common(_MOST)
        ]
    return "\n".join(lines)


def interval(outputs: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Between which rates 95% of those lie that recordings drawn from these anew have (Bisani and Ney 2004)."""
    import jiwer

    counted = []
    for output, reference in zip(outputs, references, strict=True):
        one = jiwer.process_words(reference, output)
        counted.append((one.substitutions + one.deletions + one.insertions, len(reference.split())))
    random, rates = Random(0), []
    for _ in range(_DRAWS):
        drawn = random.choices(counted, k=len(counted))
        rates.append(100.0 * sum(errors for errors, _ in drawn) / max(1, sum(words for _, words in drawn)))
    rates.sort()
    return rates[int(0.025 * _DRAWS)], rates[int(0.975 * _DRAWS)]
