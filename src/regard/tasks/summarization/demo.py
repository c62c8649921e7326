"""The demo: a small model that writes headlines for records of events, and copies names that it has never seen."""

import json
from pathlib import Path

from regard.decoding import Beam
from regard.tasks.sub_words import SubWords
from regard.tasks.summarization import events
from regard.tasks.summarization.recipe import Files, Model, Recipe
from regard.tasks.summarization.summarizer import Summarizer
from regard.training import TrainingOptions

DESCRIPTION = "headlines for records of events, with names to copy that nobody has heard of"
TITLE = "Where each word of a headline came from"
EXAMPLES = events.SIZES["train"]
EPOCHS = 4


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Make the training, validation and test records and their headlines, as JSON lines; some to show."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in {**events.SIZES, "train": examples}.items():
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            for event in events.generate(size, seed=1, split=split):
                file.write(json.dumps({"record": event.record, "headline": event.headline}) + "\n")
    return [f"{record}  ->  {headline}" for record, headline in list(events.EXAMPLES.items())[:2]]


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: 2+2 layers of width 64, a vocabulary too small for names, about two minutes on two cores."""
    return Recipe(
        data=str(folder),
        files=Files(source="record", target="headline", validation="validation"),
        sub_words=SubWords(vocabulary=400),
        # Turned by its position, a query can ask for the piece after the one just copied, wherever that stands.
        model=Model(dim=64, layers=2, heads=4, feed_forward=128, dropout=0.0, positions="rotary"),
        batch_tokens=2048,
        label_smoothing=0.0,
        metric="rouge",
        training=TrainingOptions(epochs=epochs, learning_rate=4e-3, warmup_steps=100, average=1),
        decoding=Beam(width=2, max_length=60),
    )


def looks(folder: Path) -> list[str]:
    """What is looked at when the demo has trained."""
    return list(events.EXAMPLES)


def trial(folder: Path) -> str:
    """What to try the model on."""
    return next(iter(events.EXAMPLES))


def report(summarizer: Summarizer) -> None:
    """Print how well it does on records whose names it has never seen."""
    some = events.generate(events.SIZES["test"], seed=1, split="test")
    found = summarizer.evaluate()
    values = {score.name: score.value for score in found.scores}
    exact = sum(output == event.headline for output, event in zip(found.outputs, some, strict=True))
    names = sum(all(name in output for name in event.names) for output, event in zip(found.outputs, some, strict=True))
    print(f"\nheadlines right to the letter, of {len(some)} with names never seen: {100 * exact / len(some):.1f}%")
    print(f"all names right: {100 * names / len(some):.1f}%")
    print(f"ROUGE-L {values['ROUGE-L']:.1f}, of the first sentences {values['ROUGE-L of the lead']:.1f}")
    print("\nnever seen in training:")
    for (record, headline), outputs in zip(
        events.EXAMPLES.items(), summarizer.predict(list(events.EXAMPLES)), strict=True
    ):
        verdict = "right" if outputs[0].text == headline else f"wrong, it is {headline}"
        print(f"  {record}\n    {outputs[0].text}   {verdict}")
