"""Splits whose files list other classes, in another order, under other ids."""

import json
import pickle

import cv2
import numpy as np
import pytest

from ioub_jax.configs import defaults
from ioub_jax.data.checks import DataError
from ioub_jax.evaluation import coco_format
from ioub_jax.from_config.data_parts import create_source
from tests.data.sources import tfds_builders

#: The classes of a detector, in the order of its labels.
TRAINED = [(1, "bolt"), (2, "nut"), (7, "screw")]


def write(folder, categories, objects):
    """One image, `val.json` with these categories, and a box for each of these category ids."""
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 40, 3), np.uint8))
    annotations = [
        {"id": number, "image_id": 1, "category_id": id_, "bbox": [number, 2, 10, 10]}
        for number, id_ in enumerate(objects, start=1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 40, "width": 40}]
    listed = [{"id": id_, "name": name} for id_, name in categories]
    content = {"images": images, "annotations": annotations, "categories": listed}
    (folder / "val.json").write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path):
    data = defaults.get_config().data
    data.source = "coco"
    data.coco.root = str(tmp_path)
    for split in ("train", "val", "test"):
        data.coco.update({f"{split}_annotations": "val.json", f"{split}_images": "."})
    return data


def opened(data, split="val"):
    return create_source(data, split, categories=TRAINED)


@pytest.mark.parametrize(
    ("categories", "objects", "labels", "ids"),
    [
        # As in training.
        (TRAINED, [1, 7, 2], [0, 2, 1], (1, 2, 7)),
        # Listed in another order: labels follow the names.
        (TRAINED[::-1], [1, 7, 2], [0, 2, 1], (1, 2, 7)),
        # Under other ids, which results keep.
        ([(0, "screw"), (3, "bolt"), (4, "nut")], [0, 3, 4], [2, 0, 1], (3, 4, 0)),
        # Ids that stand for other names here than in training.
        ([(1, "nut"), (2, "screw"), (7, "bolt")], [1, 2, 7], [1, 2, 0], (7, 1, 2)),
        # Lacks classes: they keep the ids of training,
        ([(7, "screw")], [7, 7], [2, 2], (1, 2, 7)),
        # or get one that is free: 1 is the screw's here, 7 is the highest of all.
        ([(1, "screw")], [1], [2], (8, 2, 1)),
        # Ids may be strings; '7' is the id 7.
        ([("a", "screw"), ("7", "bolt")], ["a", "7"], [2, 0], ("7", 2, "a")),
        ([("7", "bolt")], ["7"], [0], ("7", 2, 8)),
        # A class without objects that training lacks, such as the name of a project.
        ([(0, "parts"), *TRAINED], [2, 1], [1, 0], (1, 2, 7)),
        ([(0, "parts"), (5, "nut")], [5], [1], (1, 5, 7)),
    ],
)
@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_are_matched_by_name(data, tmp_path, split, categories, objects, labels, ids):
    write(tmp_path, categories, objects)
    source = opened(data, split)
    assert source.classes == ("bolt", "nut", "screw")
    assert source.category_ids == ids
    example = source.annotations(0)
    assert example.labels.tolist() == labels and example.labels.dtype == np.int32
    # What the ground truth of an evaluation says is what the file says.
    names = dict(categories)
    truth = coco_format.to_coco_ground_truth(source)
    named = {category["id"]: category["name"] for category in truth["categories"]}
    assert len(named) == 3
    assert [named[box["category_id"]] for box in truth["annotations"]] == [
        names[id_] for id_ in objects
    ]
    assert [box["category_id"] for box in truth["annotations"]] == objects
    # As it is after its journey into a worker process, and with some of its images.
    again = pickle.loads(pickle.dumps(source)).select(np.array([0]))
    assert again.classes == source.classes and again.annotations(0).labels.tolist() == labels


def test_a_class_that_training_lacks_is_named_with_the_flag(data, tmp_path):
    write(tmp_path, [*TRAINED, (9, "washer"), (10, "nuts")], [1, 9, 9, 10])
    with pytest.raises(DataError) as error:
        opened(data)
    assert str(error.value) == (
        f"{tmp_path}/val.json: has objects of classes that the training data lacks: 'washer' (2 "
        "boxes); 'nuts' (1 box), perhaps meant as 'nut'; correct their names, or set "
        "--config.data.coco.classes=bolt,nut,screw to leave them out."
    )
    assert error.value.kind == "unknown_category"
    data.coco.classes = ("bolt", "nut", "screw")  # what the flag does
    assert opened(data).annotations(0).labels.tolist() == [0]


def test_where_no_class_is_shared_no_flag_is_advised(data, tmp_path):
    others = [(number, f"thing {number}") for number in range(1, 14)]
    write(tmp_path, others, [number for number, _ in others])
    with pytest.raises(DataError) as error:
        opened(data)
    told = "; ".join(f"'thing {number}' (1 box)" for number in range(1, 11))
    assert str(error.value) == (
        f"{tmp_path}/val.json: has objects of classes that the training data lacks: {told}; and 3 "
        "more; correct their names, or use data of the classes bolt, nut, screw."
    )


def test_chosen_classes_may_be_lacking_in_all_splits_but_training(data, tmp_path):
    write(tmp_path, [(1, "bolt"), (5, "rivet")], [1, 5])
    data.coco.classes = ("nut", "bolt")
    source = create_source(data, "val")
    assert source.classes == ("bolt",) and source.annotations(0).labels.tolist() == [0]
    source = create_source(data, "test", categories=[(2, "nut"), (1, "bolt")])
    assert source.classes == ("nut", "bolt") and source.annotations(0).labels.tolist() == [1]
    with pytest.raises(DataError, match="classes names 'nut', which is not a category of the file"):
        create_source(data, "train")
    data.coco.classes = ("nut",)  # of which the file has none
    with pytest.raises(DataError, match="classes names 'nut', which is not a category of the file"):
        create_source(data, "val")


def test_of_a_source_with_fixed_classes_the_others_are_named(data):
    data.source = "shapes"
    with pytest.raises(DataError) as error:
        opened(data)
    assert str(error.value).startswith(
        "The val split of shapes: has objects of classes that the training data lacks: 'ellipse'; "
    )
    assert str(error.value).endswith("; use data with the trained classes.")
    own = create_source(data, "val")
    categories = list(zip(own.category_ids, own.classes, strict=True))
    assert create_source(data, "val", categories=categories).classes == own.classes


def test_voc_files_may_lack_classes_of_training(data, shared_data):
    data.source = "voc"
    data.voc.update({"root": str(shared_data), "val_folders": ("voc2012_100",), "val_split": "all"})
    own = create_source(data, "val")
    categories = [(1, "unicorn"), *((20 - i, name) for i, name in enumerate(own.classes[::-1]))]
    source = create_source(data, "val", categories=categories)
    assert source.classes == ("unicorn", *own.classes[::-1])
    with pytest.raises(DataError, match=r"correct the names, or set config\.data\.on_error='skip'"):
        create_source(data, "val", categories=[(1, "unicorn"), *categories[3:]])
    for index in range(5):
        first, second = own.annotations(index).labels, source.annotations(index).labels
        assert [own.classes[i] for i in first] == [source.classes[i] for i in second]


def test_tfds_is_matched_by_name(data, tmp_path, shared_data):
    tfds_builders.prepare_coco(tmp_path / "tfds", shared_data / "coco_mini")
    data.source = "tfds"
    data.tfds.data_dir = str(tmp_path / "tfds")
    own = create_source(data, "val")
    categories = list(zip(own.category_ids, own.classes, strict=True))[::-1]
    source = create_source(data, "val", categories=[*categories, (4_000, "unicorn")])
    assert source.classes == (*own.classes[::-1], "unicorn")
    assert source.category_ids == (*own.category_ids[::-1], 4_000)
    labels = own.annotations(0).labels
    assert source.annotations(0).labels.tolist() == [len(own.classes) - 1 - i for i in labels]
    with pytest.raises(DataError, match="use data with the trained classes"):
        create_source(data, "val", categories=categories[40:])
