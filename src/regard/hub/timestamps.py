"""When each token was spoken: Whisper's timestamps on Regard's attention, which gives only the heads that they need."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from regard.hub.adopt import NAME

Head = tuple[int, int]  # a decoder layer, and a head of its cross-attention


@contextmanager
def token_timestamps(model: Any) -> Iterator[None]:
    """In the block, `generate(..., return_token_timestamps=True)` of a Whisper stays on Regard's attention.

    `transformers` finds the times by dynamic time warping over the weights of a few heads of cross-attention (the
    `alignment_heads` of the generation config), and switches the whole model to eager attention for them, for good. In
    the block the model attends as it did before, only those heads record their weights, and the same code finds the
    times in them: seconds, `(sequences, tokens)`, as `token_timestamps` of what `generate` returns, whatever its
    options are. A pipeline with `return_timestamps="word"` calls `generate` so, and can run in the block too.

    Memory: `sequences * alignment_heads * tokens * frames` weights until a piece of sound is done, beams counted as
    sequences. They are all that what `generate` returns, or a call of the model, has under `cross_attentions`.

    Args:
        model: a `WhisperForConditionalGeneration` on attention "regard".

    Raises:
        TypeError: for another model.
        ValueError: for a model on another attention, a compiled one, or one whose generation config names no heads, or
            heads that it does not have; in `generate`, for a generation config that aligns by other heads.

    Source: Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak Supervision"; the heads and the warping
    are those of its reference implementation.
    """
    heads = _alignment_heads(model)
    recorder = _Recorder(model, heads)
    find = model._extract_token_timestamps

    def extract(outputs: Any, alignment_heads: Sequence[Sequence[int]], *options: Any, **named: Any) -> Tensor:
        wanted = [(int(layer), int(head)) for layer, head in alignment_heads]
        if other := [pair for pair in wanted if pair not in heads]:
            raise ValueError(
                f"generate was given a generation config that aligns by {other[0]} (layer, head), which was not "
                f"recorded: set model.generation_config.alignment_heads = {wanted} before the block"
            )
        # All recorded heads stand in the first layer: see `_Recorder.after`.
        return find(outputs, [(0, heads.index(pair)) for pair in wanted], *options, **named)

    handles = recorder.install()
    model._extract_token_timestamps = extract
    try:
        yield
    finally:
        del model._extract_token_timestamps
        model.config._attn_implementation = NAME
        for handle in handles:
            handle.remove()


class _Recorder:
    """Hooks that let a model of `transformers` return the weights of some heads as all of its cross-attention."""

    def __init__(self, model: Any, heads: Sequence[Head]) -> None:
        self.model, self.heads = model, heads
        self.asked = False  # whether the forward pass that runs was asked for weights
        self.weights: list[Float[Tensor, "batch some_heads queries frames"]] = []  # of each layer that has such heads

    def install(self) -> list[Any]:
        handles = [
            self.model.register_forward_pre_hook(self.before, with_kwargs=True),
            self.model.register_forward_hook(self.after),
            self.model.get_encoder().register_forward_pre_hook(self.before_encoder, with_kwargs=True),
        ]
        for layer in sorted({layer for layer, _ in self.heads}):
            cross = self.model.get_decoder().layers[layer].encoder_attn
            chosen = [head for of, head in self.heads if of == layer]
            handles += [
                cross.register_forward_pre_hook(self.before_cross, with_kwargs=True),
                cross.register_forward_hook(self.after_cross(chosen)),
            ]
        return handles

    def before_encoder(self, module: nn.Module, arguments: Any, options: dict[str, Any]) -> Any:
        self.model.config._attn_implementation = NAME  # which `generate` has just switched to eager
        return arguments, {**options, "output_attentions": False}

    def before(self, module: nn.Module, arguments: Any, options: dict[str, Any]) -> Any:
        self.model.config._attn_implementation = NAME
        self.asked = bool(options.get("output_attentions"))
        self.weights = []
        return arguments, {**options, "output_attentions": False}

    def before_cross(self, module: nn.Module, arguments: Any, options: dict[str, Any]) -> Any:
        return arguments, {**options, "output_attentions": self.asked}

    def after_cross(self, heads: list[int]) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if self.asked:
                self.weights.append(output[1][:, heads])

        return hook

    def after(self, module: nn.Module, arguments: Any, output: Any) -> None:
        """Put the weights where `generate` looks for them: a tensor for each layer, of which the first has all."""
        if self.asked:
            found = torch.cat(self.weights, 1)
            layers = self.model.config.decoder_layers
            output.cross_attentions = (found, *(found[:, :0] for _ in range(layers - 1)))
            output.decoder_attentions = ()
        self.asked, self.weights = False, []


def _alignment_heads(model: Any) -> list[Head]:
    """The heads that align tokens with sound, in order; raises what `token_timestamps` does."""
    if not isinstance(model, PreTrainedModel) or not hasattr(model, "_extract_token_timestamps"):
        raise TypeError(f"token_timestamps takes a WhisperForConditionalGeneration, got {type(model).__name__}")
    if model.config._attn_implementation != NAME:
        raise ValueError(
            f"token_timestamps needs a model on Regard's attention, and this one is on \""
            f'{model.config._attn_implementation}": regard.hub.adopt(model)'
        )
    if "_extract_token_timestamps" in vars(model):
        raise ValueError("token_timestamps is running for this model already")
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        raise ValueError("token_timestamps cannot look into a compiled module; give it the model before compile")
    given = getattr(model.generation_config, "alignment_heads", None)
    if not given:
        raise ValueError(
            "the generation config of this model does not say which heads align tokens with sound: set "
            "model.generation_config.alignment_heads = [[layer, head], ...], as the published checkpoints of Whisper do"
        )
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    if wrong := [pair for pair in given if not (0 <= pair[0] < layers and 0 <= pair[1] < heads)]:
        raise ValueError(
            f"alignment_heads has {tuple(wrong[0])} (layer, head), and the decoder has {layers} layers of {heads} heads"
        )
    return sorted({(int(layer), int(head)) for layer, head in given})
