"""`regard look`: one page for all inputs, and a picture of each."""

import pytest
from tests.unit.hub.saved import TEXT, saved

PNG = b"\x89PNG\r\n\x1a\n"


def test_one_input(regard, model, tmp_path):
    page = tmp_path / "seen.html"
    done = regard("look", model, "a man <b>sees</b> the car", "-o", page)
    assert (done.status, done.out) == (0, "")
    assert done.err == f"wrote {page}\nwrote {tmp_path / 'seen.png'}\n"
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") or text.lower().startswith("<!doctype html>")
    assert "<b>sees" not in text, "texts are escaped"
    assert "decoder.layers.0" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert (tmp_path / "seen.png").read_bytes().startswith(PNG)


def test_several_inputs_stand_on_one_page(regard, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = regard("look", model, "a man", "the dog")
    assert done.err.splitlines() == ["wrote attention.html", "wrote attention-1.png", "wrote attention-2.png"]
    text = (tmp_path / "attention.html").read_text(encoding="utf-8")
    assert model.name in text


def test_the_page_is_not_put_where_the_picture_goes(regard, model, tmp_path):
    told = regard("look", model, "a man", "-o", tmp_path / "seen.png").told("look")
    assert told.endswith(f"give -o {tmp_path / 'seen.html'}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(regard, model, tmp_path):
    assert "No such file or directory" in regard("look", model, "a man", "-o", tmp_path / "no" / "x.html").told("look")


def test_something_to_look_at(regard, model, capsys):
    with pytest.raises(SystemExit) as stop:
        regard("look", model)
    assert stop.value.code == 2
    assert "there is nothing to look at: give an input, or --file FILE" in capsys.readouterr().err


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return saved("gpt2", tmp_path_factory.mktemp("models") / "small-gpt2")


def test_a_model_of_transformers(regard, gpt2, tmp_path):
    page, text = tmp_path / "seen.html", tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    done = regard("look", f"hf:{gpt2}", "--file", text, "--layers", "*.h.1.*", "--new-tokens", "3", "-o", page)
    assert (done.status, done.out) == (0, ""), done.err
    html = page.read_text(encoding="utf-8")
    assert "small-gpt2" in html
    assert "transformer.h.1.attn" in html
    assert "transformer.h.0.attn" not in html
    assert (tmp_path / "seen.png").read_bytes().startswith(PNG)


def test_a_model_that_is_nowhere(regard, tmp_path):
    assert "nowhere" in regard("look", f"hf:{tmp_path}/nowhere", "a text").told("look")


def test_flags_of_transformers_models_are_for_them(regard, model):
    told = regard("look", model, "a man", "--new-tokens", "3").told("look")
    assert told == f"--new-tokens is for models of transformers, hf:ID_OR_PATH; {model} is a run directory"
