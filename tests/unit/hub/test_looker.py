"""`Looker`: saved models of every kind, looked at as `regard look hf:FOLDER` does."""

from io import BytesIO

import pytest
import torch
from PIL import Image
from tests.unit.hub.saved import TEXT, byte_tokenizer, picture, saved, sound, word_tokenizer

import regard
from regard.explain.look import Look
from regard.hub.looker import Looker
from regard.hub.pieces import pieces_of


def shapes(look: Look) -> dict[str, tuple[str, str, bool]]:
    """Who attends to whom in each layer, and whether all of it is kept."""
    return {layer.name: (layer.queries, layer.keys, layer.complete) for layer in look.layers}


def check(look: Look) -> None:
    """Rows of weights sum to one, and what is kept agrees with itself."""
    for layer in look.layers:
        torch.testing.assert_close(layer.pooled.sum(-1), torch.ones(layer.pooled.shape[:2]), atol=1e-4, rtol=0)
        assert float(layer.received.sum()) == pytest.approx(layer.entropy.numel(), rel=1e-4)
        if layer.complete:
            torch.testing.assert_close(layer.of_query(-1), layer.map()[-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_a_text_is_looked_at_as_it_is_read(name, tmp_path) -> None:
    looker = Looker.load(str(saved(name, tmp_path)))
    look = looker.look(TEXT)
    check(look)
    assert look.title == TEXT
    assert set(shapes(look).values()) == {("input", "input", True)}
    assert len(look.layers) == 2
    tokens = looker.tokenizer(TEXT, return_tensors="pt")
    layer = look.layers[1]
    with torch.no_grad(), regard.watch(looker.model, regard.Weights()) as seen:
        looker.model(**tokens)
    torch.testing.assert_close(layer.pooled, seen[layer.name].weights[0], atol=1e-5, rtol=1e-4)


def test_a_decoder_writes_where_it_is_asked_to(tmp_path) -> None:
    looker = Looker.load(str(saved("llama", tmp_path)), new_tokens=5)
    read = len(looker.tokenizer(TEXT).input_ids)
    (side,) = looker.look(TEXT).sides
    assert read < len(side.pieces) <= read + 5


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_an_encoder_decoder_is_looked_at_as_it_writes(name, tmp_path) -> None:
    looker = Looker.load(str(saved(name, tmp_path)), new_tokens=6)
    look = looker.look(TEXT)
    check(look)
    kinds = list(shapes(look).values())
    assert kinds == [("input", "input", True)] * 2 + [("output", "so far", True), ("output", "input", True)] * 2
    assert look.side("so far").pieces[1:] == look.side("output").pieces[:-1]
    tokens = looker.tokenizer(TEXT, return_tensors="pt")
    written = looker.model.generate(**tokens, max_new_tokens=6, do_sample=False)
    assert look.side("output").pieces == pieces_of(looker.tokenizer, written[0].tolist())[1:]


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_a_picture_lies_under_its_patches(name, tmp_path) -> None:
    look = Looker.load(str(saved(name, tmp_path))).look(str(picture(tmp_path / "noise.png")))
    check(look)
    (side,) = look.sides
    assert side.grid is not None
    assert (side.grid.rows, side.grid.columns, side.grid.first) == (4, 4, 1)
    assert [piece.text for piece in side.pieces[:3]] == ["token 0", "row 1, column 1", "row 1, column 2"]
    assert side.pieces[0].special
    assert Image.open(BytesIO(side.grid.png)).size == (32, 32)
    assert look.title == "noise.png"


def test_a_detector_has_queries_of_its_own(tmp_path) -> None:
    look = Looker.load(str(saved("detr", tmp_path))).look(str(picture(tmp_path / "noise.png")))
    check(look)
    grid = look.side("input").grid
    assert grid is not None
    assert (grid.rows, grid.columns, grid.first) == (2, 2, 0)
    assert [piece.text for piece in look.side("output").pieces] == [f"query {number}" for number in range(7)]
    assert ("output", "input", True) in shapes(look).values()
    assert ("output", "output", True) in shapes(look).values()


def test_a_recognizer_is_looked_at_over_its_sound(tmp_path) -> None:
    look = Looker.load(str(saved("whisper", tmp_path)), new_tokens=4).look(str(sound(tmp_path / "tone.wav")))
    check(look)
    side = look.side("input")
    assert side.grid is not None
    assert (side.grid.rows, side.grid.columns) == (1, len(side.pieces))
    assert side.pieces[10].text == "0.50 s"
    assert look.side("so far").pieces[0].text == "<s>"  # what the decoder starts from
    assert ("output", "input", True) in shapes(look).values()


def test_a_model_of_sound_without_a_decoder(tmp_path) -> None:
    look = Looker.load(str(saved("wav2vec2", tmp_path))).look(str(sound(tmp_path / "tone.flac", seconds=0.5)))
    check(look)
    assert set(shapes(look).values()) == {("input", "input", False)}


def test_some_layers_are_enough(tmp_path) -> None:
    look = Looker.load(str(saved("llama", tmp_path)), layers="*.1.*").look(TEXT)
    assert [layer.name for layer in look.layers] == ["model.layers.1.self_attn"]


def test_errors_say_what_to_do(tmp_path) -> None:
    folder = str(saved("gpt2", tmp_path / "gpt2"))
    with pytest.raises(ValueError, match=r"the text has \d+ tokens, but the model takes 64: give a shorter one"):
        Looker.load(folder).look(TEXT * 20)
    with pytest.raises(ValueError, match="there is nothing to look at: the text has no tokens"):
        Looker.load(folder).look("")
    with pytest.raises(ValueError, match="no module is called 'encoder'; there is '"):
        Looker.load(folder, layers="encoder").look(TEXT)
    vit = Looker.load(str(saved("vit", tmp_path / "vit")))
    with pytest.raises(ValueError, match=r"there is no file .*nothing\.png"):
        vit.look(str(tmp_path / "nothing.png"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is no picture: give a PNG"):
        vit.look(str(tmp_path / "text.png"))
    whisper = Looker.load(str(saved("whisper", tmp_path / "whisper")))
    with pytest.raises(ValueError, match=r"text\.png is no sound: give a WAV"):
        whisper.look(str(tmp_path / "text.png"))
    for name in ("swin", "segformer"):
        windowed = Looker.load(str(saved(name, tmp_path / name)))
        with pytest.raises(
            ValueError, match=r"attends within windows, or to fewer keys than queries.*choose other layers"
        ):
            windowed.look(str(picture(tmp_path / "noise.png")))
    with pytest.raises(OSError, match="nowhere"):
        Looker.load(str(tmp_path / "nowhere"))


def test_pieces_of_byte_level_tokens() -> None:
    tokenizer = byte_tokenizer()
    pieces = pieces_of(tokenizer, [1, *tokenizer("the 狗\n").input_ids, 2])
    assert [piece.text for piece in pieces] == ["<s>", "the", "␣", "狗", "⋯", "⋯", "␊", "</s>"]
    assert [piece.special for piece in pieces] == [True, *[False] * 6, True]


def test_pieces_of_word_pieces() -> None:
    tokenizer = word_tokenizer()
    pieces = pieces_of(tokenizer, tokenizer("dog runs").input_ids)
    assert "".join((" " if piece.starts else "") + piece.text for piece in pieces).strip() == "dog runs"
    assert sum(piece.starts for piece in pieces) == 2
