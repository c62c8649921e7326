"""COCO's files: read, and checked."""

import json

import pytest

from regard.data.coco import Coco, coco_file

GOOD = {
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}],
    "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 9}, {"id": 2, "image_id": 7, "category_id": 4}],
}


def test_what_a_file_says(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(GOOD))
    path = coco_file(tmp_path, "train")
    coco = Coco.read(path)
    assert list(coco.pictures.items()) == [(3, "b.jpg"), (7, "a.jpg")]
    assert list(coco.categories.values()) == ["cat", "dog"]
    assert coco.classes == {4: 0, 9: 1}
    assert [len(coco.annotations[number]) for number in (3, 7)] == [0, 2]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "b.jpg").touch()
    assert coco.file(3, [tmp_path, tmp_path / "here"]) == tmp_path / "here" / "b.jpg"
    assert coco.file(7, [tmp_path, tmp_path / "here"]) == tmp_path / "a.jpg", "where it was looked for first"


@pytest.mark.parametrize(
    "place", ["annotations/instances_val.json", "annotations/val.json", "val/_annotations.coco.json"]
)
def test_where_a_file_may_be(tmp_path, place):
    assert coco_file(tmp_path, "val") is None
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    assert coco_file(tmp_path, "val") == path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": GOOD["images"] * 2}, "gives the number 7, 3 to more than one picture"),
        ({"categories": [{"id": 9, "name": "dog"}] * 2}, "gives the number 9 to more than one category"),
        ({"annotations": GOOD["annotations"][:1] * 2}, "gives the number 1 to more than one annotation"),
        (
            {"annotations": [{"image_id": 5, "category_id": 9}]},
            "has annotations of the picture 5, which",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5}]},
            "has annotations of the category 5, which",
        ),
        ({"annotations": [{"image_id": 7}]}, "is no COCO file of annotations: it lacks 'category_id'"),
        ({"images": None}, "is no COCO file of annotations: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    (tmp_path / "train.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError, match=rf"train\.json {message}"):
        Coco.read(tmp_path / "train.json")


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(ValueError, match=r"train\.json is no COCO file of annotations"):
        Coco.read(tmp_path / "train.json")
