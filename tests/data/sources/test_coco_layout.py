"""JSONs and images in the orders in which tools and people leave them."""

import json
import pathlib

import pytest

from ioub_jax.data.sources import coco_layout


def instances(names, boxes=True):
    content = {
        "images": [
            {"id": number, "file_name": name, "height": 8, "width": 8}
            for number, name in enumerate(names)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, 4, 4]}
            for number in range(len(names) if boxes else 0)
        ],
        "categories": [{"id": 1, "name": "bolt"}],
    }
    return json.dumps(content)


def make(root, files):
    """Writes files: a list of names as a JSON with these images, None as an empty file."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = instances(content)
        path.write_text(content or "")


ORDERS = {
    "COCO's own": (
        {
            "annotations/instances_train2017.json": ["1.jpg"],
            "annotations/instances_val2017.json": ["2.jpg"],
            "annotations/person_keypoints_train2017.json": ["1.jpg"],
            "train2017/1.jpg": None,
            "val2017/2.jpg": None,
        },
        {
            "train": ("annotations/instances_train2017.json", "train2017"),
            "val": ("annotations/instances_val2017.json", "val2017"),
        },
    ),
    "Roboflow's": (
        {
            "train/_annotations.coco.json": ["a_jpg.rf.1.jpg"],
            "train/a_jpg.rf.1.jpg": None,
            "valid/_annotations.coco.json": ["b.jpg"],
            "valid/b.jpg": None,
            "test/_annotations.coco.json": ["c.jpg"],
            "test/c.jpg": None,
        },
        {
            "train": ("train/_annotations.coco.json", "train"),
            "val": ("valid/_annotations.coco.json", "valid"),
            "test": ("test/_annotations.coco.json", "test"),
        },
    ),
    "one file": (
        {"result.json": ["images/1.png"], "images/1.png": None},
        {"train": ("result.json", ".")},
    ),
    "one file, its images in a folder": (
        {"labels/bolts.json": ["1.png"], "pictures/1.png": None},
        {"train": ("labels/bolts.json", "pictures")},
    ),
    "trainval and test": (
        {
            "annotations/instances_trainval.json": ["1.jpg"],
            "annotations/instances_test.json": ["2.jpg"],
            "images/1.jpg": None,
            "images/2.jpg": None,
        },
        {
            "train": ("annotations/instances_trainval.json", "images"),
            "test": ("annotations/instances_test.json", "images"),
        },
    ),
    "a folder for each split": (
        {
            "annotations/train.json": ["1.jpg"],
            "annotations/validation.json": ["1.jpg"],
            "images/train/1.jpg": None,
            "images/val/1.jpg": None,
        },
        {
            "train": ("annotations/train.json", "images/train"),
            "val": ("annotations/validation.json", "images/val"),
        },
    ),
    "paths of another machine": (
        {"train.json": ["C:\\data\\bolts\\1.jpg"], "images/1.jpg": None},
        {"train": ("train.json", "images")},
    ),
    "other JSONs beside": (
        {
            "train.json": ["1.jpg"],
            "1.jpg": None,
            "package.json": '{"name": "mine"}',
            "results.json": '[{"image_id": 0, "bbox": [0, 0, 1, 1]}]',
            "broken.json": '{"images": [',
            "captions.json": json.dumps(
                json.loads(instances(["1.jpg"]))
                | {"annotations": [{"id": 1, "image_id": 0, "caption": "a bolt"}]}
            ),
        },
        {"train": ("train.json", ".")},
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_found(tmp_path, order):
    files, expected = ORDERS[order]
    make(tmp_path, files)
    layout = coco_layout.find_layout(tmp_path)
    found = {}
    for split, (listed,) in layout.splits.items():
        assert listed.has_boxes
        found[split] = (
            str(listed.path.relative_to(tmp_path)),
            str(listed.images.relative_to(tmp_path)),
        )
    assert found == expected
    keys = layout.keys()
    assert keys["data.coco.root"] == str(tmp_path)
    for split, (annotations, images) in expected.items():
        assert keys[f"data.coco.{split}_annotations"] == annotations
        assert keys[f"data.coco.{split}_images"] == images


def test_files_of_one_split_are_read_together(tmp_path):
    make(
        tmp_path,
        {"a.json": ["1.jpg"], "b.json": ["2.jpg"], "images/1.jpg": None, "more/2.jpg": None},
    )
    keys = coco_layout.find_layout(tmp_path).keys()
    assert keys["data.coco.train_annotations"] == ("a.json", "b.json")
    assert keys["data.coco.train_images"] == ("images", "more")


def test_of_files_of_the_same_images_the_first_is_read_and_the_others_are_told(tmp_path):
    make(tmp_path, {"a.json": ["1.jpg"], "b.json": ["1.jpg", "2.jpg"], "1.jpg": None})
    layout = coco_layout.find_layout(tmp_path)
    assert [file.path.name for file in layout.splits["train"]] == ["a.json"]
    assert layout.unused == {tmp_path / "b.json": "it lists images of a.json"}


def test_images_of_one_name_in_two_folders_are_two(tmp_path):
    make(tmp_path, {"a/1.json": ["1.jpg"], "a/1.jpg": None, "b/2.json": ["1.jpg"], "b/1.jpg": None})
    layout = coco_layout.find_layout(tmp_path)
    assert [file.path.name for file in layout.splits["train"]] == ["1.json", "2.json"]


def test_the_folder_with_the_most_of_the_images_is_theirs(tmp_path):
    make(
        tmp_path,
        {"train.json": ["1.jpg", "2.jpg", "3.jpg"], "few/1.jpg": None,
         "most/1.jpg": None, "most/2.jpg": None},
    )  # fmt: skip
    assert coco_layout.find_layout(tmp_path).splits["train"][0].images == tmp_path / "most"


def test_where_no_image_is_there_the_file_is_found_nevertheless(tmp_path):
    make(tmp_path, {"train.json": ["1.jpg"]})
    layout = coco_layout.find_layout(tmp_path)
    assert layout.splits["train"][0].images is None
    assert layout.keys()["data.coco.train_images"] == "."


def test_a_file_itself_may_be_given(tmp_path):
    make(tmp_path, {"val.json": ["1.jpg"], "train.json": ["2.jpg"], "images/1.jpg": None})
    layout = coco_layout.find_layout(tmp_path / "val.json")
    assert list(layout.splits) == ["train"]
    assert layout.keys()["data.coco.train_annotations"] == "val.json"


def test_files_of_other_tasks_are_used_where_there_are_no_others(tmp_path):
    make(tmp_path, {"person_keypoints_train.json": ["1.jpg"], "1.jpg": None})
    assert coco_layout.find_layout(tmp_path).keys()["data.coco.train_annotations"] == (
        "person_keypoints_train.json"
    )


def test_what_has_no_file_of_the_format_has_no_layout(tmp_path):
    make(tmp_path, {"labels/1.txt": "0 .5 .5 1 1", "notes.json": '{"images": "none"}'})
    assert coco_layout.find_layout(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("instances_train2017", "train"), ("trainval", "trainval"), ("train_val", "train"),
        ("valid", "val"), ("validation-01", "val"), ("Testing", "test"), ("testimony", "train"),
        ("values", "train"), ("latest", "train"), ("interval", "train"), ("training", "train"),
        ("my_val_split", "val"),
    ],
)  # fmt: skip
def test_names_say_the_split(name, role):
    assert coco_layout._role_of(pathlib.Path(f"/root/{name}.json"), pathlib.Path("/root")) == role


def test_a_name_that_is_too_long_for_a_file_is_a_missing_image(tmp_path):
    make(tmp_path, {"a.json": ["1.jpg", 300 * "x" + ".jpg"], "images/1.jpg": None})
    (file,) = coco_layout.find_layout(tmp_path).splits["train"]
    assert file.images == tmp_path / "images"
