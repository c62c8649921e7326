"""Finding pictures and their boxes in the folders that people have, and what is wrong with them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from regard.data.boxed import read_boxed, survey_boxes

SIZE = (60, 40)  # width and height


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (100, 0, 0)).save(path)


def coco(folder: Path, annotations: list[dict]) -> Path:
    for name in "ab":
        picture(folder / "images" / "train" / f"{name}.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": annotations,
    }
    (folder / "train.json").write_text(json.dumps(content))
    return folder


def voc(folder: Path, *things: tuple[str, tuple[object, ...]]) -> Path:
    picture(folder / "JPEGImages" / "a.jpg")
    for name in ("ImageSets/Main", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
        f"<ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in things
    )
    (folder / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


def yolo(folder: Path, text: str, names: str | None = None) -> Path:
    picture(folder / "images" / "train" / "a.png")
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(text)
    if names is not None:
        (folder / "classes.txt").write_text(names)
    return folder


def test_coco(tmp_path):
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 5, 20, 10]},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5]},
        {"id": 3, "image_id": 7, "category_id": 4, "bbox": [0, 0, 50, 30], "iscrowd": 1},
    ]
    looked = survey_boxes(read_boxed(coco(tmp_path, annotations), "train"))
    assert looked.pictures.classes == ("cat", "dog")
    assert [path.name for path in looked.pictures.pictures] == ["b.png", "a.png"]
    assert looked.things.tolist() == [1, 1]
    assert looked.empty == 1
    scene = looked.pictures.scene(1)
    assert scene.boxes.tolist() == [[10, 5, 30, 15], [0, 0, 5, 5]]
    assert scene.labels.tolist() == [1, 0]
    torch.testing.assert_close(looked.sides, torch.tensor([10 / 60, 5 / 60]))


def test_pascal_voc(tmp_path):
    looked = survey_boxes(read_boxed(voc(tmp_path, ("dog", (3, 4, 30, 20)), ("cat", (0, 0, 60, 40))), "train"))
    assert looked.pictures.classes == ("cat", "dog")
    scene = looked.pictures.scene(0)
    assert scene.boxes.tolist() == [[3, 4, 30, 20], [0, 0, 60, 40]]
    assert scene.labels.tolist() == [1, 0]


def test_yolo(tmp_path):
    found = read_boxed(yolo(tmp_path, "1 0.5 0.5 0.5 0.25\n\n0 0.1 0.25 0.2 0.5\n", "cat\ndog\n"), "train")
    assert found.classes == ("cat", "dog")
    scene = found.scene(0)
    torch.testing.assert_close(scene.boxes, torch.tensor([[15.0, 15, 45, 25], [0, 0, 12, 20]]))
    assert scene.labels.tolist() == [1, 0]


def test_yolos_classes_are_named_by_a_file_or_by_numbers(tmp_path):
    folder = yolo(tmp_path, "2 0.5 0.5 0.5 0.25\n")
    assert read_boxed(folder, "train").classes == ("0", "1", "2")
    (folder / "data.yaml").write_text("names: {0: cat, 1: dog, 2: cow}\n")
    assert read_boxed(folder, "train").classes == ("cat", "dog", "cow")
    (folder / "data.yaml").write_text("names: [a, b, c]\n")
    assert read_boxed(folder, "train").classes == ("a", "b", "c")
    (folder / "data.yaml").write_text("classes: 3\n")
    with pytest.raises(ValueError, match=r"data\.yaml does not give the classes under `names`"):
        read_boxed(folder, "train")
    (folder / "labels" / "train" / "a.txt").unlink()
    (folder / "data.yaml").unlink()
    assert len(read_boxed(folder, "train", classes=["x"]).scene(0).boxes) == 0, "a picture without a text has no things"


def test_boxes_are_cut_and_those_of_nothing_are_left_out(tmp_path):
    things = [(-5, -5, 20, 20), (50, 30, 99, 99), (7, 7, 7, 7), (70, 10, 90, 20), (5, 5, 5.5, 20)]
    looked = survey_boxes(read_boxed(voc(tmp_path, *(("dog", box) for box in things)), "train"))
    assert looked.pictures.scene(0).boxes.tolist() == [[0, 0, 20, 20], [50, 30, 60, 40]]
    assert looked.outside == 3
    assert looked.things.tolist() == [2]


BROKEN = {
    "an unknown class": (
        lambda folder: voc(folder, ("cow", (1, 1, 9, 9))),
        r"a\.xml has a box of 'cow', and the classes are dog, cot; did you mean 'cot'\?",
    ),
    "no number": (
        lambda folder: voc(folder, ("dog", ("one", 1, 9, 9))),
        r"a\.xml is no annotation of Pascal VOC: could not convert",
    ),
    "no box": (
        lambda folder: coco(folder, [{"id": 5, "image_id": 7, "category_id": 9}]),
        r"picture a\.png: annotation 5 has no bbox of four numbers",
    ),
    "a short line": (
        lambda folder: yolo(folder, "1 0.5 0.5\n"),
        r"a\.txt, line 1 must be a class and four numbers, such as: 0 0\.5",
    ),
    "pixels": (
        lambda folder: yolo(folder, "1 30 20 10 10\n"),
        r"a\.txt, line 1 has pixels, and YOLO's numbers are shares of the picture",
    ),
    "a class too many": (
        lambda folder: yolo(folder, "2 0.5 0.5 0.1 0.1\n"),
        r"a\.txt, line 1 is of class 2, and the classes are 0 to 1",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_is_named(tmp_path, kind):
    breaks, message = BROKEN[kind]
    classes = None if kind == "no box" else ["dog", "cot"]
    found = read_boxed(breaks(tmp_path), "train", classes=classes)
    with pytest.raises(ValueError, match=message + r".*To go on without such pictures: --files\.broken skip"):
        survey_boxes(found)


def test_what_cannot_be_read_is_left_out_if_told(tmp_path):
    folder = coco(tmp_path, [{"id": 5, "image_id": 3, "category_id": 9, "bbox": [1, 1, 9, 9]}])
    (folder / "images" / "train" / "a.png").write_text("no picture")
    looked = survey_boxes(read_boxed(folder, "train"), skip=True)
    assert [path.name for path in looked.pictures.pictures] == ["b.png"]
    assert "a.png is no picture" in looked.problems[0]
    (folder / "images" / "train" / "b.png").unlink()
    with pytest.raises(ValueError, match="And 1 more cannot be read"):
        survey_boxes(read_boxed(folder, "train"), skip=True)


def test_missing_files_are_named(tmp_path):
    folder = voc(tmp_path, ("dog", (1, 1, 9, 9)))
    (folder / "Annotations" / "a.xml").unlink()
    with pytest.raises(ValueError, match=r"there is no file .*a\.xml"):
        survey_boxes(read_boxed(folder, "train", classes=["dog"]))
    with pytest.raises(ValueError, match=r"has no 'test': looked for annotations/instances_test\.json.*\(YOLO;"):
        read_boxed(folder, "test")
    (tmp_path / "y" / "images" / "train").mkdir(parents=True)
    (tmp_path / "y" / "labels" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no pictures"):
        read_boxed(tmp_path / "y", "train")
