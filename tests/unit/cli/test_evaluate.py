"""`regard evaluate`: the metrics of the field, for people, for programs, and the outputs they come from."""

import json
import shutil

NAMES = ["BLEU", "BLEU, lower-cased", "BLEU, lower-cased, Moses-tokenised", "chrF", "exact match"]


def test_for_people(regard, model):
    done = regard("evaluate", model)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line[:34].strip() for line in lines] == NAMES
    for line in lines[:4]:
        assert 0 <= float(line[34:41]) <= 100
        assert "version:" in line


def test_for_programs_and_with_its_outputs(regard, model, tmp_path):
    path = tmp_path / "outputs.de"
    done = regard("evaluate", model, "--json", "--output", path)
    scores = json.loads(done.out)
    assert list(scores) == NAMES
    assert set(scores["BLEU"]) == {"value", "signature"}
    outputs = path.read_text(encoding="utf-8").splitlines()
    assert len(outputs) == 5


def test_the_outputs_are_those_of_predict(regard, model, data, tmp_path):
    regard("evaluate", model, "--output", tmp_path / "outputs.de")
    predicted = regard("predict", model, "--file", data / "test.en").out
    assert (tmp_path / "outputs.de").read_text(encoding="utf-8") == predicted


def test_other_data_another_part_and_another_search(regard, model, data, tmp_path):
    shutil.copy(data / "val.en", tmp_path / "mine.en")
    shutil.copy(data / "val.de", tmp_path / "mine.de")
    mine = regard("evaluate", model, "--data", tmp_path, "--split", "mine", "--json").out
    assert mine == regard("evaluate", model, "--split", "val", "--json").out
    greedy = regard("evaluate", model, "--split", "val", "--json", "--search", "greedy")
    narrow = regard("evaluate", model, "--split", "val", "--json", "--width", "1")
    assert greedy.status == narrow.status == 0
    assert json.loads(greedy.out) == json.loads(narrow.out), "a beam of one is greedy search"


def test_what_is_not_there(regard, model, tmp_path):
    told = regard("evaluate", model, "--data", tmp_path).told("evaluate")
    assert "has no 'test': looked for test.en with test.de" in told
    assert "has no 'tst'" in regard("evaluate", model, "--split", "tst").told("evaluate")


def test_scores_are_not_lost_where_the_outputs_cannot_be_written(regard, model, tmp_path):
    done = regard("evaluate", model, "--output", tmp_path / "none" / "outputs.de")
    assert done.status == 1
    assert [line[:34].strip() for line in done.out.splitlines()] == NAMES
    assert done.err.startswith("regard evaluate: ")
    assert "No such file or directory" in done.err
    assert done.err.count("\n") == 1
