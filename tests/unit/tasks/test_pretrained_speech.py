"""Whisper and wav2vec2 as they are, of random weights: words with times, on Regard's attention, from safetensors."""

import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from tests.unit.hub.saved import saved, sound

from regard.cli.main import main
from regard.data.sounds import write_sound
from regard.decoding import Beam, Greedy, Sampling
from regard.tasks.speech import Recipe, load_pretrained, train
from regard.tasks.speech.pretrained import _parts

pytestmark = pytest.mark.usefixtures("quiet_transformers")


@pytest.fixture
def whisper(tmp_path: Path) -> str:
    folder = saved("whisper", tmp_path / "whisper")
    model = hf.WhisperForConditionalGeneration.from_pretrained(folder)
    config = hf.GenerationConfig.from_model_config(model.config)
    config.alignment_heads, config.max_new_tokens, config.no_timestamps_token_id = [[0, 0]], 6, 96
    config.save_pretrained(folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_from_model_config": False}))
    return f"hf:{folder}"


@pytest.fixture
def wav2vec2(tmp_path: Path) -> str:
    folder = tmp_path / "wav2vec2"
    folder.mkdir()
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJ"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    torch.manual_seed(0)
    config = hf.Wav2Vec2Config(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    hf.Wav2Vec2ForCTC(config).save_pretrained(folder)
    tokenizer = hf.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    hf.Wav2Vec2Processor(hf.Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize("name", ["whisper", "wav2vec2"])
def test_words_and_their_times(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    transcriber = load_pretrained(request.getfixturevalue(name))
    path = sound(tmp_path / "tone.wav", seconds=0.8)
    for options in (None, Greedy(), Beam(width=2)):
        ((output,),) = transcriber.predict([str(path)], options)
        assert output.name == "tone.wav"
        assert output.text == " ".join(word.text for word in output.words)
        for word in output.words:
            assert 0.0 <= word.start <= word.end <= 1.0
    with pytest.raises(ValueError, match="does not draw what it hears"):
        list(transcriber.predict([str(path)], Sampling()))
    assert transcriber.model.config._attn_implementation == "regard"


@pytest.mark.parametrize("name", ["whisper", "wav2vec2"])
def test_the_commands_run_it_as_it_is(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = request.getfixturevalue(name)
    path = sound(tmp_path / "tone.wav", seconds=0.5)
    (tmp_path / "test.csv").write_text("audio,text\ntone.wav,A TONE\n")
    assert main(["predict", given, str(path), "--task", "speech"]) == 0
    assert capsys.readouterr().out.startswith("tone.wav   ")
    assert main(["evaluate", given, "--task", "speech", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("WER ")
    assert main(["evaluate", given, "--task", "speech"]) == 1
    assert "a pretrained model has no data of its own: add --data DIR" in capsys.readouterr().err


def test_what_it_attends_to_can_be_looked_at(whisper: str, tmp_path: Path) -> None:
    look = load_pretrained(whisper).look(str(sound(tmp_path / "tone.wav")))
    assert look.layers


def test_a_long_recording_is_cut_where_it_is_quiet(tmp_path: Path) -> None:
    rate = 1000
    speech = torch.randn(70 * rate)
    for second in (20, 28, 45):
        speech[second * rate : second * rate + 500] = 0.0
    parts = _parts(speech, rate)
    assert all(end - start <= 30 * rate for start, end in parts)
    assert [end for _, end in parts[:-1]] == [pytest.approx(28.25 * rate, abs=30), pytest.approx(45.25 * rate, abs=30)]
    assert _parts(speech[: 29 * rate], rate) == [(0, 29 * rate)]


def test_it_is_not_trained_further(whisper: str, tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", torch.zeros(16_000), 16_000)
    with pytest.raises(ValueError, match="a pretrained recognizer is not trained further here: regard predict hf:"):
        train(Recipe(data=str(tmp_path), start=whisper), tmp_path / "run")
