"""Training steps side by side: Regard, `torch.nn.Transformer`, and Marian of `transformers`, each at its fastest.

    python benchmarks/training_speed.py                                    # 4+4 layers of width 128
    python benchmarks/training_speed.py --shapes 256 512 --tokens 2048     # 6+6 layers
    python benchmarks/training_speed.py --profile --memory

Every form of a model (float32 or bf16 autocast, eager or compiled; Marian with eager attention or sdpa, Regard with
packed or padded batches) is first tried on one batch. The fastest form of each is then timed on the same three batches
of random sentences (lengths like Multi30k's), in one process, interleaved; medians. A form in bf16 is tried where an
eager step of it on a sixteenth of the batch takes no more than twice float32's. Compiling takes a minute or two a form
where inductor's cache is cold; `--no-compile` leaves it out. `--memory` has peak memory of a step, in fresh processes
(Linux); of a compiled form, what a first round of steps left allocated does not count.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import torch
from attention_memory import peak_of
from timing import interleaved, machine, median
from training_models import VARIANTS, Form, Shape, Trainer, corpus, forms

from regard.data.batches import Batch
from regard.training.machine import keep_memory

WARMUP, TIMED = 2, 3  # rounds; TIMED of a trial
SMALL, SLOW = 16, 2.0  # bf16 is out where a step of this part of a batch takes so many times as long as float32's


class Trial:
    """Every form of a model on one batch, interleaved; prints a table of them."""

    def __init__(self, shape: Shape, tokens: int) -> None:
        self.shape = shape
        # The middle length; both layouts have the same pairs.
        self.batch, self.small = (
            {packed: batches[packed][1:2] for packed in (False, True)}
            for batches in (corpus(tokens, shape.vocabulary), corpus(tokens // SMALL, shape.vocabulary))
        )

    def fastest(self, model: str, *, compiled: bool) -> Trainer | None:
        trainers: dict[str, Trainer] = {}
        notes: dict[str, str] = {}
        slow: dict[str, str] = {}  # the variants whose bf16 is out, and why
        for form in forms(model, compiled=compiled):
            name = str(form)
            try:
                if form.bf16 and not form.compiled and (ratio := self.bf16_by_float32(form)) > SLOW:
                    slow[form.variant] = f"out: eager bf16 takes {ratio:.1f}x float32's time on a small batch"
                if form.bf16 and form.variant in slow:
                    notes[name] = slow[form.variant]
                    continue
                trainer, began = Trainer(form, self.shape), time.perf_counter()
                trainer(self.batch[form.packed])
                notes[name] = f"first step {time.perf_counter() - began:.1f} s"
                trainers[name] = trainer
            except Exception as error:  # whatever a form fails of belongs in the table
                notes[name] = f"failed: {type(error).__name__}: " + str(error).strip().partition("\n")[0]
        times = self.times(list(trainers.values()), self.batch, rounds=TIMED)
        for name, note in notes.items():
            if name in trainers:
                speed = f"{self.batch[trainers[name].form.packed][0].count / times[name]:,.0f}"
                note = f"loss {trainers[name].learned}; {note}"
            else:
                speed = "-"
            print(f"| {model} | {name} | {speed} | {note} |", flush=True)
        return trainers[min(times, key=lambda name: times[name])] if times else None

    def bf16_by_float32(self, form: Form) -> float:
        pair = [Trainer(form, self.shape), Trainer(replace(form, bf16=False), self.shape)]
        bf16, float32 = self.times(pair, self.small, rounds=2).values()
        return bf16 / float32

    def times(self, trainers: list[Trainer], batch: dict[bool, list[Batch]], *, rounds: int) -> dict[str, float]:
        """Each form's fastest: rounds are few, and what else the machine does only adds to them."""
        runs = {str(trainer.form): partial(trainer, batch[trainer.form.packed]) for trainer in trainers}
        return {name: min(seconds) for name, seconds in interleaved(runs, rounds=rounds, warmup=1).items()}


def compare(best: list[Trainer], shape: Shape, tokens: int, rounds: int, *, profile: bool) -> None:
    """The fastest forms, interleaved; prints the table, and what the system has to do with each."""
    layouts = corpus(tokens, shape.vocabulary)
    trainers = {trainer.form.model: trainer for trainer in best}
    runs = {name: partial(trainer, layouts[trainer.form.packed]) for name, trainer in trainers.items()}
    middle = {name: median(times) for name, times in interleaved(runs, rounds=rounds, warmup=WARMUP).items()}
    count = sum(batch.count for batch in layouts[0])
    print(f"\nMedians of {rounds} interleaved rounds, {len(layouts[0])} steps a round, {count:,} target tokens:\n")
    print("| model | form | weights | loss | target tokens/s | regard is |\n|---|---|---|---|---|---|")
    for name, trainer in trainers.items():
        print(
            f"| {name} | {trainer.form} | {trainer.weights:,} | {trainer.learned} | {count / middle[name]:,.0f} "
            f"| {middle[name] / middle['regard']:.2f}x |"
        )
    better = min(value for name, value in middle.items() if name != "regard")
    print(f"\nRegard is {better / middle['regard']:.2f}x the better of the others.\n")
    for name, run in runs.items():
        print(f"{name}: {usage(run, steps=len(layouts[0]))}")
    if profile:
        print(profiled(runs["regard"]))


def usage(run: Callable[[], None], *, steps: int) -> str:
    """How much of the processors' time of a round is the system's, which maps and clears pages."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    system, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
    faults = (after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt) / steps
    return f"system time {system / (system + user):.1%} of the step, {faults:,.0f} page faults a step."


def profiled(run: Callable[[], None]) -> str:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    return str(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


def peak(form: Form, shape: Shape, tokens: int) -> float:
    """MB that a round of steps takes beyond the model, its optimiser's state and the batches, in this process."""
    batches = corpus(tokens, shape.vocabulary)[form.packed]
    trainer = Trainer(form, shape)
    # What is loaded and made once is not the step's: a small step does, but what is compiled is so for these batches.
    trainer(batches if form.compiled else corpus(1, shape.vocabulary)[form.packed])
    trainer.optimizer.zero_grad()
    return peak_of(partial(trainer, batches))


def memory(best: list[Form], dim: int, options: argparse.Namespace) -> None:
    print("\n| model | form | peak memory of a step, MB | of regard's |\n|---|---|---|---|")
    regard = 0.0
    for form in best:
        command = [sys.executable, __file__, "--one", json.dumps(asdict(form)), "--shapes", str(dim)]
        for name in ("vocabulary", "tokens", "threads"):
            command += [f"--{name}", str(getattr(options, name))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        megabytes = float(done.stdout)
        regard = regard or megabytes  # the first
        print(f"| {form.model} | {form} | {megabytes:,.0f} | {megabytes / regard:.2f}x |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, nargs="+", default=[128], choices=[128, 256, 512], help="widths")
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=4096, help="places of a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="try compiled forms")
    parser.add_argument("--profile", action="store_true", help="also print where Regard's time goes")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory of a step")
    parser.add_argument("--keep-memory", action="store_true", help="hold freed memory, as `regard train` does: for all")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.keep_memory and not keep_memory():
        parser.error("--keep-memory: this C library has no way to tell it so")
    # A function is compiled for each length of a batch and each of its callers' shapes: many, and none is left eager.
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    if options.one:
        shape = Shape.of(options.shapes[0], options.vocabulary)
        print(peak(Form(**json.loads(options.one)), shape, options.tokens))
        return
    print(machine())
    for dim in options.shapes:
        shape = Shape.of(dim, options.vocabulary)
        torch._dynamo.reset()
        print(f"\n## {shape}\n\nTrial, one batch of {options.tokens:,} places:\n")
        print("| model | form | target tokens/s | |\n|---|---|---|---|")
        trial = Trial(shape, options.tokens)
        tried = [trial.fastest(model, compiled=options.compile) for model in VARIANTS]
        best = [trainer for trainer in tried if trainer]
        compare(best, shape, options.tokens, options.rounds, profile=options.profile)
        if options.memory:
            memory([trainer.form for trainer in best], dim, options)


if __name__ == "__main__":
    main()
