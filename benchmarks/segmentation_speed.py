"""Pictures a second, training and segmenting: the segmenter of a recipe, and SegFormer-B0 of `transformers`.

    python benchmarks/segmentation_speed.py
    python benchmarks/segmentation_speed.py --config RECIPE.yaml --size 360 480 --train-size 288 384

Both have new weights and the same random pictures, float32, in one process, interleaved; medians. A step of training is
forward, cross-entropy at full size, backward and AdamW; segmenting gives the class of each pixel at full size.
Each is timed as it is built and with its weights and pictures in the layout that CPUs convolve in (channels last), and
its faster form counts. Peak memory is that of a step beyond the model, in fresh processes (Linux).
"""

import argparse
import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from attention_memory import held
from timing import interleaved, machine, median
from torch import Tensor, nn
from torch.nn import functional

from regard.tasks.segmentation import Recipe
from regard.training.machine import keep_memory
from regard.training.recipe import parse_recipe

WARMUP = 2
CLASSES = 11
MODELS = ("regard", "segformer-b0")


def build(name: str, config: Path) -> nn.Module:
    """A model with new weights: pictures in, logits at a quarter of their size out."""
    torch.manual_seed(1)
    if name == "regard":
        return parse_recipe(Recipe, ["--data", "."], config=config).model.build(CLASSES)
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES))  # its defaults are B0's

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pictures: Tensor) -> Tensor:
            logits: Tensor = self.inner(pixel_values=pictures / 127.5 - 1.0).logits
            return logits

    return Logits()


class Steps:
    """The two kinds of steps of a model, on pictures of its own."""

    def __init__(self, name: str, options: argparse.Namespace, *, channels_last: bool) -> None:
        self.model = build(name, options.config)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)
        generator = torch.Generator().manual_seed(2)
        self.train_pictures = self._pictures(options.batch, options.train_size, generator, layout)
        self.masks = torch.randint(0, CLASSES, (options.batch, *options.train_size), generator=generator)
        self.pictures = self._pictures(1, options.size, generator, layout)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    @staticmethod
    def _pictures(count: int, size: list[int], generator: torch.Generator, layout: torch.memory_format) -> Tensor:
        pictures = torch.randint(0, 256, (count, 3, *size), generator=generator).float()
        return pictures.contiguous(memory_format=layout)

    def train(self) -> None:
        self.model.train()
        logits = functional.interpolate(self.model(self.train_pictures), self.masks.shape[-2:], mode="bilinear")
        self.optimizer.zero_grad()
        functional.cross_entropy(logits, self.masks).backward()
        self.optimizer.step()

    @torch.no_grad()
    def segment(self) -> None:
        self.model.eval()
        logits = functional.interpolate(self.model(self.pictures), self.pictures.shape[-2:], mode="bilinear")
        logits.argmax(1)


def compare(options: argparse.Namespace) -> dict[str, bool]:
    """Prints the table of speeds; which models are faster with channels last, in training."""
    steps = {(name, last): Steps(name, options, channels_last=last) for name in MODELS for last in (False, True)}
    found: dict[str, dict[tuple[str, bool], float]] = {}
    for kind in ("train", "segment"):
        runs: dict[str, Callable[[], None]] = {
            f"{name} {last}": getattr(one, kind) for (name, last), one in steps.items()
        }
        times = interleaved(runs, rounds=options.rounds, warmup=WARMUP)
        found[kind] = {key: median(times[f"{key[0]} {key[1]}"]) for key in steps}
    print("| model | weights | trains, pictures/s | segments, pictures/s |\n|---|---|---|---|")
    best: dict[str, dict[str, float]] = {kind: {} for kind in found}
    for name in MODELS:
        weights = sum(weight.numel() for weight in steps[name, True].model.parameters())
        cells = []
        for kind, count in (("train", options.batch), ("segment", 1)):
            plain, last = found[kind][name, False], found[kind][name, True]
            best[kind][name] = min(plain, last)
            cells.append(f"{count / best[kind][name]:.2f} ({'channels last' if last < plain else 'as built'})")
        print(f"| {name} | {weights:,} | {cells[0]} | {cells[1]} |")
    for kind in found:
        ratio = best[kind]["segformer-b0"] / best[kind]["regard"]
        print(f"\nTo {kind}, Regard is {ratio:.2f}x SegFormer-B0 in pictures a second.")
    return {name: found["train"][name, True] < found["train"][name, False] for name in MODELS}


def peak(options: argparse.Namespace) -> float:
    """MB that a step takes beyond the model, in this process."""
    name, kind, last = options.one.split(",")
    steps = Steps(name, options, channels_last=last == "True")
    run = getattr(steps, kind)
    if kind == "train":  # the optimiser's state is no part of a step
        run()
        steps.optimizer.zero_grad()
    ctypes.CDLL(None).malloc_trim(0)
    before = held("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:  # the highest mark begins anew
        file.write("5")
    run()
    return held("VmHWM") - before


def memory(last: dict[str, bool], arguments: list[str]) -> None:
    print("\n| model | a step of training, MB | segmenting a picture, MB |\n|---|---|---|")
    for name in MODELS:
        cells = []
        for kind in ("train", "segment"):
            command = [sys.executable, __file__, *arguments, "--one", f"{name},{kind},{last[name]}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            cells.append(f"{float(done.stdout):,.0f}")
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    recipes = Path(__file__).parents[1] / "recipes"
    parser.add_argument("--config", type=Path, default=recipes / "segmentation" / "camvid.yaml")
    parser.add_argument("--size", type=int, nargs=2, default=[360, 480], help="height and width to segment")
    parser.add_argument("--train-size", type=int, nargs=2, default=[288, 384], help="height and width to train on")
    parser.add_argument("--batch", type=int, default=8, help="pictures of a step of training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    if options.one:
        print(peak(options))
        return
    print(machine())
    print(
        f"\nSegmenting {options.size[1]} x {options.size[0]}; training on {options.batch} pictures of "
        f"{options.train_size[1]} x {options.train_size[0]}. Medians of {options.rounds} interleaved rounds.\n"
    )
    memory(compare(options), sys.argv[1:])


if __name__ == "__main__":
    main()
