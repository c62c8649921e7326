"""Does the Transformer hold long-range dependencies? Recall by distance, beside recurrent models of the same size.

The task is to write a row of random letters backwards. The letter that was read last is written first, and the k-th
letter that is written was read 2 k letters before: one row asks for every distance. Three models with the same number
of parameters see the same rows: a recurrent one, one with attention to what it read, and a Transformer.

    python examples/long_range.py --picture long_range.png
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import END, START
from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy

FIRST = END + 1  # the first token that is a letter
MODELS = {"recurrent": "#d1495b", "recurrent with attention": "#2a6f97", "Transformer": "#edae49"}


def rows(size: int, options: argparse.Namespace) -> tuple[Tensor, ...]:
    """Rows of random letters, their lengths, what the decoder reads, and what it is to write."""
    source = torch.randint(FIRST, FIRST + options.letters, (size, options.length))
    target = source.flip(1)
    inputs = torch.cat((torch.full_like(target[:, :1], START), target[:, :-1]), 1)
    return source, torch.full((size,), options.length), inputs, target


def make(name: str, vocabulary: int, width: int) -> nn.Module:
    if name == "Transformer":
        width = width // 4 * 4  # four heads
        shape = Layers(dim=width, feed_forward=2 * width, layers=1, dropout=0.0)
        return Transformer(vocabulary, vocabulary, encoder=shape, decoder=shape)
    attention = "general" if name == "recurrent with attention" else "none"
    return RecurrentSeq2Seq(vocabulary, vocabulary, dim=32, hidden=width, dropout=0.0, attention=attention)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def matched(make: Callable[[int], nn.Module], wanted: int) -> nn.Module:
    """`make(width)` for the first width that has as many parameters as are wanted."""
    with torch.device("meta"):  # counted without being made
        width = next(width for width in range(16, 1024, 2) if parameters(make(width)) >= wanted)
    return make(width)


def train(model: nn.Module, options: argparse.Namespace) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    torch.manual_seed(options.seed)  # all models see the same rows
    for _ in range(options.steps):
        source, lengths, inputs, target = rows(options.batch, options)
        hidden = model(source, lengths, inputs).flatten(0, 1)
        loss = linear_cross_entropy(hidden, model.output_weight, target.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def recall(model: nn.Module, options: argparse.Namespace) -> list[float]:
    """The share of letters that are right, by the step in which they are written."""
    torch.manual_seed(options.seed + 1)
    source, lengths, inputs, target = rows(16 * options.batch, options)
    right = (model(source, lengths, inputs) @ model.output_weight.T).argmax(-1) == target
    return right.float().mean(0).tolist()


def draw(path: str, curves: dict[str, list[float]], chance: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for (name, shares), color in zip(curves.items(), MODELS.values(), strict=True):
        style = "--" if name.startswith("Transformer") else "-"  # which lies on the other
        axes.plot(range(0, 2 * len(shares), 2), shares, style, color=color, linewidth=2, label=name)
    axes.axhline(chance, color="#6b7280", linestyle=":", label="guessing")
    axes.set(xlabel="letters between reading and writing", ylabel="share of letters recalled", ylim=(0, 1.03))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Recall by distance: recurrent, with attention, Transformer.")
    sizes = {"letters": 26, "length": 40, "parameters": 108_000, "batch": 64, "steps": 250, "seed": 1}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="(%(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="(%(default)s)")
    parser.add_argument("--picture", help="a PNG file to write")
    options, curves = parser.parse_args(arguments), {}
    for name in MODELS:
        torch.manual_seed(options.seed)
        model = matched(partial(make, name, FIRST + options.letters), options.parameters)
        train(model, options)
        curves[f"{name} ({parameters(model):,} parameters)"] = recall(model, options)
    print(f"| distance | {' | '.join(curves)} |\n|---|---|---|---|")
    for step in range(0, options.length, max(1, options.length // 8)):
        print(f"| {2 * step} | {' | '.join(f'{shares[step]:.1%}' for shares in curves.values())} |")
    if options.picture:
        draw(options.picture, curves, 1 / options.letters)


if __name__ == "__main__":
    main()
