"""Does attention lift a recurrent encoder-decoder on long inputs? Accuracy by length, without it and with it.

The task is to repeat a row of random letters. Without attention the encoder's last state, of one size for every length,
is all that the decoder knows of them (Sutskever et al. 2014); with it the decoder looks back at the letter it needs
(Bahdanau et al. 2015; Luong et al. 2015). Both models have the same number of parameters and see the same rows.

    python examples/long_inputs.py --picture long_inputs.png
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import END, START
from regard.ops.cross_entropy import linear_cross_entropy

FIRST = END + 1  # the first token that is a letter


def rows(size: int, length: int, letters: int) -> tuple[Tensor, Tensor]:
    """Rows of random letters, and their lengths."""
    return torch.randint(FIRST, FIRST + letters, (size, length)), torch.full((size,), length)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def matched(make: Callable[[int], nn.Module], wanted: int) -> nn.Module:
    """`make(width)` for the first width that has as many parameters as are wanted."""
    with torch.device("meta"):  # counted without being made
        width = next(width for width in range(16, 1024, 2) if parameters(make(width)) >= wanted)
    return make(width)


def train(model: nn.Module, options: argparse.Namespace) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    torch.manual_seed(options.seed)  # both models see the same rows
    for _ in range(options.steps):
        source, lengths = rows(options.batch, int(torch.randint(1, options.longest + 1, ())), options.letters)
        inputs = torch.cat((torch.full_like(source[:, :1], START), source[:, :-1]), 1)
        hidden = model(source, lengths, inputs).flatten(0, 1)
        loss = linear_cross_entropy(hidden, model.output_weight, source.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, length: int, options: argparse.Namespace) -> float:
    """The share of letters that the model repeats at their place, reading its own output as it goes."""
    torch.manual_seed(options.seed + length)
    source, lengths = rows(4 * options.batch, length, options.letters)
    state, tokens, right = model.encode(source, lengths), torch.full_like(source[:, 0], START), []
    for letter in source.unbind(1):
        tokens = model.step(tokens, state).argmax(-1)
        right.append(tokens == letter)
    return float(torch.stack(right).float().mean())


def draw(path: str, lengths: list[int], curves: dict[str, list[float]], longest: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for (name, shares), color in zip(curves.items(), ("#d1495b", "#2a6f97"), strict=True):
        axes.plot(lengths, shares, marker="o", color=color, linewidth=2, label=name)
    axes.axvspan(longest, lengths[-1], color="#eef1f5", label="longer than in training")
    axes.set(xlabel="letters to repeat", ylabel="share repeated right", ylim=(0, 1.03))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Accuracy by length, without attention and with it.")
    defaults = {"letters": 26, "longest": 20, "parameters": 200_000, "batch": 64, "steps": 1000, "seed": 1}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="(%(default)s)")
    parser.add_argument("--attention", choices=["bahdanau", "general", "dot"], default="general", help="(%(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="(%(default)s)")
    parser.add_argument("--picture", help="a PNG file to write")
    options = parser.parse_args(arguments)
    step = max(1, options.longest // 5)
    lengths, curves = list(range(step, 2 * options.longest + 1, step)), {}
    for name, attention in {"without attention": "none", "with attention": options.attention}.items():

        def make(width: int, attention: str = attention) -> nn.Module:
            vocabulary = FIRST + options.letters
            return RecurrentSeq2Seq(vocabulary, vocabulary, dim=32, hidden=width, dropout=0.0, attention=attention)

        torch.manual_seed(options.seed)
        model = matched(make, options.parameters)
        train(model, options)
        curves[f"{name} ({parameters(model):,} parameters)"] = [accuracy(model, n, options) for n in lengths]
    print(f"| letters | {' | '.join(curves)} |\n|---|---|---|")
    for length, shares in zip(lengths, zip(*curves.values(), strict=True), strict=True):
        print(f"| {length} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    if options.picture:
        draw(options.picture, lengths, curves, options.longest)


if __name__ == "__main__":
    main()
