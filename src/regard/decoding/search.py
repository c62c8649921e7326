"""The one call of decoding: sentences in, hypotheses out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from regard.models.packed import PackedDecoder
from regard.models.seq2seq import Searchable

from .beam import beam_search
from .constraints import max_lengths
from .greedy import greedy_search
from .options import Beam, Greedy, Sampling
from .packed import packed_search
from .result import Hypothesis
from .sampling import sample
from .step import Progress


def search(
    model: Searchable,
    source: Shaped[Tensor, "batch *source"],
    source_lengths: Int[Tensor, " batch"],
    options: Greedy | Beam | Sampling,
    progress: Progress | None = None,
) -> list[list[Hypothesis]]:
    """Search the likely outputs of each sentence of a batch.

        options = Beam(width=5, n_best=3)
        for hypotheses in search(model, batch.source, batch.source_lengths, options):
            print(tokenizer.decode(hypotheses[0].tokens))

    The model is run in evaluation mode, which is undone afterwards, and without gradients. Each source is
    encoded once; a sentence leaves the batch when it is done. Beside a sentence, others change nothing but
    the draws of `Sampling`.

    Arguments:
        model: an encoder-decoder.
        source: int64 tokens, padded with PAD on the right; or what else the model's `encode` takes, such as pictures.
        source_lengths: how many tokens of each row are not padding, at least 1.
        options: the kind of search, and its limits.
        progress: called after each step with the sentences that are not done, and the tokens so far of the likeliest
            unfinished output of each: of a beam, another output may win in the end. What it raises ends the search.

    Returns:
        One list a sentence, in the order of `source`, best first: 1 (`Greedy`), `n_best` (`Beam`: fewer if
        the constraints leave fewer), or `samples` (`Sampling`) hypotheses. Finished ones stand before
        unfinished ones.

    Raises:
        TypeError: if `options` is none of the three.
        ValueError: if the lengths do not fit the source; if the model's logits are NaN; if the constraints of
            `options` leave no token to emit.

    Source: for beam search, Graves 2012 and Sutskever et al. 2014; for its score, Wu et al. 2016.
    """
    if not isinstance(options, Greedy | Beam | Sampling):
        raise TypeError(
            f"options={options!r}: expected how to search; give Greedy(), Beam(width=5) or Sampling(top_p=0.9)"
        )
    if len(source) == 0:
        return []
    shortest, longest = int(source_lengths.min()), int(source_lengths.max())
    if shortest < 1 or longest > source.shape[1]:
        raise ValueError(
            f"source_lengths go from {shortest} to {longest}, but each must be at least 1 and at most the "
            f"width of source, {source.shape[1]}; leave empty sentences out, and give "
            "source_lengths=(source != PAD).sum(-1)"
        )
    with _evaluating(model), torch.no_grad():
        state = model.encode(source, source_lengths)
        lengths = max_lengths(source_lengths, options).to(source.device)
        if isinstance(state, PackedDecoder) and not isinstance(options, Sampling) and progress is None:
            found = packed_search(state, lengths, options)
            if found is not None:
                return found
        match options:
            case Greedy():
                return greedy_search(model, state, lengths, options, progress)
            case Beam():
                return beam_search(model, state, lengths, options, progress)
            case Sampling():
                return sample(model, state, lengths, options, progress)


@contextmanager
def _evaluating(model: Searchable) -> Iterator[None]:
    """Evaluation mode for the model and all its parts; afterwards each part has its own mode again."""
    training = [part for part in model.modules() if part.training] if isinstance(model, nn.Module) else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
