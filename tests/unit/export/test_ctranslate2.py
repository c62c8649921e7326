"""What CTranslate2 makes of an exported model is what the model itself writes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import pytest
import torch

from regard.data.tokenizer import Tokenizer, Tokenizers
from regard.decoding import Beam, search
from regard.export.ctranslate2 import check, to_ctranslate2
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import END
from regard.models.transformer import Layers, Transformer
from regard.tasks.writing import Writer

TEXTS = ["a man sees the dog .", "the dog runs through the snow !", "two women read a book", "snow"] * 4


def writer(**options: Any) -> Writer:
    """A model of random weights that are large enough to decide."""
    torch.manual_seed(3)
    tokenizer = Tokenizer.train(TEXTS, vocabulary=60)
    shape = Layers(dim=32, heads=4, feed_forward=52, layers=2, **options)
    model = Transformer(len(tokenizer), len(tokenizer), encoder=shape, decoder=shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    recipe = SimpleNamespace(decoding=Beam())
    return Writer(model, Tokenizers(source=tokenizer, target=tokenizer), recipe)


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "post"}, {"activation": "gelu"}, {"activation": "silu"}, {"positions": "learned", "longest": 64}],
    ids=str,
)
def test_the_same_tokens_come_out(tmp_path: Path, options: dict[str, Any]) -> None:
    one = writer(**options)
    to_ctranslate2(one, tmp_path / "model")
    assert check(one, tmp_path / "model") == "24 of 24 random sources give the same output in float32"


def test_torch_has_as_many_threads_afterwards(tmp_path: Path) -> None:
    """CTranslate2 sets those of the whole process, and with them how torch adds up."""
    one, before = writer(), torch.get_num_threads()
    torch.set_num_threads(3)
    to_ctranslate2(one, tmp_path / "model")
    check(one, tmp_path / "model")
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert found == 3


def test_beams_and_scores_are_the_same(tmp_path: Path) -> None:
    one = writer()
    to_ctranslate2(one, tmp_path / "model")
    other = ctranslate2.Translator(
        str(tmp_path / "model"), compute_type="float32", intra_threads=torch.get_num_threads()
    )
    sources = one.tokenizers.source.encode(TEXTS[:4])
    found = other.translate_batch(
        [one.tokenizers.source.tokens(tokens) for tokens in sources],
        beam_size=4,
        num_hypotheses=2,
        length_penalty=1.0,
        max_decoding_length=30,
        return_scores=True,
        disable_unk=True,
        suppress_sequences=[["<pad>"], ["<s>"]],
    )
    for tokens, others in zip(sources, found, strict=True):
        source = torch.tensor([[*tokens, END]])
        [[best, *_]] = search(
            one.model, source, torch.tensor([source.shape[1]]), Beam(width=4, n_best=2, max_length=30)
        )
        if one.tokenizers.target.tokens(best.tokens) == others.hypotheses[0] and best.finished:
            assert others.scores[0] == pytest.approx(best.log_probability / (len(best.tokens) + 1), abs=2e-3)


def test_quantized_weights_leave_the_model_as_it_is(tmp_path: Path) -> None:
    one = writer()
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    to_ctranslate2(one, tmp_path / "model", quantization="int8")
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.model.state_dict().items())
    assert "random sources give the same output in int8" in check(one, tmp_path / "model")
    whole = tmp_path / "whole"
    to_ctranslate2(one, whole)
    assert (tmp_path / "model" / "model.bin").stat().st_size < 0.7 * (whole / "model.bin").stat().st_size


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"positions": "rotary"},
            "the model has rotary positions, which .*: train one with --model.positions sinusoidal",
        ),
        ({"kv_heads": 2}, "the model has grouped heads"),
        ({"window": 3}, "the model has a window of attention"),
    ],
)
def test_what_ctranslate2_has_not(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        to_ctranslate2(writer(**options), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_other_architectures(tmp_path: Path) -> None:
    one = writer()
    one.model = RecurrentSeq2Seq(60, 60, dim=8, hidden=8, layers=1, dropout=0.0, attention="bahdanau")
    with pytest.raises(ValueError, match="takes Transformers, and this is a RecurrentSeq2Seq"):
        to_ctranslate2(one, tmp_path / "model")


def test_weights_that_do_not_fit_are_told(tmp_path: Path) -> None:
    one = writer()
    to_ctranslate2(one, tmp_path / "model")
    with torch.no_grad():
        one.model.decoder.embedding.table.weight.neg_()
    with pytest.raises(ValueError, match=r"of 24 outputs of .* are those of the model: something in it is not as"):
        check(one, tmp_path / "model")
