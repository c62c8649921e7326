"""`regard predict`: arguments, files or standard input; text or JSON; every search."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

SOURCES = ["the dog hears a ball", "a man sees the car", "a bird likes the cat"]


@pytest.fixture
def typed(monkeypatch):
    """Puts bytes on standard input."""

    def put(content: bytes) -> None:
        stream = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", stream)

    return put


def test_arguments_files_and_standard_input_are_alike(regard, model, tmp_path, typed):
    done = regard("predict", model, *SOURCES)
    assert (done.status, done.err) == (0, "")
    assert len(done.out.splitlines()) == 3
    content = "".join(f"{line}\n" for line in SOURCES)
    for number, part in enumerate((SOURCES[:2], SOURCES[2:])):
        (tmp_path / f"{number}.txt").write_text("".join(f"{line}\n" for line in part))
    files = ("--file", tmp_path / "0.txt", "--file", tmp_path / "1.txt")
    assert regard("predict", model, *files).out == done.out
    assert regard("predict", model, SOURCES[0], "--file", tmp_path / "1.txt").out.splitlines() == [
        done.out.splitlines()[0],
        done.out.splitlines()[2],
    ]
    typed(content.encode())
    assert regard("predict", model).out == done.out
    typed(content.encode())
    assert regard("predict", model, "--file", "-").out == done.out


def test_for_programs(regard, model):
    out = regard("predict", model, *SOURCES, "--json", "--n-best", 2).out
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["input"] for row in rows] == SOURCES
    for row in rows:
        scores = [output["score"] for output in row["outputs"]]
        assert len(scores) == 2
        assert scores == sorted(scores, reverse=True)
    plain = regard("predict", model, *SOURCES).out.splitlines()
    assert [row["outputs"][0]["text"] for row in rows] == plain


def test_another_precision_is_near(regard, model):
    words = ("predict", model, *SOURCES, "--search", "greedy", "--max-length", 3, "--json")
    scores = []
    for precision in ("float32", "bfloat16"):
        rows = [json.loads(line) for line in regard(*words, "--precision", precision).out.splitlines()]
        scores.append([row["outputs"][0]["score"] for row in rows])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=0.05)


def test_a_device_that_is_not_there(regard, model, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told = regard("predict", model, SOURCES[0], "--device", "cuda").told("predict")
    assert told == "device is cuda, but torch finds no GPU here: --device cpu"


def test_several_outputs_stand_with_their_scores(regard, model):
    lines = regard("predict", model, SOURCES[0], "--n-best", 5).out.splitlines()
    assert len(lines) == 5, "the beam is made wide enough"
    scores = [float(line[:8]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert lines[0][10:] == regard("predict", model, SOURCES[0], "--width", 5).out.rstrip("\n")


def test_sampling_is_decided_by_its_seed(regard, model):
    words = ("predict", model, SOURCES[0], "--search", "sampling", "--samples", 7, "--temperature", 2.0)
    first = regard(*words, "--seed", 3)
    assert len(first.out.splitlines()) == 7
    assert regard(*words, "--seed", 3).out == first.out
    assert regard(*words, "--seed", 4).out != first.out


def test_sampling_from_the_likeliest_token_is_greedy_search(regard, model):
    greedy = regard("predict", model, *SOURCES, "--search", "greedy").out
    assert regard("predict", model, *SOURCES, "--search", "sampling", "--top-k", 1).out == greedy
    assert regard("predict", model, *SOURCES, "--search", "sampling", "--top-p", 1e-9).out == greedy
    assert regard("predict", model, *SOURCES, "--width", 1).out == greedy


def test_lengths(regard, model):
    short = regard("predict", model, *SOURCES, "--max-length", 2, "--json").out.splitlines()
    long = regard("predict", model, *SOURCES, "--min-length", 13, "--json").out.splitlines()
    for one, other in zip(short, long, strict=True):
        assert len(json.loads(one)["outputs"][0]["text"]) < len(json.loads(other)["outputs"][0]["text"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--samples", "3"], "--samples does nothing in beam search; add --search sampling"),
        (["--top-k", "3"], "--top-k does nothing in beam search; add --search sampling"),
        (["--search", "greedy", "--width", "3"], "--width does nothing in greedy search; add --search beam"),
        (["--search", "sampling", "--n-best", "3"], "--n-best does nothing in sampling search; add --search beam"),
        (["--search", "sampling", "--temperature", "0"], "temperature=0 would always take the likeliest token"),
        (["--width", "0"], "width=0: expected 1 or more"),
        (["--n-best", "5", "--width", "3"], "n_best=5 hypotheses cannot come from a beam of width=3"),
        (["--min-length", "17"], "leave no place for END"),
    ],
)
def test_flags_that_make_no_sense(regard, model, flags, message):
    assert message in regard("predict", model, SOURCES[0], *flags).told("predict")


@pytest.mark.parametrize("flags", [["--wdith", "3"], ["--search", "deep"], ["--width", "wide"]])
def test_flags_that_are_not_there(regard, model, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        regard("predict", model, SOURCES[0], *flags)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("regard predict: error: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a man\n\na dog\n", "line 2 is empty"),
        (b"a man\nm\xfcde\n", "line 2, byte 7 of the file is not"),
    ],
)
def test_texts_that_cannot_be_read(regard, model, tmp_path, typed, content, message):
    (tmp_path / "texts").write_bytes(content)
    assert message in regard("predict", model, "--file", tmp_path / "texts").told("predict")
    typed(content)
    told = regard("predict", model).told("predict")
    assert told.startswith("standard input")
    assert message in told


def test_a_file_that_is_not_there(regard, model, tmp_path):
    assert "there is no file" in regard("predict", model, "--file", tmp_path / "none").told("predict")


def test_a_new_process_needs_no_engine_to_predict(model):
    code = (
        "import sys\n"
        "from regard.cli.main import main\n"
        f"status = main(['predict', {str(model)!r}, '--search', 'greedy'])\n"
        "assert not {'lightning', 'matplotlib', 'rich', 'sacrebleu', 'babel'} & set(sys.modules)\n"
        "sys.exit(status)\n"
    )
    text = "a bird sees a house\nthe dog likes the car\n"
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
