"""Training steps side by side: Regard, `torch.nn.Transformer`, and Marian of `transformers`, of one shape.

    python benchmarks/training_speed.py

The same random sentences (lengths like Multi30k's), vocabulary, layers, widths, tied embeddings, dropout, label
smoothing, optimiser (fused AdamW) and precision for all; one process, interleaved rounds, medians. Regard packs its
batches, as its training does where the native kernels run; the others, and "regard, padded", pad them.
"""

import argparse
import math
import random
from collections.abc import Callable

import torch
from timing import interleaved, machine, median
from torch import Tensor, nn
from torch.nn import functional

from regard.data.batches import Batch, collate
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy

SMOOTHING, DROPOUT = 0.1, 0.3
VOCABULARY, DIM, HEADS, FEED_FORWARD, LAYERS = 8000, 128, 4, 256, 4


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` with what it leaves to its user: embeddings, positions, output."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, DIM)
        nn.init.normal_(self.table.weight, std=DIM**-0.5)
        self.body = nn.Transformer(
            DIM, HEADS, LAYERS, LAYERS, FEED_FORWARD, dropout=DROPOUT, batch_first=True, norm_first=False
        )
        self.dropout = nn.Dropout(DROPOUT)
        position = torch.arange(256).unsqueeze(1) * torch.exp(torch.arange(0, DIM, 2) * (-math.log(1e4) / DIM))
        self.register_buffer("positions", torch.stack((position.sin(), position.cos()), -1).flatten(1))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.table(tokens) * DIM**0.5 + self.positions[: tokens.shape[1]])

    def loss(self, batch: Batch) -> Tensor:
        padding = batch.source == PAD
        causal = nn.Transformer.generate_square_subsequent_mask(batch.target_in.shape[1])
        hidden = self.body(
            self.embed(batch.source),
            self.embed(batch.target_in),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        logits = hidden @ self.table.weight.T
        return cross_entropy(logits, batch)


class Marian(nn.Module):
    """`transformers.MarianMTModel`, trained as its users do, with its default (sdpa) attention."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import MarianConfig, MarianMTModel

        self.model = MarianMTModel(
            MarianConfig(
                vocab_size=VOCABULARY,
                d_model=DIM,
                encoder_layers=LAYERS,
                decoder_layers=LAYERS,
                encoder_attention_heads=HEADS,
                decoder_attention_heads=HEADS,
                encoder_ffn_dim=FEED_FORWARD,
                decoder_ffn_dim=FEED_FORWARD,
                dropout=DROPOUT,
                activation_function="relu",
                max_position_embeddings=256,
                pad_token_id=PAD,
                eos_token_id=END,
                forced_eos_token_id=END,
                decoder_start_token_id=START,
                scale_embedding=True,
                use_cache=False,
            )
        )

    def loss(self, batch: Batch) -> Tensor:
        mask = (batch.source != PAD).long()
        logits = self.model(input_ids=batch.source, attention_mask=mask, decoder_input_ids=batch.target_in).logits
        return cross_entropy(logits, batch)


class Regard(nn.Module):
    """Regard's Transformer and its loss."""

    def __init__(self) -> None:
        super().__init__()
        shape = Layers(dim=DIM, heads=HEADS, feed_forward=FEED_FORWARD, layers=LAYERS, dropout=DROPOUT, norm="post")
        self.model = Transformer(VOCABULARY, VOCABULARY, encoder=shape, decoder=shape)

    def loss(self, batch: Batch) -> Tensor:
        hidden = self.model(*batch.inputs)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            batch.target_out.flatten(),
            label_smoothing=SMOOTHING,
            ignore=PAD,
        )


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    return functional.cross_entropy(
        logits.flatten(0, 1), batch.target_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
    )


def sentences(rows: int, length: int) -> list[list[int]]:
    """Random sentences of about `length` tokens, END included."""
    counts = [random.randint(max(length - 3, 1), length) - 1 for _ in range(rows)]
    return [[random.randrange(4, VOCABULARY) for _ in range(count)] for count in counts]


def stepper(model: nn.Module, batches: list[Batch]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        for batch in batches:
            optimizer.zero_grad()
            model.loss(batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096, help="places of a batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true", help="also print where Regard's time goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    random.seed(0)
    corpora = [[sentences(options.tokens // length, length) for _ in range(2)] for length in (12, 16, 24)]
    padded, packed = ([collate(*pairs, packed=packed) for pairs in corpora] for packed in (False, True))
    count = sum(batch.tokens for batch in packed)
    models = {
        "regard": Regard(),
        "regard, padded": Regard(),
        "torch.nn.Transformer": TorchTransformer(),
        "marian": Marian(),
    }
    steppers = {name: stepper(model, packed if name == "regard" else padded) for name, model in models.items()}
    times = interleaved(steppers, rounds=options.rounds)
    print(machine())
    print(
        f"\n{LAYERS}+{LAYERS} layers, width {DIM}, {VOCABULARY} tokens, float32; medians of {options.rounds} rounds\n"
    )
    print("| model | weights | target tokens/s | regard is |\n|---|---|---|---|")
    for name, model in models.items():
        weights = sum(parameter.numel() for parameter in model.parameters())
        ratio = median(times[name]) / median(times["regard"])
        print(f"| {name} | {weights:,} | {count / median(times[name]):,.0f} | {ratio:.2f}x |")
    if options.profile:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU]) as seen:
            steppers["regard"]()
        print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()
