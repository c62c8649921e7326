"""Small models of random weights with their tokenizers and processors, saved as a user would have them."""

from pathlib import Path
from typing import Any

import numpy
import torch
import transformers as hf
from PIL import Image
from tests.parity.hub_models import DECODERS, MODELS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = "the dog runs through the snow , and nobody sees it ."
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
SIZE = 97  # words of the small models


def byte_tokenizer() -> Any:
    """Byte-level BPE, as GPT-2's and Llama 3's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = sorted(
        {
            letter
            for part, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(TEXT + "狗\n👩")
            for letter in part
        }
    )
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=SPECIAL, initial_alphabet=letters)
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def word_tokenizer() -> Any:
    """WordPiece, as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator([TEXT], trainers.WordPieceTrainer(vocab_size=60, special_tokens=special))
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


def saved(name: str, folder: Path) -> Path:
    """The folder of a model by its name in `hub_models`, as `save_pretrained` writes it."""
    torch.manual_seed(0)
    model = (DECODERS.get(name) or MODELS[name][0])()
    model.save_pretrained(folder)
    if model.main_input_name == "input_ids":
        (word_tokenizer if name in ("bert", "roberta") else byte_tokenizer)().save_pretrained(folder)
    elif name == "whisper":
        extractor = hf.WhisperFeatureExtractor(feature_size=8, chunk_length=1, hop_length=400)
        hf.WhisperProcessor(extractor, byte_tokenizer()).save_pretrained(folder)
    elif model.main_input_name == "input_values":
        hf.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    else:
        size = 64 if name in ("detr", "segformer") else 32
        hf.ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder


def picture(path: Path) -> Path:
    pixels = numpy.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(path)
    return path


def sound(path: Path, *, rate: int = 22_050, seconds: float = 0.3) -> Path:
    import soundfile

    times = numpy.arange(int(rate * seconds)) / rate
    soundfile.write(path, 0.5 * numpy.sin(2 * numpy.pi * 440 * times), rate)
    return path
