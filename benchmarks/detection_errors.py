"""What is wrong with what a detector finds: of each class how many are missed, and why a box meets nothing.

    python benchmarks/detection_errors.py RUN                    # of the test pictures of the run's own data
    python benchmarks/detection_errors.py RUN --least 0.3 --worst 14

The surest box first, each takes the thing of its class that it overlaps most, if by half. A box without one is "double"
where another has taken such a thing, of "another class" where a thing of another is there, "badly placed" where it
overlaps any thing by a fifth, and else where "nothing" is in the data.
"""

import argparse
from collections import Counter

from torch import Tensor

from regard.models.boxes import iou
from regard.tasks.detection.picture_detector import find
from regard.tasks.registry import open_run

HALF, FIFTH = 0.5, 0.2


def errors(boxes: Tensor, labels: list[str], true: Tensor, names: tuple[str, ...]) -> Counter[tuple[str, str]]:
    """What was found, missed, and found wrongly in a picture; boxes as left, top, right, bottom, the surest first."""
    found: Counter[tuple[str, str]] = Counter()
    overlaps = iou(boxes[:, None], true[None])[0].tolist()
    taken: set[int] = set()
    for row, label in zip(overlaps, labels, strict=True):
        own = [(overlap, at) for at, overlap in enumerate(row) if names[at] == label]
        best, at = max(((overlap, at) for overlap, at in own if at not in taken), default=(0.0, -1))
        if best >= HALF:
            taken.add(at)
            found["found", label] += 1
        elif max(own, default=(0.0, -1))[0] >= HALF:
            found["double", label] += 1
        elif max(row, default=0.0) >= HALF:
            found["another class", label] += 1
        else:
            found["badly placed" if max(row, default=0.0) >= FIFTH else "nothing", label] += 1
    found.update(("missed", name) for at, name in enumerate(names) if at not in taken)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--least", type=float, default=0.4, help="how sure a box is to be")
    parser.add_argument("--worst", type=int, default=0, help="also the pictures with most errors, so many")
    options = parser.parse_args()
    application, run = open_run(options.run)
    detector = application.load(run)
    data = find(detector.recipe, detector.recipe.files.test)
    total: Counter[tuple[str, str]] = Counter()
    pictures = []
    for path, known, (output,) in zip(
        data.pictures, data.boxes, detector.predict([str(path) for path in data.pictures]), strict=True
    ):
        things = [thing for thing in output.record()["things"] if thing["score"] >= options.least]
        things.sort(key=lambda thing: -thing["score"])
        boxes = Tensor([thing["bbox"] for thing in things]).view(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [thing["label"] for thing in things]
        one = errors(boxes, labels, Tensor(known.boxes).view(-1, 4), known.labels)
        total.update(one)
        wrong = Counter({kind: count for kind, count in one.items() if kind[0] != "found"})
        pictures.append((wrong.total(), path.name, len(known.labels), wrong))
    kinds = ("found", "missed", "nothing", "double", "badly placed", "another class")
    print(f"| class | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in data.classes:
        print(f"| {name} | {' | '.join(str(total[kind, name]) for kind in kinds)} |")
    for _, name, things_there, wrong in sorted(pictures, key=lambda one: -one[0])[: options.worst]:
        told = ", ".join(f"{count} {label} {kind}" for (kind, label), count in wrong.items())
        print(f"\n{name}, {things_there} things: {told}", end="")
    print()


if __name__ == "__main__":
    main()
