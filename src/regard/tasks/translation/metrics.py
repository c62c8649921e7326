"""The metrics of translation, by sacreBLEU (Post 2018): numbers that carry the signature of how they were made."""

from collections.abc import Sequence

from regard.tasks.evaluation import Score


def bleu(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Cased sacreBLEU on plain text."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU().corpus_score(list(outputs), [list(references)]).score)


def chrf(outputs: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 (Popovic 2015) on plain text."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(outputs), [list(references)]).score)


def exact(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The percentage of outputs that equal their reference to the letter."""
    pairs = list(zip(outputs, references, strict=True))
    return 100.0 * sum(output == reference for output, reference in pairs) / max(len(pairs), 1)


def all_scores(outputs: Sequence[str], references: Sequence[str], *, language: str) -> list[Score]:
    """Every metric that results are published in.

    Cased BLEU, lower-cased BLEU and chrF on plain text, and BLEU on text that was lower-cased and tokenised as
    Moses does for `language`: the protocol of most published Multi30k results.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)

    def moses(texts: Sequence[str]) -> list[str]:
        return [tokenizer.tokenize(normalizer.normalize(text.lower()), return_str=True, escape=False) for text in texts]

    tokenised = BLEU(tokenize="none", force=True)
    plain, lower, character = BLEU(), BLEU(lowercase=True), CHRF()
    scores = []
    for name, metric, these, those in (
        ("BLEU", plain, outputs, references),
        ("BLEU, lower-cased", lower, outputs, references),
        ("BLEU, lower-cased, Moses-tokenised", tokenised, moses(outputs), moses(references)),
        ("chrF", character, outputs, references),
    ):
        value = metric.corpus_score(list(these), [list(those)]).score
        scores.append(Score(name=name, value=float(value), signature=str(metric.get_signature())))
    scores.append(Score(name="exact match", value=exact(outputs, references), signature="equal to the letter, in %"))
    return scores
