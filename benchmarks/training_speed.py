"""Training steps side by side: Regard, `torch.nn.Transformer`, and Marian of `transformers`, of one shape.

    python benchmarks/training_speed.py

The same random batches (lengths like Multi30k's), vocabulary, layers, widths, tied embeddings, dropout, label
smoothing, optimiser (fused AdamW) and precision for all; one process, interleaved rounds, medians.
"""

import argparse
import math

import torch
from timing import interleaved, machine, median
from torch import Tensor, nn
from torch.nn import functional

from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy

PAD, SMOOTHING, DROPOUT = 0, 0.1, 0.3
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

    def loss(self, source: Tensor, lengths: Tensor, target_in: Tensor, target_out: Tensor) -> Tensor:
        padding = source == PAD
        causal = nn.Transformer.generate_square_subsequent_mask(target_in.shape[1])
        hidden = self.body(
            self.embed(source),
            self.embed(target_in),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        logits = hidden @ self.table.weight.T
        return functional.cross_entropy(
            logits.flatten(0, 1), target_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )


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
                eos_token_id=3,
                forced_eos_token_id=3,
                decoder_start_token_id=2,
                scale_embedding=True,
                use_cache=False,
            )
        )

    def loss(self, source: Tensor, lengths: Tensor, target_in: Tensor, target_out: Tensor) -> Tensor:
        logits = self.model(input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=target_in).logits
        return functional.cross_entropy(
            logits.flatten(0, 1), target_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )


class Regard(nn.Module):
    """Regard's Transformer and its loss."""

    def __init__(self) -> None:
        super().__init__()
        shape = Layers(dim=DIM, heads=HEADS, feed_forward=FEED_FORWARD, layers=LAYERS, dropout=DROPOUT, norm="post")
        self.model = Transformer(VOCABULARY, VOCABULARY, encoder=shape, decoder=shape)

    def loss(self, source: Tensor, lengths: Tensor, target_in: Tensor, target_out: Tensor) -> Tensor:
        hidden = self.model(source, lengths, target_in)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            target_out.flatten(),
            label_smoothing=SMOOTHING,
            ignore=PAD,
        )


def batch(tokens: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random pairs about `length` tokens long, padded, `tokens` places in all."""
    rows = tokens // length
    lengths = torch.randint(max(length - 3, 1), length + 1, (rows,))
    places = torch.arange(length) >= lengths.unsqueeze(1)
    source, target = (torch.randint(4, VOCABULARY, (rows, length)).masked_fill(places, PAD) for _ in range(2))
    return source, lengths, target, target.roll(-1, 1).masked_fill(places, PAD)


def stepper(model: nn.Module, batches: list[tuple[Tensor, ...]]):  # type: ignore[no-untyped-def]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        for tensors in batches:
            optimizer.zero_grad()
            model.loss(*tensors).backward()
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
    batches = [batch(options.tokens, length) for length in (12, 16, 24)]
    count = sum(int((tensors[3] != PAD).sum()) for tensors in batches)
    models: dict[str, nn.Module] = {
        "regard": Regard(),
        "torch.nn.Transformer": TorchTransformer(),
        "marian": Marian(),
    }
    times = interleaved({name: stepper(model, batches) for name, model in models.items()}, rounds=options.rounds)
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

        run = stepper(models["regard"], batches)
        run()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            run()
        print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()
