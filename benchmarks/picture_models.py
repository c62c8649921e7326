"""Pictures a second of the models of pictures, beside models of `transformers`, all with new weights.

    python benchmarks/picture_models.py segmentation    # training and segmenting, beside SegFormer-B0
    python benchmarks/picture_models.py detection       # detecting, beside RT-DETR and DETR with a ResNet-18
    python benchmarks/picture_models.py captioning      # captions at beam 5, beside a ViT with BERT's decoder

The models are those of `recipes/segmentation/camvid.yaml`, `recipes/detection/bccd.yaml` and
`recipes/captioning/flickr8k.yaml`, or of `--config`. All have the same random pictures, float32, in one process,
interleaved; medians. A step of training is forward, cross-entropy at full size, backward and AdamW; segmenting gives
the class of each pixel at full size, detecting the boxes and classes of all queries, captioning twelve tokens of each
of 16 pictures, by a beam of five with what has been computed kept. Each model is timed as it is built, and with its
weights and pictures in the layout that CPUs convolve in (channels last); its faster form counts. Peak memory is that
of a step beyond the model, in fresh processes (Linux).
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attention_memory import peak_of
from timing import interleaved, machine, median
from torch import Tensor, nn
from torch.nn import functional

from regard.decoding import Beam, search
from regard.models.tokens import END, PAD, START
from regard.tasks import captioning, detection, segmentation
from regard.training.machine import keep_memory
from regard.training.recipe import parse_recipe

WARMUP = 2
RECIPES = Path(__file__).parents[1] / "recipes"
CONFIGS = {
    "segmentation": RECIPES / "segmentation" / "camvid.yaml",
    "detection": RECIPES / "detection" / "bccd.yaml",
    "captioning": RECIPES / "captioning" / "flickr8k.yaml",
}
RECIPE = {"segmentation": segmentation.Recipe, "detection": detection.Recipe, "captioning": captioning.Recipe}
RIVALS = {"segmentation": ("segformer-b0",), "detection": ("rt-detr-r18", "detr-r18"), "captioning": ("vit-bert",)}
CLASSES = {"segmentation": 11, "detection": 3, "captioning": 4000}  # of captioning: tokens
# Number, height and width of what is predicted; RT-DETR takes multiples of 32 alone.
SIZES = {"segmentation": (1, 360, 480), "detection": (1, 256, 320), "captioning": (16, 160, 160)}
KINDS = {"segmentation": ("train", "predict"), "detection": ("predict",), "captioning": ("predict",)}
WIDTH, WRITTEN = 5, 12  # beams of a picture, and tokens of a caption


class Rival(nn.Module):
    """A model of `transformers` that is given pictures of 0 to 255."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pictures: Tensor) -> Any:
        return self.inner(pixel_values=pictures / 127.5 - 1.0)


def build(name: str, options: argparse.Namespace) -> nn.Module:
    """A model with new weights."""
    torch.manual_seed(1)
    classes = CLASSES[options.task]
    if name == "regard":
        recipe = parse_recipe(RECIPE[options.task], ["--data", "."], config=options.config)
        model: nn.Module = recipe.model.build(classes)
        return model
    import transformers as hf

    if name == "vit-bert":
        shape = {"hidden_size": 256, "num_attention_heads": 8}
        seeing = hf.ViTConfig(
            **shape, num_hidden_layers=3, intermediate_size=512, image_size=options.size, patch_size=16
        )
        saying = hf.BertConfig(
            **shape,
            num_hidden_layers=3,
            intermediate_size=512,
            vocab_size=classes,
            is_decoder=True,
            add_cross_attention=True,
        )
        return Rival(hf.VisionEncoderDecoderModel(encoder=hf.ViTModel(seeing), decoder=hf.BertLMHeadModel(saying)))
    if name == "segformer-b0":
        return Rival(hf.SegformerForSemanticSegmentation(hf.SegformerConfig(num_labels=classes)))  # its defaults are B0
    shape = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
    if name == "detr-r18":
        backbone = hf.ResNetConfig(**shape, out_features=["stage4"])
        config = hf.DetrConfig(backbone_config=backbone, use_timm_backbone=False, num_labels=classes)
        return Rival(hf.DetrForObjectDetection(config))
    backbone = hf.RTDetrResNetConfig(**shape, out_features=["stage2", "stage3", "stage4"])
    config = hf.RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[128, 256, 512], decoder_layers=3, num_labels=classes
    )
    return Rival(hf.RTDetrForObjectDetection(config))


def logits_of(found: Any) -> Tensor:
    """The logits of a segmenter, Regard's or another."""
    logits: Tensor = found if isinstance(found, Tensor) else found.logits
    return logits


class Steps:
    """The steps of a model, on pictures of its own."""

    def __init__(self, name: str, options: argparse.Namespace, *, channels_last: bool) -> None:
        self.task = options.task
        self.model = build(name, options)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)  # type: ignore[call-overload]
        generator = torch.Generator().manual_seed(2)
        self.train_pictures = self._pictures(options.batch, options.train_size, generator, layout)
        self.masks = torch.randint(0, 3, (options.batch, *options.train_size), generator=generator)
        self.pictures = self._pictures(options.count, options.size, generator, layout)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    @staticmethod
    def _pictures(count: int, size: list[int], generator: torch.Generator, layout: torch.memory_format) -> Tensor:
        pictures = torch.randint(0, 256, (count, 3, *size), generator=generator).float()
        return pictures.contiguous(memory_format=layout)

    def train(self) -> None:
        self.model.train()
        logits = logits_of(self.model(self.train_pictures))
        self.optimizer.zero_grad()
        whole = functional.interpolate(logits, self.masks.shape[-2:], mode="bilinear")
        functional.cross_entropy(whole, self.masks).backward()
        self.optimizer.step()

    @torch.no_grad()
    def predict(self) -> None:
        self.model.eval()
        if self.task == "captioning":
            self.caption()
            return
        found = self.model(self.pictures)
        if self.task == "segmentation":
            functional.interpolate(logits_of(found), self.pictures.shape[-2:], mode="bilinear").argmax(1)

    def caption(self) -> None:
        if isinstance(self.model, Rival):
            self.model.inner.generate(
                pixel_values=self.pictures / 127.5 - 1.0,
                num_beams=WIDTH,
                min_new_tokens=WRITTEN,
                max_new_tokens=WRITTEN,
                decoder_start_token_id=START,
                eos_token_id=END,
                pad_token_id=PAD,
            )
        else:
            one_each = torch.ones(len(self.pictures), dtype=torch.long)
            options = Beam(width=WIDTH, min_length=WRITTEN - 1, max_length=WRITTEN)  # END is one of them
            search(self.model, self.pictures, one_each, options)


def compare(options: argparse.Namespace) -> dict[tuple[str, str], bool]:
    """Prints the table of speeds; which models are faster with channels last, by the kind of step."""
    models = ("regard", *RIVALS[options.task])
    steps = {(name, last): Steps(name, options, channels_last=last) for name in models for last in (False, True)}
    seconds: dict[str, dict[str, float]] = {}
    faster: dict[tuple[str, str], bool] = {}
    for kind in KINDS[options.task]:
        runs: dict[str, Callable[[], None]] = {
            f"{name} {last}": getattr(one, kind) for (name, last), one in steps.items()
        }
        times = interleaved(runs, rounds=options.rounds, warmup=WARMUP)
        middle = {key: median(times[f"{key[0]} {key[1]}"]) for key in steps}
        seconds[kind] = {name: min(middle[name, False], middle[name, True]) for name in models}
        faster |= {(name, kind): middle[name, True] < middle[name, False] for name in models}
    titles = " | ".join(f"{kind}s, pictures/s" for kind in seconds)
    print(f"| model | weights | {titles} |\n|---|---|{'---|' * len(seconds)}")
    for name in models:
        weights = sum(weight.numel() for weight in steps[name, True].model.parameters())
        cells = [
            f"{(options.batch if kind == 'train' else options.count) / seconds[kind][name]:.2f} "
            f"({'channels last' if faster[name, kind] else 'as built'})"
            for kind in seconds
        ]
        print(f"| {name} | {weights:,} | {' | '.join(cells)} |")
    for kind, of_each in seconds.items():
        for name in RIVALS[options.task]:
            print(f"\nTo {kind}, Regard is {of_each[name] / of_each['regard']:.2f}x {name} in pictures a second.")
    return faster


def peak(options: argparse.Namespace) -> float:
    """MB that a step takes beyond the model, in this process."""
    name, kind, last = options.one.split(",")
    steps = Steps(name, options, channels_last=last == "True")
    run = getattr(steps, kind)
    if kind == "train":  # the optimiser's state is no part of a step
        run()
        steps.optimizer.zero_grad()
    return peak_of(run)


def memory(options: argparse.Namespace, last: dict[tuple[str, str], bool], arguments: list[str]) -> None:
    kinds = KINDS[options.task]
    print(f"\nPeak memory of a step, MB:\n\n| model | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in ("regard", *RIVALS[options.task]):
        cells = []
        for kind in kinds:
            command = [sys.executable, __file__, *arguments, "--one", f"{name},{kind},{last[name, kind]}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            cells.append(f"{float(done.stdout):,.0f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(CONFIGS))
    parser.add_argument("--config", type=Path, help="the recipe of Regard's model")
    parser.add_argument("--size", type=int, nargs=2, help="height and width of what is predicted")
    parser.add_argument("--train-size", type=int, nargs=2, default=[288, 384], help="height and width to train on")
    parser.add_argument("--batch", type=int, default=8, help="pictures of a step of training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.config = options.config or CONFIGS[options.task]
    options.count, *size = SIZES[options.task]
    options.size = options.size or size
    torch.set_num_threads(options.threads)
    keep_memory()
    if options.one:
        print(peak(options))
        return
    print(machine())
    trained = ""
    if "train" in KINDS[options.task]:
        trained = f" Training on {options.batch} pictures of {options.train_size[1]} x {options.train_size[0]}."
    together = f", {options.count} at once" if options.count > 1 else ""
    print(
        f"\nPictures of {options.size[1]} x {options.size[0]}{together}.{trained} Medians of {options.rounds} rounds.\n"
    )
    memory(options, compare(options), sys.argv[1:])


if __name__ == "__main__":
    main()
