"""Pretrained models of `transformers` as Regard's tasks know models: an encoder, a classifier, an encoder-decoder.

They take and give tokens by Regard's numbers (:class:`regard.hub.tokenizer.HubTokenizer`), and run on its attention.
Weights are read from safetensors alone, and code of a model's own is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DynamicCache,
    EncoderDecoderCache,
)
from transformers.utils import logging

from regard.attention import watch
from regard.data.tokenizer import Tokenizers
from regard.hub.adopt import adopt
from regard.hub.tokenizer import HubTokenizer
from regard.models.tokens import START

Kind = Literal["encoder", "classifier", "seq2seq"]
_CLASSES = {
    "encoder": AutoModel,
    "classifier": AutoModelForSequenceClassification,
    "seq2seq": AutoModelForSeq2SeqLM,
}
_NEVER = -100.0  # the logit of START, which is never emitted


class _Pretrained(nn.Module):
    """A model of `transformers` that is given tokens by Regard's numbers."""

    theirs: Tensor

    def __init__(self, inner: Any, tokenizer: HubTokenizer) -> None:
        super().__init__()
        self.inner = adopt(inner)
        self.register_buffer("theirs", torch.tensor(tokenizer.theirs), persistent=False)

    def _mask(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Which places of padded rows hold tokens."""
        longest = getattr(self.inner.config, "max_position_embeddings", None)
        if longest is not None and tokens.shape[1] > longest:
            raise ValueError(
                f"a text has {tokens.shape[1]} tokens, END included, but the pretrained model takes {longest}: give a "
                "shorter one, or choose a model for long texts"
            )
        return _places(lengths, tokens.shape[1])


def _places(lengths: Tensor, size: int) -> Tensor:
    """1 where a padded row holds something, 0 for its padding."""
    return (torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)).long()


class PretrainedEncoder(_Pretrained):
    """An encoder: the hidden states of its last layer."""

    @property
    def dim(self) -> int:
        return int(self.inner.config.hidden_size)

    def forward(
        self, tokens: Int[Tensor, "batch length"], lengths: Int[Tensor, " batch"], *, packed: bool = False
    ) -> Float[Tensor, "batch length dim"]:
        """Encode sequences of `lengths` tokens, each in a row, padded on the right."""
        if packed:
            raise ValueError("a pretrained encoder reads rows, and cannot read a packed batch")
        mask = self._mask(tokens, lengths)
        hidden: Tensor = self.inner(input_ids=self.theirs[tokens], attention_mask=mask).last_hidden_state
        return hidden


class PretrainedClassifier(_Pretrained):
    """A classifier with the head that it was trained with: the logits of its classes.

    Raises:
        ValueError: a model that reads its decision off another position than the first, as decoders do.
    """

    def __init__(self, inner: Any, tokenizer: HubTokenizer) -> None:
        super().__init__(inner, tokenizer)
        training, tokens = self.training, torch.tensor([[START + 1] * 3])
        self.eval()
        with torch.enable_grad(), watch(self, keep=True) as seen:
            logits = self(tokens, torch.tensor([3]))
        self.train(training)
        last = seen.kept(list(seen)[-1])[0].context
        (slopes,) = torch.autograd.grad(logits.square().sum(), last)
        if bool(slopes[:, :, 1:].any()):
            raise ValueError(
                f"{type(self.inner).__name__} does not read its decision off the first position alone, so that the "
                "words that carried it cannot be named; begin with it: regard train sentiment --from hf:..."
            )

    @property
    def several(self) -> bool:
        """Whether a text may have several classes."""
        return self.inner.config.problem_type == "multi_label_classification"

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of the logits."""
        names = self.inner.config.id2label
        return [str(names[number]) for number in range(len(names))]

    def forward(
        self, tokens: Int[Tensor, "batch length"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        """The logits of texts of `lengths` tokens, each in a row, padded on the right."""
        mask = self._mask(tokens, lengths)
        logits: Tensor = self.inner(input_ids=self.theirs[tokens], attention_mask=mask).logits
        return logits


@dataclass(eq=False)
class PretrainedState:
    """What the decoder keeps between steps."""

    memory: Float[Tensor, "rows source dim"]
    lengths: Int[Tensor, " rows"]
    cache: EncoderDecoderCache
    weight: Float[Tensor, "vocabulary features"]  # the output projection, numbered anew once a search

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        self.memory, self.lengths = self.memory.index_select(0, rows), self.lengths.index_select(0, rows)
        self.cache.reorder_cache(rows)  # type: ignore[arg-type]


class PretrainedSeq2Seq(_Pretrained):
    """An encoder-decoder, by the protocol of :class:`regard.models.seq2seq.Seq2Seq`.

    A bias of the output projection is one more feature of the hidden states, which is 1.

    Raises:
        ValueError: a model that does more to its hidden states than to scale and project them.
    """

    def __init__(self, inner: Any, tokenizer: HubTokenizer) -> None:
        super().__init__(inner, tokenizer)
        config = self.inner.config
        self.scale = config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else 1.0
        self._check()

    @torch.no_grad()
    def _check(self) -> None:
        """Whether hidden states times the output projection are the model's own logits."""
        training, tokens, begin = self.training, torch.tensor([[START + 1]]), torch.tensor([[START]])
        self.eval()
        ours = (self(tokens, torch.tensor([1]), begin) @ self.output_weight.T)[0, 0]
        own = self.inner(input_ids=self.theirs[tokens], decoder_input_ids=self.theirs[begin]).logits[0, 0]
        kept = torch.arange(len(self.theirs)) != START
        self.train(training)
        if not torch.allclose(ours[kept], own[self.theirs][kept], atol=1e-3, rtol=1e-3):
            raise ValueError(
                f"{type(self.inner).__name__} does more to its hidden states than to project them, and cannot be "
                "trained or searched here"
            )

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary features"]:
        """The output projection by Regard's numbers, its bias as the last column."""
        weight = self.inner.get_output_embeddings().weight[self.theirs]
        bias = getattr(self.inner, "final_logits_bias", None)
        column = weight.new_zeros(len(weight), 1) if bias is None else bias[0, self.theirs].unsqueeze(1)
        whole = torch.cat((weight, column.to(weight.dtype)), 1)
        never = whole.new_zeros(whole.shape[1])
        never[-1] = _NEVER
        start = torch.arange(len(whole), device=whole.device) == START
        return torch.where(start.unsqueeze(1), never, whole)

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        source_lengths: Int[Tensor, " batch"],
        target: Int[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target features"]:
        """Teacher forcing: the hidden state after each target token, and 1; logits are `hidden @ output_weight.T`."""
        return self._decode(target, self._read(source, source_lengths), source_lengths, None)

    def encode(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> PretrainedState:
        """Read the source, and be ready to decode."""
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return PretrainedState(self._read(source, source_lengths), source_lengths, cache, self.output_weight)

    def step(self, tokens: Int[Tensor, " rows"], state: PretrainedState) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`, the next of each row; advances the state in place."""
        hidden = self._decode(tokens.unsqueeze(1), state.memory, state.lengths, state.cache)
        return hidden.squeeze(1) @ state.weight.T

    def _read(self, source: Tensor, lengths: Tensor) -> Tensor:
        encoder = self.inner.get_encoder()
        mask = self._mask(source, lengths)
        memory: Tensor = encoder(input_ids=self.theirs[source], attention_mask=mask).last_hidden_state
        return memory

    def _decode(
        self, target: Tensor, memory: Tensor, lengths: Tensor, cache: EncoderDecoderCache | None
    ) -> Float[Tensor, "rows target features"]:
        hidden = self.inner.get_decoder()(
            input_ids=self.theirs[target],
            encoder_hidden_states=memory,
            encoder_attention_mask=_places(lengths, memory.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        hidden = hidden * self.scale
        return torch.cat((hidden, torch.ones_like(hidden[..., :1])), -1)


_WRAPPERS = {"encoder": PretrainedEncoder, "classifier": PretrainedClassifier, "seq2seq": PretrainedSeq2Seq}


def load_pretrained(name: str, kind: Kind) -> tuple[Any, Tokenizers]:
    """A model of the hub or of a folder, with its weights, and its tokenizers.

    Args:
        name: the model's name at the hub, or a folder that `save_pretrained` wrote.
        kind: what is wanted of it.

    Raises:
        OSError: there is no such model, or it has no safetensors.
        ValueError: it is none of this kind, or computes attention in code of its own.
    """
    with without_bars():
        inner = _CLASSES[kind].from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    return _wrapped(inner, name, kind)


def build_pretrained(folder: Path, kind: Kind) -> tuple[Any, Tokenizers]:
    """The model that :func:`save_pretrained` described, with new weights, and its tokenizers."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return _wrapped(_CLASSES[kind].from_config(config, trust_remote_code=False), str(folder), kind)


def save_pretrained(model: Any, tokenizers: Tokenizers, folder: Path) -> None:
    """Write what a run needs beside its weights: the configuration, and the files of the tokenizer."""
    model.inner.config.save_pretrained(folder)
    tokenizers.source.save(folder)


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the bars that `transformers` draws while it reads weights, a second or two."""
    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _wrapped(inner: Any, name: str, kind: Kind) -> tuple[Any, Tokenizers]:
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    size = inner.get_input_embeddings().weight.shape[0]
    start = getattr(inner.generation_config, "decoder_start_token_id", None) if kind == "seq2seq" else None
    start = getattr(inner.config, "decoder_start_token_id", None) if start is None else start
    if kind == "seq2seq" and start is None:
        raise ValueError(f"{name} does not say which token its decoder starts from (decoder_start_token_id)")
    source = HubTokenizer(tokenizer, size=size, start=start)
    target = HubTokenizer(tokenizer, size=size, start=start, of_target=True)
    return _WRAPPERS[kind](inner, source), Tokenizers(source, target)
