"""Translators for CTranslate2: the same weights in its own layout, float32 or quantized."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regard.models.transformer import Transformer
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import Residual
from regard.tasks.writing import Writer

Quantization = Literal["float32", "int8"]
_POSITIONS = 1024  # whose encodings are written, of those that are no table: CTranslate2 reads no longer input


def to_ctranslate2(writer: Writer, folder: Path, *, quantization: Quantization = "float32") -> None:
    """Write a Transformer that translates, or writes otherwise a text for a text, as a model of CTranslate2.

    Sources are given to it as pieces, END at their end (`tokenizer.json` says how texts are cut): it is told so, and adds
    END itself.

    Raises:
        ValueError: a model of another architecture, or with parts that CTranslate2 has not.
    """
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.common_spec import Activation

    model = writer.model
    if type(model) is not Transformer:
        raise ValueError(
            f"CTranslate2 takes Transformers, and this is a {type(model).__name__}: export it to onnx or torch, or serve "
            "it by regard serve"
        )
    encoder, decoder = model.encoder.layers, model.decoder.layers
    first = decoder[0]
    _require(first.attention.rotary is None, "rotary positions", "--model.positions sinusoidal")
    _require(first.attention.kv_heads == first.attention.heads, "grouped heads", "as many kv_heads as heads")
    _require(model.encoder.pattern is None, "a window of attention", "no window")
    activations: dict[type[nn.Module], int] = {
        nn.ReLU: Activation.RELU,
        nn.GELU: Activation.GELU,
        nn.SiLU: Activation.SWISH,
    }
    spec = TransformerSpec.from_config(
        (len(encoder), len(decoder)),
        first.attention.heads,
        pre_norm=first.around_attention.pre_norm,
        activation=activations[type(first.feed_forward.activation)],
    )
    for part, given in ((model.encoder, spec.encoder), (model.decoder, spec.decoder)):
        table = _numbers(part.embedding.table.weight)
        embeddings = given.embeddings[0] if part is model.encoder else given.embeddings
        embeddings.weight = table
        given.scale_embeddings = True
        given.position_encodings.encodings = _encodings(part.embedding)
        if isinstance(part.norm, nn.LayerNorm):
            _norm(given.layer_norm, part.norm)
        for layer, one in zip(part.layers, given.layer, strict=True):
            _attention(one.self_attention, layer.attention, layer.around_attention, joined=True)
            if part is model.decoder:
                _attention(one.attention, layer.cross, layer.around_cross, joined=False)
            _norm(one.ffn.layer_norm, layer.around_feed_forward.norm)
            _linear(one.ffn.linear_0, layer.feed_forward.inner)
            _linear(one.ffn.linear_1, layer.feed_forward.outer)
    spec.decoder.projection.weight = _numbers(model.output_weight)
    tokenizers = writer.tokenizers
    spec.register_source_vocabulary(tokenizers.source.tokens(range(len(tokenizers.source))))
    spec.register_target_vocabulary(tokenizers.target.tokens(range(len(tokenizers.target))))
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = first.around_attention.norm.eps
    spec.validate()
    spec.optimize(quantization=None if quantization == "float32" else quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def _require(holds: bool, has: str, instead: str) -> None:
    if not holds:
        raise ValueError(
            f"the model has {has}, which its export to CTranslate2 does not know: train one with {instead}"
        )


def _numbers(tensor: Tensor) -> Any:
    """A copy: quantization scales tensors in place."""
    return tensor.detach().float().cpu().numpy().copy()


def _encodings(embedding: nn.Module) -> Any:
    """What the embedding adds to each position."""
    table = getattr(embedding.position, "table", None)
    dim = embedding.table.embedding_dim
    if table is not None:
        return _numbers(table)
    if embedding.position is None:
        return _numbers(torch.zeros(_POSITIONS, dim))
    return _numbers(embedding.position(torch.zeros(1, _POSITIONS, dim))[0])


def _linear(spec: Any, *layers: nn.Linear) -> None:
    spec.weight = _numbers(torch.cat([layer.weight for layer in layers]))
    if layers[0].bias is not None:
        spec.bias = _numbers(torch.cat([layer.bias for layer in layers]))


def _norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _numbers(norm.weight), _numbers(norm.bias)


def _attention(spec: Any, layer: MultiHeadAttention, around: Residual, *, joined: bool) -> None:
    """Query, key and value by one projection, or the query by one of its own."""
    _norm(spec.layer_norm, around.norm)
    if joined:
        _linear(spec.linear[0], layer.query, layer.key_value)
    else:
        _linear(spec.linear[0], layer.query)
        _linear(spec.linear[1], layer.key_value)
    _linear(spec.linear[-1], layer.output)
