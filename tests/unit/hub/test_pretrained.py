"""Pretrained models of transformers as models of Regard's tasks: their own logits, tokens and searches."""

from pathlib import Path

import pytest
import torch
import transformers as hf
from tests.unit.hub.saved import TEXT, saved, word_tokenizer

from regard.data.batches import collate, length_batches
from regard.decoding import Beam, Greedy, search
from regard.hub.pretrained import build_pretrained, load_pretrained, save_pretrained
from regard.models.tokens import END, PAD, START, UNKNOWN
from regard.training.weights import assign_tensors, unique_tensors

TEXTS = [TEXT, "the dog sees it .", "nobody"]
NAMES = ["bart", "t5", "marian"]


@pytest.fixture(scope="module", params=NAMES)
def seq2seq(request, tmp_path_factory):
    """An encoder-decoder of random weights, saved and loaded, and its tokenizers."""
    model, tokenizers = load_pretrained(str(saved(request.param, tmp_path_factory.mktemp(request.param))), "seq2seq")
    return model.eval(), tokenizers


def encoder_folder(folder: Path, kind=hf.BertModel, **options) -> Path:
    """A small encoder with a tokenizer that frames its texts."""
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37,
        max_position_embeddings=30, **options,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    tokenizer = word_tokenizer()
    tokenizer.cls_token, tokenizer.sep_token = "[CLS]", "[SEP]"
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_tokens_are_renumbered_and_come_back(seq2seq) -> None:
    _, tokenizers = seq2seq
    for one in (tokenizers.source, tokenizers.target):
        for text, numbers in zip(TEXTS, one.encode(TEXTS), strict=True):
            assert not {PAD, START, END, UNKNOWN} & set(numbers)
            assert max(numbers) < len(one)
            assert one.decode(numbers) == one.decode([*numbers, END, *numbers]) == text
            assert "".join(one.tokens(numbers)).replace("▁", " ").strip() == text
        assert sorted(set(one.theirs)) == list(range(max(one.theirs) + 1)), "every token of the model has a number"
        assert one.encode([]) == []
    with pytest.raises(TypeError, match="encode takes a list of texts"):
        tokenizers.source.encode("text")
    with pytest.raises(ValueError, match="a pretrained tokenizer cuts words one way"):
        tokenizers.source.words("text")


def test_logits_are_the_models_own(seq2seq) -> None:
    model, tokenizers = seq2seq
    batch = collate(tokenizers.source.encode(TEXTS), tokenizers.target.encode(TEXTS[::-1]))
    logits = model(*batch.inputs) @ model.output_weight.T
    mask = (torch.arange(batch.source.shape[1]) < batch.source_lengths[:, None]).long()
    own = model.inner(
        input_ids=model.theirs[batch.source], attention_mask=mask, decoder_input_ids=model.theirs[batch.target_in]
    ).logits[..., model.theirs]
    real = batch.target_out != PAD
    others = [number for number in range(len(model.theirs)) if number != START]
    torch.testing.assert_close(logits[real][:, others], own[real][:, others], atol=1e-4, rtol=1e-4)
    assert float(logits[..., START].detach().max()) < -90, "nothing starts twice"


def test_greedy_search_is_generate(seq2seq) -> None:
    model, tokenizers = seq2seq
    batch = next(iter(length_batches(tokenizers.source.encode(TEXTS), tokens=1000)))
    found = search(model, batch.source, batch.source_lengths, Greedy(max_length=6))
    ids = model.theirs[batch.source]
    mask = (torch.arange(ids.shape[1]) < batch.source_lengths[:, None]).long()
    config = hf.GenerationConfig(
        max_new_tokens=7, do_sample=False, num_beams=1,  # some end what reaches the limit
        decoder_start_token_id=int(model.theirs[START]), pad_token_id=int(model.theirs[PAD]),
        eos_token_id=int(model.theirs[END]), suppress_tokens=[int(model.theirs[PAD]), int(model.theirs[UNKNOWN])],
    )  # fmt: skip
    own = model.inner.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, 1:]
    for (hypothesis,), row in zip(found, own.tolist(), strict=True):
        emitted = [int(model.theirs[token]) for token in hypothesis.tokens]
        assert emitted == row[: len(emitted)]


def test_beams_do_not_depend_on_their_batch(seq2seq) -> None:
    model, tokenizers = seq2seq
    sources = tokenizers.source.encode(TEXTS)
    batch = next(iter(length_batches(sources, tokens=1000)))
    together = search(model, batch.source, batch.source_lengths, Beam(width=3, max_length=7, n_best=2))
    for row, found in zip(batch.rows, together, strict=True):
        alone = next(iter(length_batches([sources[row]], tokens=1000)))
        (expected,) = search(model, alone.source, alone.source_lengths, Beam(width=3, max_length=7, n_best=2))
        assert [one.tokens for one in found] == [one.tokens for one in expected]
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)


def test_a_model_is_saved_beside_its_weights(seq2seq, tmp_path: Path) -> None:
    model, tokenizers = seq2seq
    save_pretrained(model, tokenizers, tmp_path)
    again, others = build_pretrained(tmp_path, "seq2seq")
    assign_tensors(again, unique_tensors(model), "here")
    assert others.source.theirs == tokenizers.source.theirs
    batch = collate(tokenizers.source.encode(TEXTS), others.target.encode(TEXTS))
    torch.testing.assert_close(again.eval()(*batch.inputs), model(*batch.inputs))


def framed(folder: Path, rows: tuple[int, ...]):
    """Some of the texts as the pretrained tokenizer gives them to its model."""
    return hf.AutoTokenizer.from_pretrained(folder)([TEXTS[row] for row in rows], padding=True, return_tensors="pt")


def test_an_encoder_reads_rows(tmp_path: Path) -> None:
    model, tokenizers = load_pretrained(str(encoder_folder(tmp_path)), "encoder")
    model.eval()
    sources = tokenizers.source.encode(TEXTS)
    batch = next(iter(length_batches(sources, tokens=1000)))
    hidden = model(batch.source, batch.source_lengths)
    inputs = hf.AutoTokenizer.from_pretrained(tmp_path)(
        [TEXTS[row] for row in batch.rows], padding=True, return_tensors="pt"
    )
    assert torch.equal(model.theirs[batch.source] * inputs.attention_mask, inputs.input_ids * inputs.attention_mask)
    own = model.inner(**inputs).last_hidden_state
    real = inputs.attention_mask.bool()
    torch.testing.assert_close(hidden[real], own[real])
    assert model.dim == 32
    with pytest.raises(ValueError, match="cannot read a packed batch"):
        model(batch.source, batch.source_lengths, packed=True)
    with pytest.raises(ValueError, match="a text has 31 tokens, END included, but the pretrained model takes 30"):
        model(torch.full((1, 31), 5), torch.tensor([31]))


def test_a_classifier_keeps_its_head(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, hf.BertForSequenceClassification, id2label={0: "bad", 1: "fine", 2: "good"})
    model, tokenizers = load_pretrained(str(folder), "classifier")
    model.eval()
    assert model.classes == ["bad", "fine", "good"]
    assert not model.several
    batch = next(iter(length_batches(tokenizers.source.encode(TEXTS), tokens=1000)))
    inputs = hf.AutoTokenizer.from_pretrained(folder)(
        [TEXTS[row] for row in batch.rows], padding=True, return_tensors="pt"
    )
    torch.testing.assert_close(model(batch.source, batch.source_lengths), model.inner(**inputs).logits)


def test_models_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none-such"):
        load_pretrained(str(tmp_path / "none-such"), "encoder")
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=97, n_positions=30, n_embd=32, n_layer=2, n_head=4, pad_token_id=0, num_labels=3)
    hf.GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    from tests.unit.hub.saved import byte_tokenizer

    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not read its decision off the first position alone"):
        load_pretrained(str(tmp_path), "classifier")


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path)
    tensors = hf.AutoModel.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_pretrained(str(folder), "encoder")
