"""What may be emitted, and for how long: functions on the logits (or log-probabilities) of the next token.

They write -inf in place, where nothing may be emitted, and leave all other entries as they are: applied to
log-probabilities, what remains is the model's own, not renormalised.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.models.tokens import END, PAD, START, UNKNOWN

from .options import Limits


def forbid_special(logits: Float[Tensor, "rows vocabulary"]) -> None:
    """Forbid PAD, UNKNOWN and START, in place: no output contains them."""
    logits.index_fill_(1, torch.tensor([PAD, UNKNOWN, START], device=logits.device), -math.inf)


def forbid_end(logits: Float[Tensor, "rows vocabulary"]) -> None:
    """Forbid END, in place: for outputs that have not reached their minimum length."""
    logits[:, END] = -math.inf


def forbid_repeats(logits: Float[Tensor, "rows vocabulary"], history: Int[Tensor, "rows length"], ngram: int) -> None:
    """Forbid, in place, every token that would complete an n-gram for the second time in its row.

    Arguments:
        logits: of the next token.
        history: the tokens that each row has emitted, without START.
        ngram: n, 1 or more.

    Source: Paulus et al. 2018, "A Deep Reinforced Model for Abstractive Summarization".
    """
    length = history.shape[1]
    if length < ngram:
        return
    seen = history.unfold(1, ngram, 1)  # (rows, n-grams, n)
    suffix = history[:, length - (ngram - 1) :]
    repeats = (seen[:, :, :-1] == suffix[:, None]).all(-1)
    # amin: a token that ends several n-grams is forbidden if one of them repeats.
    barred = torch.where(repeats, -math.inf, math.inf).to(logits.dtype)
    logits.scatter_reduce_(1, seen[:, :, -1], barred, "amin")


def constrain(logits: Float[Tensor, "rows vocabulary"], history: Int[Tensor, "rows length"], options: Limits) -> None:
    """Forbid, in place, all that `options` forbids after `history`."""
    forbid_special(logits)
    if history.shape[1] < options.min_length:
        forbid_end(logits)
    if options.no_repeat_ngram:
        forbid_repeats(logits, history, options.no_repeat_ngram)


def max_lengths(source_lengths: Int[Tensor, " batch"], options: Limits) -> Int[Tensor, " batch"]:
    """The most tokens that each sentence may emit, END counted.

    `min(max_length, floor(max_ratio * source length) + max_extra)`, but room for `min_length` tokens and END.
    """
    lengths = torch.full_like(source_lengths, options.max_length)
    if options.max_ratio is not None:
        relative = (options.max_ratio * source_lengths.double()).floor() + options.max_extra
        lengths = relative.clamp(max=options.max_length).to(lengths.dtype)
    return lengths.clamp(min=options.min_length + 1)


def require_possible(
    best: Float[Tensor, " sentences"], sentence: Int[Tensor, " sentences"], length: int, options: Limits
) -> None:
    """Raise where no token can be emitted.

    Arguments:
        best: the log-probability of the likeliest token that is allowed, over all rows of a sentence.
        sentence: the number of that sentence in the batch.
        length: how many tokens were emitted before.
        options: whose constraints were applied.

    Raises:
        ValueError: naming the sentence; it says whether the model's logits or the constraints are at fault.
    """
    possible = best > -math.inf  # false for NaN too
    if possible.all():
        return
    first = int((~possible).nonzero()[0, 0])
    raise impossible(int(sentence[first]), length, bool(best[first].isnan()), options)


def impossible(sentence: int, length: int, strange: bool, options: Limits) -> ValueError:
    """What is raised where a sentence can emit nothing after `length` tokens; `strange`: because a number is NaN."""
    where = f"sentence {sentence} of the batch, after {length} tokens"
    if strange or not options.no_repeat_ngram:
        return ValueError(
            f"the model's logits are NaN or infinite ({where}): its weights have most likely diverged in "
            "training; choose an earlier checkpoint"
        )
    return ValueError(
        f"no token may follow ({where}): min_length={options.min_length} forbids END and "
        f"no_repeat_ngram={options.no_repeat_ngram} forbids every other token; give a lower min_length or "
        "no_repeat_ngram=0"
    )
