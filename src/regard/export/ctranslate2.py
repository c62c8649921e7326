"""Translators for CTranslate2: the same weights in its own layout, float32 or quantized."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regard.data.tokenizer import SPECIAL
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Decoder, Encoder, Transformer
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import Residual
from regard.tasks.writing import Writer

Quantization = Literal["float32", "int8"]
_LONGEST = 40  # tokens of the outputs that are compared
_POSITIONS = 1024  # whose encodings are written, of those that are no table: CTranslate2 reads no longer input


def to_ctranslate2(writer: Writer, folder: Path, *, quantization: Quantization = "float32") -> None:
    """Write a Transformer that translates, or writes otherwise a text for a text, as a model of CTranslate2.

    It takes sources as the pieces that the run's tokenizer cuts, and adds END itself.

    Raises:
        ValueError: a model of another architecture, or with parts that CTranslate2 has not.
    """
    from ctranslate2.specs import TransformerSpec

    model = writer.model
    if type(model) is not Transformer:
        raise ValueError(
            f"CTranslate2 takes Transformers, and this is a {type(model).__name__}: regard serve runs it as it is"
        )
    shape = shape_of(model.encoder)
    shape_of(model.decoder)
    spec = TransformerSpec.from_config((len(model.encoder.layers), len(model.decoder.layers)), **shape)
    fill(spec.encoder, model.encoder)
    fill(spec.decoder, model.decoder)
    spec.decoder.projection.weight = numbers(model.output_weight)
    tokenizers = writer.tokenizers
    spec.register_source_vocabulary(tokenizers.source.tokens(range(len(tokenizers.source))))
    spec.register_target_vocabulary(tokenizers.target.tokens(range(len(tokenizers.target))))
    spec.config.add_source_eos = True
    save(spec, model.encoder, folder, quantization)


def shape_of(part: Encoder | Decoder) -> dict[str, Any]:
    """Heads, norms and activation of layers, as CTranslate2's specifications are told of them.

    Raises:
        ValueError: it has no such layers.
    """
    from ctranslate2.specs.common_spec import Activation

    first: Any = part.layers[0]
    _require(first.attention.rotary is None, "rotary positions", "--model.positions sinusoidal")
    _require(first.attention.kv_heads == first.attention.heads, "grouped heads", "as many kv_heads as heads")
    _require(getattr(part, "pattern", None) is None, "a window of attention", "no window")
    activations = {nn.ReLU: Activation.RELU, nn.GELU: Activation.GELU, nn.SiLU: Activation.SWISH}
    return {
        "num_heads": first.attention.heads,
        "pre_norm": first.around_attention.pre_norm,
        "activation": activations[type(first.feed_forward.activation)],
    }


def fill(spec: Any, part: Encoder | Decoder) -> None:
    """Copy weights into their specification."""
    embeddings = spec.embeddings[0] if isinstance(part, Encoder) else spec.embeddings
    embeddings.weight = numbers(part.embedding.table.weight)
    spec.scale_embeddings = True
    spec.position_encodings.encodings = _encodings(part.embedding)
    if isinstance(part.norm, nn.LayerNorm):
        _norm(spec.layer_norm, part.norm)
    layers: Any = part.layers
    for layer, one in zip(layers, spec.layer, strict=True):
        _attention(one.self_attention, layer.attention, layer.around_attention, joined=True)
        if isinstance(part, Decoder):
            _attention(one.attention, layer.cross, layer.around_cross, joined=False)
        _norm(one.ffn.layer_norm, layer.around_feed_forward.norm)
        _linear(one.ffn.linear_0, layer.feed_forward.inner)
        _linear(one.ffn.linear_1, layer.feed_forward.outer)


def save(spec: Any, encoder: Encoder, folder: Path, quantization: Quantization) -> None:
    """Write a specification with its weights, as they are or quantized."""
    first: Any = encoder.layers[0]
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


def numbers(tensor: Tensor) -> Any:
    """A copy: quantization scales tensors in place."""
    return tensor.detach().float().cpu().numpy().copy()


def _encodings(embedding: Any) -> Any:
    """What the embedding adds to each position."""
    table = getattr(embedding.position, "table", None)
    dim = embedding.table.embedding_dim
    if table is not None:
        return numbers(table)
    if embedding.position is None:
        return numbers(torch.zeros(_POSITIONS, dim))
    return numbers(embedding.position(torch.zeros(1, _POSITIONS, dim))[0])


def _linear(spec: Any, *layers: nn.Linear) -> None:
    spec.weight = numbers(torch.cat([layer.weight for layer in layers]))
    if layers[0].bias is not None:
        spec.bias = numbers(torch.cat([layer.bias for layer in layers]))


def _norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = numbers(norm.weight), numbers(norm.bias)


def _attention(spec: Any, layer: MultiHeadAttention, around: Residual, *, joined: bool) -> None:
    """Query, key and value by one projection, or the query by one of its own."""
    _norm(spec.layer_norm, around.norm)
    if joined:
        _linear(spec.linear[0], layer.query, layer.key_value)
    else:
        _linear(spec.linear[0], layer.query)
        _linear(spec.linear[1], layer.key_value)
    _linear(spec.linear[-1], layer.output)


def check(writer: Writer, folder: Path, *, texts: int = 24) -> str:
    """Write for random sources with both, greedily; what came of it, in words.

    Raises:
        ValueError: float32 weights whose outputs are not those of the model they came from.
    """
    import ctranslate2

    from regard.decoding import Greedy, search

    generator = torch.Generator().manual_seed(1)
    vocabulary = len(writer.tokenizers.source)
    sources = [
        torch.randint(len(SPECIAL), vocabulary, (length,), generator=generator).tolist()
        for length in torch.randint(1, 24, (texts,), generator=generator).tolist()
    ]
    # As many threads as torch has: CTranslate2 sets them for the whole process.
    threads = torch.get_num_threads()
    other = ctranslate2.Translator(str(folder), device="cpu", compute_type="default", intra_threads=threads)
    found = other.translate_batch(
        [writer.tokenizers.source.tokens(tokens) for tokens in sources],
        beam_size=1,
        max_decoding_length=_LONGEST,
        min_decoding_length=0,  # an output may be empty
        disable_unk=True,
        suppress_sequences=[[SPECIAL[PAD]], [SPECIAL[START]]],
    )
    lengths = torch.tensor([len(tokens) + 1 for tokens in sources])
    source = torch.full((texts, int(lengths.max())), PAD)
    for row, tokens in enumerate(sources):
        source[row, : len(tokens) + 1] = torch.tensor([*tokens, END])
    expected = search(writer.model, source, lengths, Greedy(max_length=_LONGEST))
    same = sum(
        writer.tokenizers.target.tokens(one[0].tokens) == theirs.hypotheses[0]
        for one, theirs in zip(expected, found, strict=True)
    )
    if other.compute_type == "float32" and same < 0.9 * texts:
        raise ValueError(
            f"only {same} of {texts} outputs of {folder} are those of the model: something in it is not as CTranslate2 "
            "computes it; please report it"
        )
    return f"{same} of {texts} random sources give the same output in {other.compute_type}"
