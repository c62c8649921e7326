"""Speech recognition, from recordings and texts to what is heard, when, scores and looks."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from tests.tasks.quick import quick

from regard.data.sound_augmentation import SoundAugmentation
from regard.data.sounds import read_sound, write_sound
from regard.decoding import Beam, Greedy
from regard.explain import Look, page
from regard.tasks.morse import RATE, key
from regard.tasks.speech import Recipe, Transcriber, load, resume, train
from regard.tasks.speech.application import read
from regard.tasks.speech.recipe import Model
from regard.tasks.speech.recognition import Recognition
from regard.tasks.sub_words import SubWords
from regard.training import RunDirectory, TrainingOptions
from regard.training.checkpoint import load_checkpoint

NOTHING = SoundAugmentation(speed=[1.0], bands=0, gaps=0)
KEYED = [key(Random(number), words=1) for number in range(8)]


def tiny(folder: Path, **options) -> Recipe:
    """A recipe of a few ten thousand parameters."""
    settings = {
        "sub_words": SubWords(vocabulary=45),
        "rate": RATE,
        "bands": 16,
        "model": Model(dim=32, layers=1, decoder_layers=1, heads=2, feed_forward=48, kernel=7, dropout=0.0),
        "augmentation": NOTHING,
        "batch": 20.0,
        "ctc": 0.5,
        "label_smoothing": 0.0,
        "training": TrainingOptions(
            epochs=100,
            learning_rate=1e-2,
            warmup_steps=10,
            validate_every=100,
            average=0,
            device="cpu",
            precision="float32",
        ),
        "decoding": Beam(width=3, length_penalty=0.0, max_length=30),
        "decoding_ctc": 0.5,
        **options,
    }
    return Recipe(data=str(folder), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight keyed recordings, which are training, validation and test at once."""
    path = tmp_path_factory.mktemp("keyed")
    for number, keyed in enumerate(KEYED):
        write_sound(path / f"{number}.wav", keyed.sound, RATE)
    for split in ("train", "val", "test"):
        with open(path / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [("audio", "text"), *((f"{n}.wav", keyed.text) for n, keyed in enumerate(KEYED))]
            )
    return path


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Transcriber:
    """A model that was trained on the eight recordings until it knows them, saved and loaded."""
    with quick():
        return load(train(tiny(folder), tmp_path_factory.mktemp("runs") / "run"))


def test_eight_recordings_are_learned(trained):
    found = trained.evaluate()
    scores = {score.name: score.value for score in found.scores}
    assert scores["WER"] < 10
    assert scores["CER"] < 5
    assert len(found.outputs) == 8
    assert "95% of word error rates" in found.table


def test_both_searches_write_what_was_said_and_when(trained, folder):
    for options in (None, Greedy()):
        for (output,), keyed in zip(
            trained.predict([str(folder / f"{number}.wav") for number in range(8)], options), KEYED, strict=True
        ):
            if output.text != keyed.text:
                continue
            assert [word.text for word in output.words] == keyed.text.split()
            ends = [0.0]
            for word in output.words:
                assert ends[-1] <= word.start < word.end <= len(keyed.sound) / RATE + 0.04
                ends.append(word.end)


def test_records_are_for_programs(trained, folder):
    ((output,),) = trained.predict([str(folder / "0.wav")])
    record = json.loads(json.dumps(output.record()))
    assert record["text"] == output.text
    assert [word["text"] for word in record["words"]] == output.text.split()
    assert str(output) == f"0.wav   {output.text}"


def test_a_recording_is_heard_alike_beside_others(trained, folder):
    files = [str(folder / f"{number}.wav") for number in range(8)]
    together = [outputs[0].text for outputs in trained.predict(files)]
    assert together == [outputs[0].text for path in files for outputs in trained.predict([path])]


def test_several_hypotheses(trained, folder):
    (outputs,) = trained.predict([str(folder / "0.wav")], Beam(width=4, n_best=3, length_penalty=0.0))
    scores = [output.hypothesis.score for output in outputs]
    assert len(outputs) == 3
    assert scores == sorted(scores, reverse=True)


def test_a_look_shows_where_each_token_is_heard(trained, folder):
    look = trained.look(str(folder / "0.wav"))
    assert isinstance(look, Look)
    names = {layer.name: (layer.queries, layer.keys) for layer in look.layers}
    assert names["labels (CTC)"] == ("text", "sound")
    assert names["encoder.layers.0.attention"] == ("sound", "sound")
    assert names["decoder.layers.0.cross"] == ("text", "sound")
    spikes = look.layers[-1].map()
    torch.testing.assert_close(spikes.sum(-1), torch.ones(len(spikes)))
    places = spikes.argmax(-1)
    assert (places[1:] >= places[:-1]).all(), "one after the other"
    written = page([look], title="t")
    assert "labels (CTC)" in written
    assert '<audio controls src="data:audio/flac;base64,' in written
    assert "; media-src data:;" in written


def test_ctc_alone(folder, tmp_path):
    recipe = tiny(folder, ctc=1.0, model=Model(dim=16, layers=1, decoder_layers=0, heads=2, feed_forward=16, kernel=5))
    with quick():
        run = train(replace(recipe, training=replace(recipe.training, epochs=1)), tmp_path / "run")
    transcriber = load(run)
    assert transcriber.model.decoder is None
    assert len(transcriber.evaluate().outputs) == 8
    assert transcriber.look(str(folder / "0.wav")).layers[-1].name == "labels (CTC)"


def test_listen_attend_and_spell(folder, tmp_path):
    recipe = tiny(folder, model=Model(architecture="las", dim=32, layers=1, dropout=0.0))
    with quick():
        run = train(replace(recipe, training=replace(recipe.training, epochs=3, validate_every=3)), tmp_path / "run")
    transcriber = load(run)
    assert len(transcriber.evaluate().outputs) == 8
    look = transcriber.look(str(folder / "0.wav"))
    assert [(layer.name, layer.queries, layer.keys) for layer in look.layers] == [
        ("decoder", "text", "sound"),
        ("labels (CTC)", "text", "sound"),
    ]


def test_a_run_goes_on_where_it_stopped(folder, tmp_path):
    recipe = tiny(folder)
    options = replace(recipe.training, epochs=2, log_every=1, checkpoint_minutes=1e-9)
    with quick():
        whole = train(replace(recipe, training=options), tmp_path / "whole")
        part = train(replace(recipe, training=replace(options, epochs=1)), tmp_path / "part")
        text = part.config_path.read_text().replace("epochs: 1\n", "epochs: 2\n")
        part.config_path.write_text(text)
        resume(RunDirectory.open(part.path))
    first, second = (load_checkpoint(run.checkpoint_path)["model"] for run in (whole, part))
    assert first.keys() == second.keys()


def test_a_flat_start_is_for_the_first_epochs(folder):
    def losses(recipe: Recipe) -> list[float]:
        recorded, seconds, _ = read(recipe, "train")
        tokenizers = recipe.sub_words.learn(recorded.texts(), [])
        task = Recognition(recipe, tokenizers, recorded, seconds, recorded, seconds)
        task.model.eval()
        found, batch = [], next(iter(task.batches))
        for epoch in range(3):
            task.batches.set_epoch(epoch)
            found.append(task.loss(batch).item())
        return found

    flat, plain = losses(tiny(folder, flat_start=2)), losses(tiny(folder))
    assert flat[0] == flat[1] > plain[0], "one way is less likely than all"
    assert flat[2] == plain[2]


def test_what_cannot_be_is_said_before_training(folder, tmp_path):
    with pytest.raises(ValueError, match=r"step is in seconds, .* from 0\.001 to 0\.025; got 20"):
        tiny(folder, step=20.0)
    with pytest.raises(ValueError, match="flat_start is 0 epochs or more; got -1"):
        tiny(folder, flat_start=-1)
    with pytest.raises(ValueError, match="with --ctc 1 the decoder learns nothing"):
        tiny(folder, ctc=1.0)
    with pytest.raises(ValueError, match="batch and longest are seconds, more than 0"):
        tiny(folder, batch=0.0)
    with pytest.raises(ValueError, match=r"0\.wav has .* longer than longest=0\.5: cut it into parts"):
        train(tiny(folder, longest=0.5), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sounds_that_cannot_be_read_are_named(trained, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"text\.wav is no sound"):
        list(trained.predict([str(tmp_path / "text.wav")]))
    write_sound(tmp_path / "short.wav", torch.zeros(100), RATE)
    with pytest.raises(ValueError, match=r"short\.wav has 0\.013 seconds, shorter than one frame \(0\.025\)"):
        list(trained.predict([str(tmp_path / "short.wav")]))


def test_a_long_recording_is_heard_in_parts(trained, folder, tmp_path):
    """Cut in its silences, with the seconds of the whole; what is said in the parts is what each says alone."""
    longest = 1.1 * max(len(keyed.sound) for keyed in KEYED) / RATE
    short = Transcriber(trained.model, trained.tokenizers, replace(trained.recipe, longest=longest))
    whole = torch.cat([part for keyed in KEYED for part in (keyed.sound, torch.zeros(2 * RATE))])
    write_sound(tmp_path / "whole.wav", whole, RATE)
    for options in (None, Greedy()):
        (outputs,) = short.predict([str(tmp_path / "whole.wav")], options)
        (output,) = outputs
        assert len(short._parts(short.front(whole))) > 3
        assert [word.text for word in output.words] == output.text.split()
        times = [time for word in output.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[-1] <= len(whole) / RATE
        assert times[-1] > longest, "seconds of the whole"
    with pytest.raises(ValueError, match=r"whole\.wav is longer than the .* seconds that are heard at a time: cut it"):
        short.look(str(tmp_path / "whole.wav"))


def test_subtitles_are_written(trained, folder):
    ((output,),) = trained.predict([str(folder / "0.wav")])
    files = output.files()
    assert files[".vtt"].startswith(b"WEBVTT\n\n00:00:")
    assert files[".srt"].startswith(b"1\n00:00:")


def test_a_stream_of_one_chunk_hears_what_the_likeliest_labels_say(trained, folder):
    for number in range(3):
        sound = read_sound(folder / f"{number}.wav", RATE)
        stream = trained.stream(chunk=60.0, pause=60.0)
        words = [*stream.feed(sound), *stream.finish()]
        ((output,),) = trained.predict([str(folder / f"{number}.wav")], Greedy())
        assert [word.text for word in words] == output.text.split()


def test_a_stream_in_chunks(trained, folder):
    sound = torch.cat([read_sound(folder / f"{number}.wav", RATE) for number in range(8)])
    stream = trained.stream(chunk=0.8, behind=4.0, ahead=0.4)
    words = [word for piece in sound.split(1000) for word in stream.feed(piece)] + list(stream.finish())
    assert words
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(sound) / RATE + 0.04


def test_silence_and_other_rates_are_heard(trained, tmp_path):
    write_sound(tmp_path / "still.wav", torch.zeros(RATE), RATE)
    write_sound(tmp_path / "fast.wav", 0.1 * torch.randn(44_100), 44_100)
    found = list(trained.predict([str(tmp_path / "still.wav"), str(tmp_path / "fast.wav")]))
    assert len(found) == 2
