"""Finding captioned pictures in the folders that people have, and what is wrong with them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from regard.data.captioned import read_captioned, survey_captioned


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
    return folder


def said(found) -> dict[str, tuple[str, ...]]:
    return {path.name: given for path, given in zip(found.pictures, found.captions, strict=True)}


EXPECTED = {"a.jpg": ("A dog runs .", "One dog ."), "b.jpg": ("A cat .",)}


def test_coco(tmp_path):
    pictures(tmp_path, "images/train/a.jpg", "images/train/b.jpg", "images/train/c.jpg")
    content = {
        "images": [{"id": 5, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 9, "file_name": "c.jpg"}],
        "annotations": [
            {"image_id": 5, "caption": "A dog runs ."},
            {"image_id": 2, "caption": "A cat ."},
            {"image_id": 5, "caption": " One\ndog . "},
            {"image_id": 2, "caption": "  "},
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_train.json").write_text(json.dumps(content))
    found = read_captioned(tmp_path, "train")
    assert said(found) == EXPECTED
    assert found.odd == (
        "1 pictures have no caption, and are left out: c.jpg",
        "1 captions have no words, and are left out",
    )
    assert survey_captioned(found) == (found, ())


def test_karpathys_splits(tmp_path):
    pictures(tmp_path, "images/here/a.jpg", "images/b.jpg", "images/c.jpg")
    content = {
        "images": [
            {"filename": "a.jpg", "filepath": "here", "split": "train",
             "sentences": [{"raw": "A dog runs ."}, {"raw": "One dog ."}]},
            {"filename": "b.jpg", "split": "restval", "sentences": [{"raw": "A cat ."}]},
            {"filename": "c.jpg", "split": "val", "sentences": [{"raw": "A cow ."}]},
        ]
    }  # fmt: skip
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps(content))
    assert said(read_captioned(tmp_path, "train")) == EXPECTED
    assert said(read_captioned(tmp_path, "dev")) == {"c.jpg": ("A cow .",)}
    survey_captioned(read_captioned(tmp_path, "train"))


def test_flickr(tmp_path):
    pictures(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "Flickr8k.token.txt").write_text(
        "a.jpg#0\tA dog runs .\nb.jpg#0\tA cat .\na.jpg#1\tOne dog .\nz.jpg.1#0\tNo picture of a split .\n"
    )
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "Flickr_8k.devImages.txt").write_text("b.jpg\nq.jpg\n")
    assert said(read_captioned(tmp_path, "train")) == EXPECTED
    found = read_captioned(tmp_path, "val")
    assert said(found) == {"b.jpg": ("A cat .",)}
    assert found.odd == ("1 pictures have no caption, and are left out: q.jpg",)
    with pytest.raises(ValueError, match="does not say which pictures are of 'test': put their names, a line each"):
        read_captioned(tmp_path, "test")
    (tmp_path / "Flickr8k.token.txt").write_text("a.jpg#0 A dog runs .\n")
    with pytest.raises(ValueError, match=r"token\.txt, line 1 must be a name, # and a number, a tab and a caption"):
        read_captioned(tmp_path, "train")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_records(tmp_path, ending):
    pictures(tmp_path, "images/a.jpg", "images/b.jpg")
    if ending == "jsonl":
        rows = [{"file": "a.jpg", "text": ["A dog runs .", "One dog ."]}, {"file": "b.jpg", "text": "A cat ."}]
        content = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        tab = "\t" if ending == "tsv" else ","
        rows = [("file", "text"), ("a.jpg", "A dog runs ."), ("b.jpg", "A cat ."), ("a.jpg", "One dog .")]
        content = "".join(tab.join(row) + "\n" for row in rows)
    (tmp_path / f"train.{ending}").write_text(content)
    assert said(read_captioned(tmp_path, "train", picture="file", caption="text")) == EXPECTED


def test_other_alphabets_and_long_captions(tmp_path):
    pictures(tmp_path, "images/a.jpg")
    captions = ["Собака бежит по снегу", "犬が走る", "word " * 400]
    (tmp_path / "train.jsonl").write_text(json.dumps({"image": "a.jpg", "caption": captions}), encoding="utf-8")
    assert said(read_captioned(tmp_path, "train")) == {"a.jpg": (*captions[:2], ("word " * 400).strip())}


def test_what_cannot_be_read_stops_or_is_left_out(tmp_path):
    pictures(tmp_path, "images/a.jpg")
    rows = [{"image": "a.jpg", "caption": "A dog ."}, {"image": "b.jpg", "caption": "A cat ."}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_captioned(tmp_path, "train")
    with pytest.raises(
        ValueError, match=r"there is no file .*b\.jpg.*To go on without such pictures: --files\.broken skip"
    ):
        survey_captioned(found)
    kept, problems = survey_captioned(found, skip=True)
    assert said(kept) == {"a.jpg": ("A dog .",)}
    assert "b.jpg" in problems[0]


def test_where_nothing_is_found_it_is_said_what_was_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"has no 'train': looked for annotations/captions_train\.json.*\*token\.txt"):
        read_captioned(tmp_path, "train")
    (tmp_path / "train.jsonl").write_text('{"image": "a.jpg", "caption": " "}\n')
    with pytest.raises(ValueError, match=r"train\.jsonl has no captions: there is nothing to learn"):
        read_captioned(tmp_path, "train")
    (tmp_path / "train.jsonl").write_text('{"image": "a.jpg", "caption": 5}\n')
    with pytest.raises(ValueError, match="'caption' must be a text or a list of texts"):
        read_captioned(tmp_path, "train")
    (tmp_path / "train.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="is no COCO file of captions: it lacks 'annotations'"):
        read_captioned(tmp_path, "train")
