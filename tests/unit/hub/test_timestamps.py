"""Whisper's times of tokens on Regard's attention are those of eager attention, however they are asked for."""

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
    pipeline,
)
from transformers.models.whisper import modeling_whisper

import regard
from regard.hub import adopt, token_timestamps

MELS, FRAMES, HEADS, LAYERS = 8, 40, 4, 3  # FRAMES after the encoder's convolutions, which halve them
LETTERS = [*"abcdefghijklmnop", "Ġ"]
ALIGNMENT = [[2, 3], [1, 0], [2, 1]]


# `transformers` hands a tensor to numpy, which is about to ask for it otherwise.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.usefixtures("quiet_transformers"),
]


def whisper() -> Any:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=160,
        d_model=32,
        encoder_layers=2,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=MELS,
        max_source_positions=FRAMES,
        max_target_positions=40,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=0.4,  # weights that are far from even, and so a path that last bits do not move
    )
    model = adopt(WhisperForConditionalGeneration(config)).eval()
    model.generation_config.alignment_heads = ALIGNMENT
    model.generation_config.no_timestamps_token_id = 99
    return model


def sound(frames: int = 2 * FRAMES) -> torch.Tensor:
    return torch.randn(2, MELS, frames, generator=torch.Generator().manual_seed(5))


def heard(frames: int = 2 * FRAMES, second: int = 50) -> torch.Tensor:
    """An attention mask: the second sound is shorter."""
    mask = torch.ones(2, frames, dtype=torch.int64)
    mask[1, second:] = 0
    return mask


def generated(model: Any, features: torch.Tensor, **options: Any) -> Any:
    torch.manual_seed(1)
    return model.generate(features, return_token_timestamps=True, **{"max_new_tokens": 12, **options})


def both(model: Any, features: torch.Tensor, **options: Any) -> tuple[Any, Any]:
    """What eager attention gives, and what Regard's does."""
    model.set_attn_implementation("eager")
    expected = generated(model, features, **options)
    adopt(model)
    with token_timestamps(model):
        found = generated(model, features, **options)
    return expected, found


OPTIONS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "sounds of different lengths": {"attention_mask": heard()},
    "beams, sounds of different lengths": {"attention_mask": heard(), "num_beams": 3},
    "several beams returned": {"num_beams": 3, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "temperature": 1.0},
    "a prompt": {"prompt_ids": torch.tensor([98, 7, 8, 9])},
    "a static cache": {"cache_implementation": "static"},
    "all outputs": {"return_dict_in_generate": True, "num_beams": 2},
    "segments": {"return_timestamps": True, "return_segments": True},
    "fallback to higher temperatures": {
        "temperature": (0.0, 1.0),
        "compression_ratio_threshold": 0.5,
        "logprob_threshold": -1.0,
        "no_speech_threshold": 0.6,
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_times_are_those_of_eager_attention(options):
    expected, found = both(whisper(), sound(), **options)
    times = found["token_timestamps"]
    assert torch.equal(found["sequences"], expected["sequences"])
    torch.testing.assert_close(times, expected["token_timestamps"])
    assert 0 < float(times.max()) <= 0.02 * FRAMES


def test_a_sound_longer_than_one_piece():
    frames = 5 * FRAMES
    options = {"attention_mask": heard(frames, 130), "return_timestamps": True, "return_segments": True}
    model = whisper()
    # Few tokens a piece, so that it is cut into several.
    expected, found = both(model, sound(frames), max_new_tokens=5, **options)
    assert torch.equal(found["sequences"], expected["sequences"])
    torch.testing.assert_close(found["token_timestamps"], expected["token_timestamps"])
    for mine, right in zip(found["segments"], expected["segments"], strict=True):
        assert len(mine) == len(right)
        for one, other in zip(mine, right, strict=True):
            torch.testing.assert_close(one["token_timestamps"], other["token_timestamps"])


def test_a_draft_model_changes_nothing():
    model = whisper()
    draft = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in draft.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    expected, found = both(model, sound()[:1], assistant_model=draft)
    assert torch.equal(found["sequences"], expected["sequences"])
    torch.testing.assert_close(found["token_timestamps"], expected["token_timestamps"])


def test_words_of_a_pipeline():
    special = ["<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(
        vocab={letter: at for at, letter in enumerate(LETTERS)}, merges=[], extra_special_tokens=special
    )
    end, start, without = tokenizer.convert_tokens_to_ids(["<|endoftext|>", *special])
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=without + 52,
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            num_mel_bins=MELS,
            max_source_positions=50,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=start,
            suppress_tokens=None,
            begin_suppress_tokens=None,
            init_std=0.4,
        )
    ).eval()
    model.generation_config.alignment_heads = [[1, 3], [0, 1]]
    model.generation_config.no_timestamps_token_id = without
    ear = WhisperFeatureExtractor(feature_size=MELS, chunk_length=1)
    listen = pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=ear)
    wave = np.random.default_rng(0).normal(size=14000).astype(np.float32)
    options = {"max_new_tokens": 24, "suppress_tokens": [end]}

    def words() -> Any:
        return listen(wave.copy(), return_timestamps="word", generate_kwargs=options)

    expected = words()
    adopt(model)
    with token_timestamps(model):
        found = words()
    assert found == expected
    assert len(found["chunks"]) > 3


def test_nothing_is_eager_and_only_the_heads_are_kept(monkeypatch):
    def eager(*given: Any, **options: Any) -> Any:
        raise AssertionError("eager attention ran")

    monkeypatch.setattr(modeling_whisper, "eager_attention_forward", eager)
    model = whisper()
    with token_timestamps(model):
        found = generated(model, sound()[:1], return_dict_in_generate=True)
    first, *others = found["cross_attentions"][-1]
    assert first.shape == (1, len(ALIGNMENT), 1, FRAMES)
    assert [one.shape[1] for one in others] == [0] * (LAYERS - 1)
    assert "encoder_attentions" not in found
    assert model.config._attn_implementation == "regard"


def test_the_block_leaves_nothing_behind():
    model = whisper()
    with token_timestamps(model):
        plain = model(sound(), decoder_input_ids=torch.ones(2, 3, dtype=torch.int64))
    assert plain.cross_attentions is None
    with pytest.raises(RuntimeError, match="halt"), token_timestamps(model):
        raise RuntimeError("halt")
    assert "_extract_token_timestamps" not in vars(model)
    weights = model(sound(), decoder_input_ids=torch.ones(2, 3, dtype=torch.int64), output_attentions=True)
    assert [one.shape[1] for one in weights.cross_attentions] == [HEADS] * LAYERS


def test_a_watch_of_ones_own_goes_on_inside():
    model = whisper()
    with regard.watch(model, regard.Entropy(), layers="model.encoder.*") as seen, token_timestamps(model):
        generated(model, sound())
    assert list(seen) == ["model.encoder.layers.0.self_attn", "model.encoder.layers.1.self_attn"]


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_timed_is_refused():
    def refused(model: Any, kind: type[Exception], text: str) -> None:
        with pytest.raises(kind, match=re.escape(text)), token_timestamps(model):
            pass

    refused(torch.nn.Linear(2, 3), TypeError, "takes a WhisperForConditionalGeneration, got Linear")
    refused(whisper().model, TypeError, "takes a WhisperForConditionalGeneration, got WhisperModel")
    model = whisper()
    model.set_attn_implementation("sdpa")
    refused(model, ValueError, 'this one is on "sdpa": regard.hub.adopt(model)')
    model = whisper()
    model.generation_config.alignment_heads = [[LAYERS, 0]]
    refused(model, ValueError, "alignment_heads has (3, 0) (layer, head), and the decoder has 3 layers of 4 heads")
    model.generation_config.alignment_heads = None
    refused(model, ValueError, "set model.generation_config.alignment_heads = [[layer, head], ...]")
    model = whisper()
    with token_timestamps(model):
        refused(model, ValueError, "token_timestamps is running for this model already")
    vars(model.model.decoder)["_compiled_call_impl"] = len  # as `compile()` sets it
    refused(model, ValueError, "cannot look into a compiled module")


def test_a_call_with_other_heads_is_refused():
    model = whisper()
    other = copy.deepcopy(model.generation_config)
    other.alignment_heads = [[0, 2]]
    text = "aligns by (0, 2) (layer, head), which was not recorded"
    with pytest.raises(ValueError, match=re.escape(text)), token_timestamps(model):
        generated(model, sound(), generation_config=other)
