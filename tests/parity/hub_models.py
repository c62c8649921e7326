"""Small models of `transformers` with random weights, one an architecture, and inputs for each."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import Tensor

VOCABULARY, BATCH, LENGTH, TARGETS = 97, 2, 11, 5
Inputs = dict[str, Tensor]


def _tokens(*, left: bool = False, holed: bool = False) -> Inputs:
    """Two sequences, the second one shorter: padded on the right or on the left, or with a hole."""
    ids = torch.randint(5, VOCABULARY, (BATCH, LENGTH))
    mask = torch.ones(BATCH, LENGTH, dtype=torch.int64)
    mask[1, slice(0, 4) if left else slice(LENGTH - 4, None)] = 0
    if holed:
        mask[0, 3:5] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _pair() -> Inputs:
    return {**_tokens(), "decoder_input_ids": torch.randint(5, VOCABULARY, (BATCH, TARGETS))}


def _pictures(size: int = 32) -> Inputs:
    return {"pixel_values": torch.randn(BATCH, 3, size, size)}


_DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_PAIR = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "dropout": 0.0,
}
_TEXT_PAIR = {
    **_PAIR,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def _t5() -> Any:
    config = hf.T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    return hf.T5ForConditionalGeneration(config)


def _whisper() -> Any:
    config = hf.WhisperConfig(
        **_PAIR,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=30,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return hf.WhisperForConditionalGeneration(config)


def _detr() -> Any:
    backbone = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, out_features=["stage4"])
    shape = {name: value for name, value in _PAIR.items() if name != "vocab_size"}
    config = hf.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        num_queries=7,
        **shape,
    )
    return hf.DetrForObjectDetection(config)


def _segformer() -> Any:
    return hf.SegformerModel(
        hf.SegformerConfig(
            hidden_sizes=[8, 16, 16, 16],
            num_attention_heads=[1, 2, 2, 2],
            depths=[1] * 4,
            sr_ratios=[4, 2, 1, 1],
            hidden_dropout_prob=0.0,
            drop_path_rate=0.0,
        )
    )


def _decoder(model: type, config: type, **options: Any) -> Callable[[], Any]:
    return lambda: model(config(**_DECODER, **options))


# By name: the model, and its inputs. Those that generate do so from padding on the left.
DECODERS: dict[str, Callable[[], Any]] = {
    "llama": _decoder(hf.LlamaForCausalLM, hf.LlamaConfig),
    "mistral": _decoder(hf.MistralForCausalLM, hf.MistralConfig, sliding_window=4),
    "qwen2": _decoder(hf.Qwen2ForCausalLM, hf.Qwen2Config),
    "gemma2": _decoder(hf.Gemma2ForCausalLM, hf.Gemma2Config, head_dim=8, sliding_window=4, attn_logit_softcapping=0.5),
    "gpt_oss": _decoder(
        hf.GptOssForCausalLM,
        hf.GptOssConfig,
        head_dim=8,
        sliding_window=4,
        num_local_experts=2,
        num_experts_per_tok=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=64,
            bos_token_id=1,
            eos_token_id=2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    ),
}
MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Inputs]]] = {
    **{name: (model, lambda: _tokens(left=True)) for name, model in DECODERS.items()},
    "bert": (lambda: hf.BertModel(hf.BertConfig(**_ENCODER)), lambda: _tokens(holed=True)),
    "roberta": (lambda: hf.RobertaModel(hf.RobertaConfig(**_ENCODER, pad_token_id=0)), _tokens),
    "t5": (_t5, _pair),
    "bart": (lambda: hf.BartForConditionalGeneration(hf.BartConfig(**_TEXT_PAIR)), _pair),
    "marian": (lambda: hf.MarianMTModel(hf.MarianConfig(**_TEXT_PAIR)), _pair),
    "whisper": (
        _whisper,
        lambda: {
            "input_features": torch.randn(BATCH, 8, 40),
            "decoder_input_ids": torch.randint(5, VOCABULARY, (BATCH, TARGETS)),
        },
    ),
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(**_VISION)), _pictures),
    "clip": (lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**_VISION)), _pictures),
    "detr": (_detr, lambda: {**_pictures(64), "pixel_mask": torch.ones(BATCH, 64, 64, dtype=torch.int64)}),
    "segformer": (_segformer, lambda: _pictures(64)),
    "swin": (
        lambda: hf.SwinModel(
            hf.SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
        ),
        _pictures,
    ),
    "wav2vec2": (
        lambda: hf.Wav2Vec2Model(
            hf.Wav2Vec2Config(
                vocab_size=20,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                conv_dim=(16, 16),
                conv_stride=(5, 2),
                conv_kernel=(10, 3),
                num_feat_extract_layers=2,
                num_conv_pos_embeddings=16,
                num_conv_pos_embedding_groups=4,
            )
        ),
        lambda: {"input_values": torch.randn(BATCH, 400)},
    ),
}
