"""Pretrained speech recognizers of `transformers`, on Regard's attention."""

from typing import Any

from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor

from regard.hub.adopt import adopt
from regard.hub.pretrained import without_bars


def load_recognizer(name: str) -> tuple[Any, Any]:
    """A recognizer of the hub or of a folder, and its processor; by safetensors alone, and no code of its own.

    Args:
        name: the model's name at the hub, or a folder that `save_pretrained` wrote.

    Raises:
        OSError: there is no such model.
        ValueError: it recognises no speech, or computes attention in code of its own.
    """
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    kind = AutoModelForSpeechSeq2Seq if config.is_encoder_decoder else AutoModelForCTC
    with without_bars():
        model = kind.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    return adopt(model).eval(), AutoProcessor.from_pretrained(name, trust_remote_code=False)
