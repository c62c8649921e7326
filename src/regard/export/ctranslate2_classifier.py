"""Classifiers for CTranslate2: the encoder as a model of its own, and the head, which it lacks, as arrays beside."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regard.data.tokenizer import SPECIAL
from regard.export.ctranslate2 import Quantization, fill, numbers, save, shape_of
from regard.models.classifier import Classifier
from regard.models.tokens import END, START, UNKNOWN
from regard.models.transformer import Encoder
from regard.tasks.sentiment.text_classifier import TextClassifier

HEAD = "head.npz"
_LONGEST, _NEAR = 24, 1e-3  # tokens of what is compared; the largest difference of logits


def to_ctranslate2(classifier: TextClassifier, folder: Path, *, quantization: Quantization = "float32") -> None:
    """Write a classifier's Transformer as an encoder of CTranslate2, and its pooling and output as `head.npz`.

    It takes texts as the pieces that the run's tokenizer cuts, and `</s>`; `logits` is the rest.

    Raises:
        ValueError: an encoder of another architecture, or with parts that CTranslate2 has not.
    """
    from ctranslate2.specs import TransformerEncoderModelSpec, TransformerEncoderSpec

    model = classifier.model
    encoder = model.encoder if isinstance(model, Classifier) else model
    if not isinstance(encoder, Encoder):
        raise ValueError(
            f"CTranslate2 takes Transformers, and this is a {type(encoder).__name__}: regard export --to onnx takes "
            "others"
        )
    spec = TransformerEncoderModelSpec(TransformerEncoderSpec(len(encoder.layers), **shape_of(encoder)))
    fill(spec.encoder, encoder)
    tokenizer = classifier.tokenizer
    spec.register_vocabulary(tokenizer.tokens(range(len(tokenizer))))
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = (
        SPECIAL[token] for token in (UNKNOWN, START, END)
    )
    save(spec, encoder, folder, quantization)
    arrays: dict[str, Any] = _head(model)
    np.savez(folder / HEAD, **arrays)


def _head(model: Classifier) -> dict[str, NDArray[np.float32]]:
    pooling = model.pooling
    score = pooling.score
    return {
        "bias": numbers(pooling.query @ score.query_weight)[:, 0],  # heads hidden
        "key": numbers(score.key_weight),  # heads head_dim hidden
        "weight": numbers(score.weight),  # heads hidden
        "output": numbers(model.output.weight),  # classes dim
        "output_bias": numbers(model.output.bias),
    }


def logits(states: NDArray[np.float32], head: Any) -> NDArray[np.float32]:
    """The classes' logits of one text, of the encoder's states `(tokens, dim)` and the arrays of `head.npz`."""
    heads = states.reshape(len(states), len(head["weight"]), -1)
    scores = np.einsum(
        "thj,hj->th", np.tanh(head["bias"] + np.einsum("thi,hij->thj", heads, head["key"])), head["weight"]
    )
    shares = np.exp(scores - scores.max(0))
    pooled = (shares[..., None] / shares.sum(0)[:, None] * heads).sum(0).ravel()
    found: NDArray[np.float32] = head["output"] @ pooled + head["output_bias"]
    return found


def check(classifier: TextClassifier, folder: Path, *, texts: int = 24) -> str:
    """Classify random texts with both; what came of it, in words.

    Raises:
        ValueError: float32 weights whose logits are not those of the model they came from.
    """
    import ctranslate2

    generator = torch.Generator().manual_seed(1)
    tokenizer, head = classifier.tokenizer, np.load(folder / HEAD)
    # As many threads as torch has: CTranslate2 sets them for the whole process.
    threads = torch.get_num_threads()
    other = ctranslate2.Encoder(str(folder), device="cpu", compute_type="default", intra_threads=threads)
    apart, same = 0.0, 0
    for length in torch.randint(1, _LONGEST, (texts,), generator=generator).tolist():
        tokens = [*torch.randint(len(SPECIAL), len(tokenizer), (length,), generator=generator).tolist(), END]
        states = np.array(other.forward_batch([tokenizer.tokens(tokens)]).last_hidden_state)[0]
        found = torch.from_numpy(logits(states, head))
        with torch.no_grad():
            expected = classifier.model(torch.tensor([tokens]), torch.tensor([len(tokens)]))[0]
        apart = max(apart, float((found - expected).abs().max()))
        same += int(found.argmax() == expected.argmax())
    if other.compute_type == "float32" and apart > _NEAR * max(1.0, float(expected.abs().max())):
        raise ValueError(
            f"logits of {folder} are up to {apart:.2g} from those of the model: something in it is not as CTranslate2 "
            "computes it; please report it"
        )
    return f"{same} of {texts} random texts have the same class in {other.compute_type}, logits within {apart:.1g}"
