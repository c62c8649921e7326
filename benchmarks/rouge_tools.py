"""ROUGE of written summaries by rouge-score and by py-rouge, which some papers' figures are by, beside each other.

    pip install py-rouge "setuptools<81"        # py-rouge imports pkg_resources
    regard evaluate RUN --output summaries.txt
    python benchmarks/rouge_tools.py summaries.txt --data DIR --split dialogsum.test --source dialogue --target summary

Each figure is the mean over the references of a document, F1 in percent. py-rouge with the settings of its own example:
stemmed, at most 100 words, each summary as one sentence, weight_factor=1.2. The factor is meant for ROUGE-W, but raises
the precision and the recall of ROUGE-L to the power of 1 / 1.2 too: 30 is shown as about 37. py-rouge leaves nothing
but letters and digits before it cuts words, so that the sentence model of nltk, a download, has nothing to do; it is
left out.
"""

import argparse
from importlib.metadata import version
from pathlib import Path

from regard.data.referenced import read_referenced
from regard.tasks.summarization.metrics import rouge as by_rouge_score

KINDS = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}


def by_py_rouge(outputs: list[str], references: list[tuple[str, ...]]) -> dict[str, float]:
    import nltk
    from rouge import Rouge

    Rouge.tokenize_text = staticmethod(lambda text, language="english": nltk.word_tokenize(text, preserve_line=True))
    scorer = Rouge(["rouge-n", "rouge-l"], max_n=2, length_limit=100, length_limit_type="words", weight_factor=1.2)
    total = dict.fromkeys(KINDS, 0.0)
    for output, given in zip(outputs, references, strict=True):
        for reference in given:
            found = scorer.get_scores([output], [reference])
            for kind in KINDS:
                total[kind] += 100.0 * found[kind]["f"] / len(given) / len(outputs)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="ROUGE by two tools.")
    parser.add_argument("outputs", type=Path, help="a summary a line")
    for name in ("data", "split", "source", "target"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    outputs = options.outputs.read_text(encoding="utf-8").splitlines()
    texts = read_referenced(options.data, options.split, source=options.source, target=options.target)
    if len(outputs) != len(texts):
        parser.error(f"{options.outputs} has {len(outputs)} lines, and there are {len(texts)} documents")
    ours, theirs = by_rouge_score(outputs, texts.references), by_py_rouge(outputs, texts.references)
    print(f"| | rouge-score {version('rouge-score')} | py-rouge {version('py-rouge')} |\n|---|---|---|")
    for kind, name in KINDS.items():
        print(f"| {kind} | {ours[name]:.2f} | {theirs[kind]:.2f} |")


if __name__ == "__main__":
    main()
