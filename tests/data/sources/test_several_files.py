"""Several JSONs as one data set: ids, classes, images that two of them list."""

import json

import numpy as np
import pytest

from ioub_jax.configs import defaults
from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import coco_format
from ioub_jax.from_config import data_parts
from tests.data.audit import data_sets

HEIGHT, WIDTH = data_sets.SIZE


def content(image_ids, categories, names=None):
    """Each image has a box of each category, at a place of its own."""
    names = names or [f"{id_}.jpg" for id_ in image_ids]
    images = [
        {"id": id_, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for id_, name in zip(image_ids, names, strict=True)
    ]
    annotations = [
        {"id": n, "image_id": id_, "category_id": category, "bbox": [2 * n, 1, 10, 20]}
        for n, (id_, category) in enumerate(
            ((id_, category) for id_ in image_ids for category in categories.values()), start=1
        )
    ]
    listed = [{"id": id_, "name": name} for name, id_ in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


@pytest.fixture
def data(tmp_path):
    """`config.data` of a.json and b.json, whose images lie in two folders."""
    data = defaults.get_config().data
    data.source, data.coco.root = "coco", str(tmp_path)
    data.coco.train_annotations = ("a.json", "b.json")
    data.coco.train_images = ("a", "b")
    for folder in "ab":
        data_sets.write_images(tmp_path / folder, 4)
        for image in (tmp_path / folder).iterdir():  # no two are the same
            image.write_bytes(image.read_bytes() + f"{folder}{image.name}".encode())
    write(tmp_path, "a.json", content([1, 2], {"cat": 1, "dog": 7}))
    write(tmp_path, "b.json", content([3, 4], {"bird": 1, "cat": 2}))
    return data


def write(folder, name, values):
    (folder / name).write_text(json.dumps(values))


def objects(source):
    """The names of the classes of each image, by what its id is written as."""
    found = {}
    for index in range(len(source)):
        number = source.image_id(index)
        labels = source.annotations(index).labels
        found[source.written_ids.get(number, number)] = [source.classes[n] for n in labels]
    return found


def test_classes_are_matched_by_name_and_ids_stay(data, tmp_path):
    source = data_parts.open_source(data, "train")
    assert source.classes == ("cat", "dog", "bird")
    # The id 1 is that of the cat of the first file: the bird gets the next free one.
    assert source.category_ids == (1, 7, 8)
    assert objects(source) == {1: ["cat", "dog"], 2: ["cat", "dog"]} | {
        3: ["bird", "cat"],
        4: ["bird", "cat"],
    }
    assert source.describe(3) == str(tmp_path / "b" / "4.jpg")
    assert source.census.images == 4 and source.census.boxes == 8
    # Box n of a file begins at 2 n.
    assert source.annotations(2).boxes[:, 0].tolist() == [2.0, 4.0]
    assert source[3].image.shape == (HEIGHT, WIDTH, 3)


def test_ids_that_two_files_have_are_told_apart_and_evaluate(data, tmp_path):
    write(tmp_path, "b.json", content([2, 3, 9], {"cat": 1}, ["3.jpg", "4.jpg", "1.jpg"]))
    source = data_parts.open_source(data, "train")
    assert list(objects(source)) == [1, "a.json:2", "b.json:2", 3, 9]
    numbers = [source.image_id(index) for index in range(5)]
    assert len(set(numbers)) == 5 and numbers[0] == 1 and numbers[3:] == [3, 9]
    truth = coco_format.to_coco_ground_truth(source)
    assert {entry["id"] for entry in truth["images"]} == {1, "a.json:2", "b.json:2", 3, 9}
    results = coco_format.to_coco_results(
        np.array(numbers[1:3]),
        np.zeros((2, 1, 4)),
        np.ones((2, 1)),
        np.zeros((2, 1), int),
        np.ones((2, 1), bool),
        source.category_ids,
        source.written_ids,
    )
    assert [entry["image_id"] for entry in results] == ["a.json:2", "b.json:2"]


def test_ids_that_are_names_stay(data, tmp_path):
    write(tmp_path, "b.json", content(["x", "y"], {"cat": 1}, ["3.jpg", "4.jpg"]))
    assert list(objects(data_parts.open_source(data, "train"))) == [1, 2, "x", "y"]


def test_files_of_one_name_are_called_with_their_folder(data, tmp_path):
    for folder in "ab":
        write(tmp_path / folder, "train.json", content([1], {"cat": 1}))
    data.coco.train_annotations = ("a/train.json", "b/train.json")
    assert list(objects(data_parts.open_source(data, "train"))) == [
        "a/train.json:1",
        "b/train.json:1",
    ]


def test_one_folder_does_for_all_files(data, tmp_path):
    data.coco.train_images = "a"
    source = data_parts.open_source(data, "train")
    assert [source.describe(index) for index in range(4)] == [
        str(tmp_path / "a" / f"{number}.jpg") for number in (1, 2, 3, 4)
    ]
    data.coco.train_annotations = ("a.json",)  # one, as a tuple
    assert len(data_parts.open_source(data, "train")) == 2


def test_chosen_classes_may_be_of_any_file(data):
    data.coco.classes = ("bird", "dog")
    source = data_parts.open_source(data, "train")
    assert source.classes == ("bird", "dog") and source.category_ids == (1, 7)
    assert objects(source) == {1: ["dog"], 2: ["dog"], 3: ["bird"], 4: ["bird"]}
    data.coco.classes = ("bird", "dog", "fish")
    with pytest.raises(
        DataError, match=r"names 'fish', which is not a category of any of the files"
    ):
        data_parts.open_source(data, "train")


def test_a_file_that_two_list_is_refused_or_left_out(data, tmp_path):
    data.coco.train_images = "a"
    write(tmp_path, "b.json", content([8, 9], {"cat": 2}, ["2.jpg", "4.jpg"]))
    with pytest.raises(DataError) as caught:
        data_parts.open_source(data, "train")
    assert str(caught.value) == (
        f"{tmp_path / 'b.json'}: lists {tmp_path / 'a' / '2.jpg'} (image 8), which "
        f"{tmp_path / 'a.json'} lists, too; list it in one of them, or set "
        "config.data.on_error='skip' to leave the image out of the later one."
    )
    data.on_error = "skip"
    source, learned = data_parts.open_counted(data, "train")
    assert list(objects(source)) == [1, 2, 9]
    assert learned.lines()[1] == "Images: 3 of 4 are used for training; left out: 1 listed twice."


def test_what_is_wrong_with_the_files_together_is_one_sentence(data, tmp_path):
    data.coco.train_images = ("a", "b", "c")
    with pytest.raises(ConfigError) as caught:
        data_parts.open_source(data, "train")
    assert str(caught.value) == (
        "config.data.coco.train_images names 3 folders for the 2 files of "
        "config.data.coco.train_annotations; name one for all of them, or one for each in their "
        "order."
    )
    data.coco.update({"train_images": "a", "train_annotations": ("a.json", "./a.json")})
    with pytest.raises(ConfigError) as caught:
        data_parts.open_source(data, "train")
    path = tmp_path / "a.json"
    assert str(caught.value) == (
        f"config.data.coco.train_annotations names {path} 2 times; name each file once."
    )
    data.coco.train_annotations = ("a.json", "c.json")
    with pytest.raises(DataError, match=r"c.json: cannot be read \(No such file"):
        data_parts.open_source(data, "train")


def test_the_parts_of_several_files_have_the_classes_of_all(data):
    data.split.val = 0.25
    for split, count in (("train", 3), ("val", 1)):
        source = data_parts.open_source(data, split)
        assert len(source) == count and source.classes == ("cat", "dog", "bird")
