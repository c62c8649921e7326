"""Classifier and summarizer beside models of `transformers` of the same shape, with random weights, on random texts.

    python benchmarks/text_models.py                  # training steps: both tasks
    python benchmarks/text_models.py --long 16384     # summaries of long documents: time and peak memory by length

Training steps (forward, backward, fused AdamW, clipping; float32) run in one process, interleaved; medians. Models of
`transformers` run on sdpa. Long documents: one greedy summary of 32 tokens, each form in a process of its own, so that
its peak memory (Linux) is its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from attention_memory import held
from timing import interleaved, machine, median
from torch import Tensor, nn
from torch.nn import functional
from transformers import BartConfig, BartForConditionalGeneration, BertConfig, BertForSequenceClassification

from regard.data.batches import Batch, collate
from regard.decoding import Greedy, search
from regard.models.classifier import Classifier, transformer
from regard.models.pointer import PointerTransformer
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy
from regard.training.machine import keep_memory

VOCABULARY, DROPOUT, SMOOTHING = 8000, 0.3, 0.1
CLASSIFIER = {"dim": 128, "heads": 4, "feed_forward": 256, "layers": 2}  # recipes/sentiment/sst2.yaml
SUMMARIZER = {"dim": 128, "heads": 4, "feed_forward": 256, "layers": 3}  # recipes/summarization/dialogsum.yaml
WRITTEN = 32  # tokens of a long document's summary
Step = Callable[[], Tensor]


def texts(count: int, low: int, high: int) -> list[list[int]]:
    """Token numbers of random texts, of lengths between two."""
    lengths = torch.randint(low, high, (count,)).tolist()
    return [torch.randint(4, VOCABULARY, (length,)).tolist() for length in lengths]


def step_of(model: nn.Module, loss: Step) -> Callable[[], None]:
    """A step of training."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def classifiers() -> tuple[dict[str, Callable[[], None]], int]:
    """Steps on a batch of phrases of 2 to 30 tokens, and how many texts it has."""
    from regard.data.labelled_batches import LabelledBatches

    sentences = texts(100, 2, 30)
    labels = [(number % 2,) for number in range(len(sentences))]
    steps = {}
    for packed in (True, False):
        (batch,) = LabelledBatches(sentences, labels, tokens=4000, seed=1, packed=packed)
        model = Classifier(transformer(VOCABULARY, Layers(**CLASSIFIER, dropout=DROPOUT)), 128, 2, dropout=DROPOUT)
        name = f"regard, {'packed' if packed else 'padded'}"

        def loss(model: nn.Module = model, batch: object = batch, packed: bool = packed) -> Tensor:
            return functional.cross_entropy(model(batch.tokens, batch.lengths, packed=packed), batch.labels)

        steps[name] = step_of(model, loss)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=CLASSIFIER["dim"],
        num_hidden_layers=CLASSIFIER["layers"],
        num_attention_heads=CLASSIFIER["heads"],
        intermediate_size=CLASSIFIER["feed_forward"],
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    bert = BertForSequenceClassification(config)
    bert.set_attn_implementation("sdpa")
    mask = (batch.tokens != PAD).long()
    steps["transformers, BERT"] = step_of(
        bert, lambda: bert(input_ids=batch.tokens, attention_mask=mask, labels=batch.labels).loss
    )
    return steps, len(sentences)


def bart(**sizes: int) -> BartForConditionalGeneration:
    """A summarizer of `transformers`, of the same shape."""
    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=SUMMARIZER["dim"],
        encoder_layers=SUMMARIZER["layers"],
        decoder_layers=SUMMARIZER["layers"],
        encoder_attention_heads=SUMMARIZER["heads"],
        decoder_attention_heads=SUMMARIZER["heads"],
        encoder_ffn_dim=SUMMARIZER["feed_forward"],
        decoder_ffn_dim=SUMMARIZER["feed_forward"],
        dropout=DROPOUT,
        attention_dropout=0.0,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
        decoder_start_token_id=START,
        forced_eos_token_id=None,
        **sizes,
    )
    model = BartForConditionalGeneration(config)
    model.set_attn_implementation("sdpa")
    return model


def summarizers() -> tuple[dict[str, Callable[[], None]], int]:
    """Steps on a batch of documents of 100 to 300 tokens with summaries of 15 to 50, and how many tokens those have."""
    documents, summaries = texts(20, 100, 300), texts(20, 15, 50)
    packed, padded = (collate(documents, summaries, packed=packed) for packed in (True, False))
    shape = Layers(**SUMMARIZER, dropout=DROPOUT)
    copying = PointerTransformer(VOCABULARY, encoder=shape, decoder=shape)
    plain = Transformer(VOCABULARY, VOCABULARY, encoder=shape, decoder=shape)
    other = bart()

    def copied(batch: Batch) -> Tensor:
        found = copying.write(*batch.inputs, target_out=batch.target_out)
        losses = -(1 - SMOOTHING) * found.log_probability - SMOOTHING * found.mean
        return losses[batch.target_out != PAD].mean()

    def written(batch: Batch) -> Tensor:
        hidden = plain(*batch.inputs).flatten(0, 1)
        target = batch.target_out.flatten()
        return linear_cross_entropy(hidden, plain.output_weight, target, label_smoothing=SMOOTHING, ignore=PAD)

    def theirs(batch: Batch) -> Tensor:
        mask = (batch.source != PAD).long()
        logits = other(input_ids=batch.source, attention_mask=mask, decoder_input_ids=batch.target_in).logits
        target = batch.target_out.flatten()
        return functional.cross_entropy(logits.flatten(0, 1), target, ignore_index=PAD, label_smoothing=SMOOTHING)

    steps = {
        "regard, copying": step_of(copying, partial(copied, packed)),
        "regard, without copying": step_of(plain, partial(written, packed)),
        "transformers, BART": step_of(other, partial(theirs, padded)),
    }
    return steps, padded.count


def compare(title: str, steps: dict[str, Callable[[], None]], count: int, unit: str, rounds: int) -> None:
    """A table of medians."""
    times = {name: median(found) for name, found in interleaved(steps, rounds=rounds).items()}
    first = next(iter(times.values()))
    print(f"\n{title}\n\n| model | seconds a step | {unit}/s | of the first's time |\n|---|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {seconds:.3f} | {count / seconds:,.0f} | {seconds / first:.2f}x |")


def summarise(form: str, length: int) -> dict[str, float]:
    """Time and peak memory of one summary of a long document."""
    document = torch.randint(4, VOCABULARY, (1, length))
    lengths = torch.tensor([length])
    if form == "transformers, BART":
        other = bart(max_position_embeddings=length).eval()

        def run(size: int) -> None:
            options = {"max_new_tokens": WRITTEN, "min_new_tokens": WRITTEN, "do_sample": False}
            other.generate(input_ids=document[:, :size], **options)

    else:
        window = 256 if "window" in form else None
        encoder, decoder = Layers(**SUMMARIZER, window=window), Layers(**SUMMARIZER)
        model = PointerTransformer(VOCABULARY, encoder=encoder, decoder=decoder).eval()

        def run(size: int) -> None:
            options = Greedy(max_length=WRITTEN, min_length=WRITTEN - 1)
            search(model, document[:, :size], lengths.clamp_max(size), options)

    with torch.no_grad():
        run(64)  # what is loaded once is not the summary's
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
        before, began = held("VmRSS"), time.perf_counter()
        run(length)
    return {"seconds": time.perf_counter() - began, "megabytes": held("VmHWM") - before}


def compare_long(longest: int) -> None:
    """A table of time and memory by length."""
    print("\nOne greedy summary of 32 tokens:\n\n| tokens | model | seconds | peak memory, MB |\n|---|---|---|---|")
    length = min(1024, longest)
    while length <= longest:
        for form in ("regard, a window of 256", "regard, all of the document", "transformers, BART"):
            command = [sys.executable, __file__, "--one", form, "--long", str(length)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(f"| {length:,} | {form} | {found['seconds']:.2f} | {found['megabytes']:,.0f} |", flush=True)
        length *= 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--long", type=int, help="summarise documents of up to so many tokens instead")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.one:
        print(json.dumps(summarise(options.one, options.long)))
        return
    print(machine())
    if options.long:
        compare_long(options.long)
        return
    keep_memory()
    for title, make, unit in (
        ("Classifier, a training step: 2 layers of width 128", classifiers, "texts"),
        ("Summarizer, a training step: 3+3 layers of width 128", summarizers, "target tokens"),
    ):
        steps, count = make()
        compare(title, steps, count, unit, options.rounds)


if __name__ == "__main__":
    main()
