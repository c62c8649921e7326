"""Finding pictures and their masks in the folders that people have, and what is wrong with them."""

import json
import re
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from regard.data.scene import IGNORE
from regard.data.segmented import Classes, read_segmented, survey

SIZE = (6, 9)  # width and height


def picture(path: Path, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (shade, 0, 0)).save(path)


def mask(path: Path, number: int = 1, size: tuple[int, int] = SIZE) -> None:
    """All zeros but for the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = numpy.zeros((size[1], size[0]), dtype=numpy.uint8)
    numbers[0] = number
    Image.fromarray(numbers).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures of two classes."""
    for number in range(3):
        picture(tmp_path / "images" / "train" / f"{number}.jpg", number)
        mask(tmp_path / "masks" / "train" / f"{number}.png")
    return tmp_path


def test_two_folders(folder):
    found, counts, problems = survey(read_segmented(folder, "train"))
    assert [path.name for path in found.pictures] == ["0.jpg", "1.jpg", "2.jpg"]
    assert found.classes.names == ("class 0", "class 1")
    assert counts.tolist() == [3 * 48, 3 * 6]
    assert problems == []
    scene = found.scene(1)
    assert scene.size == (9, 6)
    assert scene.mask[0].tolist() == [1] * 6
    named = read_segmented(folder, "train", classes=["ground", "sky"], ignore=1)
    assert survey(named)[0].classes.names == ("ground", "sky")
    assert survey(named)[1].tolist() == [3 * 48, 0]
    assert named.scene(1).mask[0].tolist() == [IGNORE] * 6


def test_folders_of_other_names(folder):
    (folder / "images" / "train").rename(folder / "train")
    (folder / "masks" / "train").rename(folder / "trainannot")
    found = read_segmented(folder, "train", pictures="{split}", masks="{split}annot")
    assert len(survey(found)[0]) == 3


def test_classes_are_named_by_a_file(folder):
    (folder / "class_dict.csv").write_text("name,r,g,b\nground,0,0,0\nthe sky,10,20,30\n")
    classes = read_segmented(folder, "train").classes
    assert classes == Classes(names=("ground", "the sky"), colours={(0, 0, 0): 0, (10, 20, 30): 1})
    (folder / "classes.txt").write_text("ground\nsky\n")
    assert read_segmented(folder, "train").classes == Classes(names=("ground", "sky"))
    ignoring = Classes.of(["sky 1 2 3", "ignore 0 0 0", "road 4 5 6"], "here")
    assert ignoring == Classes(names=("sky", "road"), colours={(1, 2, 3): 0, (0, 0, 0): IGNORE, (4, 5, 6): 1})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["sky", "sky"], "here: each class needs a name of its own, such as: road 128 64 128; got 'sky'"),
        (["sky 1 2 3", "road 1 2 3"], "here: each class needs a colour of its own, 0 to 255; got 'road 1 2 3'"),
        (["sky 1 2 300"], "here: each class needs a colour of its own"),
        (["sky 1 2 3", "road"], "here: give all classes a colour, or none"),
    ],
)
def test_names_that_do_not_tell_apart(lines, message):
    with pytest.raises(ValueError, match=message):
        Classes.of(lines, "here")


def test_pascal_voc(tmp_path):
    listing = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("b\na\n")
    for name in "abc":
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{name}.png", 255)
    found, counts, _ = survey(read_segmented(tmp_path, "train", classes=["background", "thing"]))
    assert [path.name for path in found.pictures] == ["b.jpg", "a.jpg"]
    assert counts.tolist() == [2 * 48, 0]


def coco(path: Path, annotations: list[dict], **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content | more))


def test_coco(tmp_path):
    for name in "ab":
        picture(tmp_path / "train" / f"{name}.jpg")
    large = {"image_id": 7, "category_id": 9, "area": 54, "segmentation": [[0, 0, 6, 0, 6, 9, 0, 9]]}
    small = {"image_id": 7, "category_id": 4, "area": 3, "segmentation": {"size": [9, 6], "counts": [1, 3, 50]}}
    crowd = {
        "image_id": 3, "category_id": 4, "area": 9, "iscrowd": 1, "segmentation": {"size": [9, 6], "counts": [0, 9, 45]}
    }  # fmt: skip
    boxed = {"image_id": 3, "category_id": 4, "bbox": [0, 0, 2, 2]}
    coco(tmp_path / "annotations" / "instances_train.json", [small, large, crowd, boxed])
    found, counts, _ = survey(read_segmented(tmp_path, "train"))
    assert found.classes.names == ("background", "cat", "dog")
    assert [path.name for path in found.pictures] == ["b.jpg", "a.jpg"]
    mask = found.scene(1).mask
    assert mask[1:4, 0].tolist() == [1, 1, 1], "small things lie over large ones"
    assert int((mask == 2).sum()) == 51
    assert found.scene(0).mask[:, 0].tolist() == [IGNORE] * 9
    assert counts.tolist() == [45, 3, 51]


def test_coco_that_does_not_fit_is_named(tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.jpg")
    wrong = {"id": 5, "image_id": 7, "category_id": 4, "segmentation": {"size": [9, 7], "counts": [63]}}
    coco(tmp_path / "train.json", [wrong])
    with pytest.raises(ValueError, match=r"train\.json, picture a\.jpg: annotation 5 is 7 x 9, and its picture 6 x 9"):
        survey(read_segmented(tmp_path, "train"))
    coco(tmp_path / "train.json", [wrong | {"segmentation": {"size": [9, 6], "counts": [50]}}])
    with pytest.raises(ValueError, match="annotation 5: its run lengths are 50 pixels"):
        survey(read_segmented(tmp_path, "train"))
    coco(tmp_path / "train.json", [wrong | {"category_id": 5}])
    with pytest.raises(ValueError, match=r"train\.json has annotations of the category 5, which it does not name"):
        read_segmented(tmp_path, "train")
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(ValueError, match=r"train\.json is no COCO file of annotations: it lacks 'images'"):
        read_segmented(tmp_path, "train")


BROKEN = {
    "a picture without a mask": (lambda f: picture(f / "images" / "train" / "x.jpg"), r"there is no file .*x\.\*"),
    "a mask without a picture": (lambda f: mask(f / "masks" / "train" / "x.png"), r"there is no file .*x\.\*"),
    "another size": (
        lambda f: mask(f / "masks" / "train" / "1.png", size=(5, 9)),
        r"1\.png is 5 x 9 pixels, and its picture .*1\.jpg 6 x 9: a mask has a number for each pixel",
    ),
    "an unknown class": (
        lambda f: mask(f / "masks" / "train" / "1.png", 2),
        r"1\.png has 6 pixels of the number 2, and the 2 classes have the numbers 0 to 1: .*--files\.ignore",
    ),
    "no picture": (lambda f: (f / "images" / "train" / "1.jpg").write_text("text"), r"1\.jpg is no picture"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_stops_or_is_left_out(folder, kind):
    breaks, message = BROKEN[kind]
    breaks(folder)
    found = read_segmented(folder, "train", classes=["ground", "sky"])
    with pytest.raises(ValueError, match=message + r".*To go on without such pictures: --files\.broken skip"):
        survey(found)
    kept, counts, problems = survey(found, skip=True)
    assert len(kept) == (3 if "without" in kind else 2)
    assert counts.sum() == 54 * len(kept)
    (problem,) = problems
    assert re.search(message, problem)


def test_where_nothing_can_be_read_there_is_nothing_to_go_on_with(folder):
    for number in range(3):
        (folder / "images" / "train" / f"{number}.jpg").write_text("text")
    with pytest.raises(ValueError, match="And 2 more cannot be read"):
        survey(read_segmented(folder, "train"), skip=True)


def test_where_nothing_is_found_it_is_said_what_was_looked_for(folder):
    with pytest.raises(
        ValueError, match=r"has no 'test': looked for annotations/instances_test\.json.*images/test and masks/test"
    ):
        read_segmented(folder, "test")
    with pytest.raises(ValueError, match="is not a folder"):
        read_segmented(folder / "none", "train")
    picture(folder / "images" / "train" / "1.png")
    with pytest.raises(ValueError, match=r"holds 1\.jpg and 1\.png: which of them is 1\?"):
        read_segmented(folder, "train")
    (folder / "images" / "val").mkdir()
    (folder / "masks" / "val").mkdir()
    with pytest.raises(ValueError, match="val holds no pictures"):
        read_segmented(folder, "val")


def test_numbers_of_unnamed_classes_are_counted(folder):
    mask(folder / "masks" / "train" / "1.png", 4)
    found, counts, _ = survey(read_segmented(folder, "train"))
    assert found.classes.names == tuple(f"class {number}" for number in range(5))
    assert counts.tolist() == [3 * 48, 12, 0, 0, 6]
    assert counts.dtype == torch.long
