"""Do the weights of a trained model mean something? How far they are from an alignment that is known.

A toy language is translated word by word, the last word first, and every third word of the dictionary becomes two
tokens: each target token comes from one source word, but its place alone does not say from which. Two encoder-decoders
learn it from pairs of sentences. Then the key on which each target token laid the most weight, in the mean of all heads
of a layer, is compared with the word that it comes from.

    python examples/alignment.py --picture alignment.png
"""

import argparse

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import regard
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy

FIRST = END + 1  # the first token that is a word
NONE = -100  # in place of a target token that is not there


def sentences(size: int, words: int, longest: int) -> dict[str, Tensor]:
    """Pairs of sentences without repeated words, and the place in the source of what each target token translates."""
    lengths = torch.randint(min(3, longest), longest + 1, (size,))
    chosen = torch.rand(size, words).argsort(-1)[:, :longest]
    pairs = []  # of each sentence: its target tokens, and their places
    for source, length in zip(chosen.tolist(), lengths.tolist(), strict=True):
        places = [j for j in reversed(range(length)) for _ in range(1 + (source[j] % 3 == 0))]
        halves = [int(j == before) for before, j in zip([-1, *places], places, strict=False)]
        pairs.append(torch.tensor([[FIRST + 2 * source[j] + half, j] for j, half in zip(places, halves, strict=True)]))
    target, place = pad_sequence(pairs, batch_first=True, padding_value=NONE).unbind(-1)
    inputs = torch.cat((torch.full((size, 1), START), target[:, :-1].masked_fill(target[:, :-1] == NONE, PAD)), 1)
    source = (FIRST + chosen).masked_fill(torch.arange(longest) >= lengths[:, None], PAD)
    return {"source": source, "lengths": lengths, "inputs": inputs, "target": target, "place": place}


def train(model: torch.nn.Module, options: argparse.Namespace) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    torch.manual_seed(options.seed)  # both models see the same sentences
    for _ in range(options.steps):
        batch = sentences(options.batch, options.words, options.longest)
        hidden = model(batch["source"], batch["lengths"], batch["inputs"]).flatten(0, 1)
        loss = linear_cross_entropy(hidden, model.output_weight, batch["target"].flatten(), ignore=NONE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def look(model: torch.nn.Module, batch: dict[str, Tensor]) -> tuple[float, list[Tensor]]:
    """The share of tokens that are wrong, and the mean weights (batch, target, source) of each attention layer."""
    with regard.watch(model, regard.Weights()) as seen:
        hidden = model(batch["source"], batch["lengths"], batch["inputs"])
    wrong = (hidden @ model.output_weight.T).argmax(-1) != batch["target"]
    # The recurrent decoder attends once a step, under the model's own name; the Transformer once in each layer.
    names = [name for name in seen if name == "" or name.endswith("cross")]
    weights = [torch.cat([call.weights for call in seen.calls(name)], 2).mean(1) for name in names]
    return float(wrong[batch["target"] != NONE].float().mean()), weights


def errors(weights: Tensor, batch: dict[str, Tensor]) -> list[float]:
    """The share whose strongest key is elsewhere: of all tokens, of first ones, of those that follow from a first."""
    wrong, real = weights.argmax(-1) != batch["place"], batch["place"] != NONE
    second = real & (batch["place"] == batch["place"].roll(1, 1))
    return [float(wrong[which].float().mean()) for which in (real, real & ~second, second)]


def draw(path: str, batch: dict[str, Tensor], maps: dict[str, Tensor]) -> None:
    """The longest sentence's weights, with a ring where the alignment is."""
    from matplotlib.figure import Figure

    row = int((batch["place"] != NONE).sum(-1).argmax())
    place = [j for j in batch["place"][row].tolist() if j != NONE]
    source = [f"word {word - FIRST}" for word in batch["source"][row].tolist()][: max(place) + 1]
    figure = Figure(figsize=(2.6 * len(maps) + 0.6, 4.6), facecolor="white", layout="constrained")
    for axes, (title, weights) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
        axes.imshow(weights[row, : len(place), : len(source)].numpy(), cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
        axes.scatter(place, range(len(place)), s=110, facecolors="none", edgecolors="#d1495b", linewidths=2)
        axes.set_xticks(range(len(source)), source, rotation=90)
        axes.set_yticks(range(len(place)), [f"of {source[j]}" for j in place])
        axes.set_title(title, fontsize=11)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Alignment error of the attention of two trained models.")
    for name, value in {"words": 24, "longest": 8, "width": 64, "batch": 64, "steps": 500, "seed": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="(%(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="(%(default)s)")
    parser.add_argument("--picture", help="a PNG file to write")
    options = parser.parse_args(arguments)
    vocabularies, width = (FIRST + options.words, FIRST + 2 * options.words), options.width
    shape = Layers(dim=width, feed_forward=2 * width, layers=2, dropout=0.0)
    torch.manual_seed(options.seed)
    models = {
        "recurrent, Bahdanau": RecurrentSeq2Seq(*vocabularies, dim=width, hidden=2 * width, dropout=0.0),
        "Transformer": Transformer(*vocabularies, encoder=shape, decoder=shape, share=False),
    }
    test, maps = sentences(4 * options.batch, options.words, options.longest), {}
    columns = ("model", "layer", "wrong tokens", "alignment error", "first tokens", "second tokens", "before training")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, model in models.items():
        _, before = look(model, test)
        train(model, options)
        wrong, after = look(model, test)
        for layer, (trained, untrained) in enumerate(zip(after, before, strict=True), 1):
            shares = [wrong, *errors(trained, test), errors(untrained, test)[0]]
            print(f"| {name} | {layer} | {' | '.join(f'{share:.1%}' for share in shares)} |")
            maps[f"{name}\nlayer {layer}"] = trained
    if options.picture:
        draw(options.picture, test, maps)


if __name__ == "__main__":
    main()
