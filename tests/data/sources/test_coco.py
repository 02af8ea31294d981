import json
import os
import pickle

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from ioub_jax import evaluation
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.example import Census

HEIGHT, WIDTH = 30, 40
CATEGORIES = [{"id": 90, "name": "cow"}, {"id": 0, "name": "ant"}, {"id": 7, "name": "bee"}]


def _annotation(identity, image=1, category=7, bbox=(1, 2, 3, 4), **others):
    return {
        "id": identity,
        "image_id": image,
        "category_id": category,
        "bbox": list(bbox),
        **others,
    }


def _write(folder, annotations, images=(1, 2), categories=CATEGORIES):
    """Writes one tiny PNG for each image id and the JSON that lists them."""
    entries = []
    for identity in images:
        PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{identity}.png")
        entries.append(
            {"id": identity, "file_name": f"{identity}.png", "height": HEIGHT, "width": WIDTH}
        )
    content = {"images": entries, "categories": categories, "annotations": annotations}
    if annotations is None:
        del content["annotations"]
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_boxes_become_xyxy_and_keep_their_flags(tmp_path):
    path = _write(
        tmp_path,
        [
            _annotation(1, image=2, bbox=(1, 2, 3, 4), area=9.5, iscrowd=0),
            _annotation(2, image=1, category=0, bbox=(0.5, 1.25, 10, 20), iscrowd=1, ignore=1),
            _annotation(3, image=2, category=90, bbox=(0, 0, 40, 30), area=-1),
        ],
    )
    source = CocoSource(path, tmp_path)
    first, second = source.annotations(0), source[1]
    np.testing.assert_array_equal(first.boxes, [[0.5, 1.25, 10.5, 21.25]])
    np.testing.assert_array_equal(second.boxes, [[1, 2, 4, 6], [0, 0, 40, 30]])
    assert first.crowd.tolist() == [True] and second.crowd.tolist() == [False, False]
    assert not first.difficult.any()
    # Annotated, missing (10 x 20) and negative (40 x 30): the box's own.
    np.testing.assert_array_equal(first.area, [200])
    np.testing.assert_array_equal(second.area, [9.5, 1200])
    assert first.boxes.dtype == first.area.dtype == np.float32 and first.labels.dtype == np.int32
    assert first.image is None and second.image.shape == (HEIGHT, WIDTH, 3)


def test_labels_follow_the_ids_of_the_categories(tmp_path):
    annotations = [_annotation(number, category=id) for number, id in enumerate((90, 0, 7))]
    source = CocoSource(_write(tmp_path, annotations), tmp_path)
    assert source.classes == ("ant", "bee", "cow") and source.category_ids == (0, 7, 90)
    assert source.annotations(0).labels.tolist() == [2, 0, 1]
    other = CocoSource(_write(tmp_path, annotations, categories=CATEGORIES[::-1]), tmp_path)
    assert other.classes == source.classes
    assert other.annotations(0).labels.tolist() == [2, 0, 1]


def test_classes_pick_and_order_categories_and_the_others_are_no_objects(tmp_path):
    annotations = [_annotation(number, category=id) for number, id in enumerate((90, 0, 7))]
    annotations.append(_annotation(3, category=0, bbox=(9, 9, 0, 0)))  # not looked at
    path = _write(tmp_path, annotations)
    source = CocoSource(path, tmp_path, classes=("cow", "bee"))
    assert source.classes == ("cow", "bee") and source.category_ids == (90, 7)
    assert source.annotations(0).labels.tolist() == [0, 1] and source.skipped == []
    assert len(source) == 2
    assert CocoSource(path, tmp_path, classes=(), on_error="skip").classes == ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("classes", "fault"), [(("cow", "Bee"), "which is not a category"), (("ant", "ant"), "twice")]
)
def test_a_class_that_the_file_lacks_is_named_with_those_it_has(tmp_path, classes, fault):
    path = _write(tmp_path, [])
    with pytest.raises(DataError, match=rf"'{classes[1]}', {fault}.*from ant, bee, cow") as caught:
        CocoSource(path, tmp_path, classes=classes, on_error="skip")
    assert caught.value.kind == "unknown_category"


def test_images_keep_the_order_of_the_file_and_their_64_bit_ids(tmp_path):
    ids = (2**63 - 1, 5, -(2**63), 0)
    annotations = [_annotation(number, image=id) for number, id in enumerate(ids[::-1])]
    source = CocoSource(_write(tmp_path, annotations, images=ids), tmp_path)
    assert [source.image_id(index) for index in range(4)] == list(ids)
    assert [source.annotations(index).image_id for index in range(4)] == list(ids)
    assert source.describe(0) == str(tmp_path / f"{2**63 - 1}.png")
    assert all(len(source.annotations(index).labels) == 1 for index in range(4))


def test_a_file_without_annotations_has_images_without_objects(tmp_path):
    source = CocoSource(_write(tmp_path, None), tmp_path)
    assert len(source) == 2 and source[0].boxes.shape == (0, 4)
    assert source.sizes.tolist() == [[HEIGHT, WIDTH]] * 2 and source.sizes.dtype == np.int64


def test_a_long_id_is_not_quoted_whole(tmp_path):
    path = _write(tmp_path, [])
    content = json.loads(path.read_text())
    content["images"] = [content["images"][0] | {"id": 5000 * "x", "height": "tall"}]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"[(]id 'x+[.]{3}x+', '1[.]png'[)]") as error:
        CocoSource(path, tmp_path)
    assert len(str(error.value)) < 1000


def test_an_unknown_on_error_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^on_error is 'ignore'"):
        CocoSource(tmp_path / "instances.json", tmp_path, on_error="ignore")


def test_each_folder_is_listed_once_and_no_file_is_asked_for(tmp_path, monkeypatch):
    path = _write(tmp_path, [], images=range(9))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    isfile = os.path.isfile

    def isfile_of_json(path):
        return isfile(path) if str(path).endswith(".json") else pytest.fail("asks for an image")

    monkeypatch.setattr(os.path, "isfile", isfile_of_json)
    assert len(CocoSource(path, tmp_path)) == 9
    assert listed == [str(tmp_path)]


def test_a_source_survives_pickling_and_selecting(tmp_path):
    path = _write(tmp_path, [_annotation(1, image=2), _annotation(2, image=3)], images=(1, 2, 3))
    source = pickle.loads(pickle.dumps(CocoSource(path, tmp_path)))
    chosen = source.select(np.array([2, 1]))
    assert type(chosen) is CocoSource and chosen.classes == source.classes
    assert [chosen[index].image_id for index in range(2)] == [3, 2]
    assert len(source) == 3


def test_paths_may_be_strings_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _write(tmp_path, [_annotation(1)])
    assert len(CocoSource("~/instances.json", "~")) == 2


coordinate = st.one_of(
    st.integers(-5, 45),
    st.floats(-5, 45),
    st.sampled_from([None, "3", float("nan"), float("inf"), 1e300, -0.0, 1e-30, True]),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(boxes=st.lists(st.lists(coordinate, min_size=3, max_size=5), max_size=12))
def test_skipping_keeps_every_good_box_clipped_and_counts_the_others(tmp_path, boxes):
    annotations = [_annotation(number, bbox=box) for number, box in enumerate(boxes)]
    source = CocoSource(_write(tmp_path, annotations), tmp_path, on_error="skip")
    example = source.annotations(0)
    kept = example.boxes  # the regions in place of the others among them
    repeated = source.census.changes.get("repeated", 0)
    assert len(kept) + repeated == len(boxes)
    assert example.ignored.sum() == len(source.skipped)
    assert {problem.kind for problem in source.skipped} <= {"bad_box", "no_area", "outside"}
    assert (kept >= 0).all() and (kept[:, 2:] <= [WIDTH, HEIGHT]).all()
    assert (kept[:, 2:] > kept[:, :2]).all()
    if not source.skipped:
        return
    with pytest.raises(DataError) as caught:
        CocoSource(tmp_path / "instances.json", tmp_path)
    assert str(caught.value) == source.skipped[0].sentence


NAMES = ("img_001", "7f9c24e8-3b12", "07", "café 3")


def _write_named(folder, annotations=(), names=NAMES):
    """Images whose ids are names."""
    path = _write(folder, list(annotations), images=range(len(names)))
    content = json.loads(path.read_text())
    for entry, name in zip(content["images"], names, strict=True):
        entry["id"] = name
    path.write_text(json.dumps(content))
    return path


def test_images_whose_ids_are_names_get_numbers_and_results_the_names(tmp_path):
    boxes = [_annotation(k, image=name, bbox=(k, k, 9, 8)) for k, name in enumerate(NAMES)]
    path = _write_named(tmp_path, boxes)
    source = CocoSource(path, tmp_path)
    assert [source.image_id(index) for index in range(4)] == [1, 2, 3, 4]
    assert source.annotations(2).image_id == 3 and source.census.changes == {}
    truth = evaluation.to_coco_ground_truth(source)
    assert [entry["id"] for entry in truth["images"]] == list(NAMES)
    assert [entry["image_id"] for entry in truth["annotations"]] == list(NAMES)
    collector = evaluation.DetectionCollector(source.category_ids, source.written_ids)
    of_all = np.ones((4, 1), bool)
    found = np.stack([source.annotations(k).boxes for k in range(4)])
    labels = np.ones((4, 1), int)
    collector.add([1, 2, 3, 4], found, np.full((4, 1), 0.5), labels, of_all, of_all[:, 0])
    assert [entry["image_id"] for entry in collector.results] == list(NAMES)
    assert collector.image_ids == set(NAMES)
    for ground_truth in (truth, json.loads(path.read_text())):
        metrics = evaluation.evaluate_detections(ground_truth, collector.results)
        assert metrics.summary["AP"] == pytest.approx(1)
    with pytest.raises(ValueError, match="image_id café 3 was evaluated twice"):
        collector.add([4], *(np.zeros((1, 1, *n)) for n in ((4,), (), (), ())), [True])


def test_numbers_of_images_stay_the_same_whatever_is_left_out(tmp_path):
    path = _write_named(tmp_path)
    (tmp_path / "1.png").unlink()
    source = CocoSource(path, tmp_path, on_error="skip").select(np.array([2, 0]))
    assert [source.image_id(index) for index in range(2)] == [4, 1]
    assert source.written_ids == {1: "img_001", 3: "07", 4: "café 3"}


def test_whole_ids_beside_names_are_in_the_results_as_they_are_written(tmp_path):
    # Whole ids 7 and 1 get the numbers 1 and 3, the places of their images in the file.
    path = _write_named(
        tmp_path, [_annotation(1, image=7), _annotation(2, image=1)], names=(7, "left", 1)
    )
    source = CocoSource(path, tmp_path)
    assert [source.image_id(index) for index in range(3)] == [1, 2, 3]
    assert source.written_ids == {1: 7, 2: "left", 3: 1}
    truth = evaluation.to_coco_ground_truth(source)
    assert [entry["id"] for entry in truth["images"]] == [7, "left", 1]
    collector = evaluation.DetectionCollector(source.category_ids, source.written_ids)
    of_all = np.ones((2, 1), bool)
    boxes = np.stack([source.annotations(k).boxes for k in (0, 2)])
    labels = np.ones((2, 1), int)
    collector.add([1, 3], boxes, np.full((2, 1), 0.5), labels, of_all, of_all[:, 0])
    assert [entry["image_id"] for entry in collector.results] == [7, 1]
    metrics = evaluation.evaluate_detections(json.loads(path.read_text()), collector.results)
    assert metrics.summary["AP"] == pytest.approx(1)


def test_ids_that_are_strings_of_integers_are_integers_within_and_strings_in_results(tmp_path):
    path = _write_named(tmp_path, [_annotation(1, image="17")], names=("3", "17"))
    source = CocoSource(path, tmp_path)
    assert [source.image_id(index) for index in range(2)] == [3, 17]
    truth = evaluation.to_coco_ground_truth(source)
    assert [entry["id"] for entry in truth["images"]] == ["3", "17"]
    assert truth["annotations"][0]["image_id"] == "17"


def test_categories_may_have_names_as_ids(tmp_path):
    categories = [
        {"id": "cat-b", "name": "bee"},
        {"id": "10", "name": "ant"},
        {"id": 9.0, "name": "cow"},
    ]
    annotations = [_annotation(k, category=id) for k, id in enumerate(("cat-b", 10, "9"))]
    annotations.append(_annotation(1, category="10"))
    path = _write(tmp_path, annotations, categories=categories)
    source = CocoSource(path, tmp_path)
    # Numbers first, 9 before '10'.
    assert source.classes == ("cow", "ant", "bee") and source.category_ids == (9, "10", "cat-b")
    assert source.annotations(0).labels.tolist() == [2, 1, 0]
    # One of the two ants is a box listed twice; 10 and '9' are not written as they are listed.
    assert dict(source.census.changes) == {"repeated": 1, "converted": 2}
    truth = evaluation.to_coco_ground_truth(source)
    assert [entry["category_id"] for entry in truth["annotations"]] == ["cat-b", "10", 9]
    found = [{**entry, "score": 0.9} for entry in truth["annotations"]]
    metrics = evaluation.evaluate_detections(json.loads(path.read_text()), found)
    assert [row.category_id for row in metrics.per_class] == [9, "10", "cat-b"]
    assert metrics.summary["AP"] == pytest.approx(1)
    metrics = evaluation.evaluate_voc(truth, found)
    assert [row.category_id for row in metrics.per_class] == [9, "10", "cat-b"]


def test_corners_in_place_of_sizes_are_suspected(tmp_path, caplog):
    # The two corners of boxes of 9x9 are written; read as sizes, two of three leave 40x30.
    annotations = [_annotation(k, bbox=(x, x, x + 9, x + 9)) for k, x in enumerate((2, 15, 20))]
    CocoSource(_write(tmp_path, annotations), tmp_path)
    assert "2 of 3 boxes stick out of their images and are clipped; if" in caplog.text
    caplog.clear()
    annotations[1]["bbox"] = [15, 15, 9, 9]  # as few as where objects are cut
    CocoSource(_write(tmp_path, annotations), tmp_path)
    assert caplog.text == ""


def test_what_the_file_lists_is_counted(tmp_path):
    annotations = [_annotation(k, category=id) for k, id in enumerate((90, 0, 7, 7))]
    path = _write(tmp_path, annotations)
    assert CocoSource(path, tmp_path, classes=("bee",)).census == Census(
        images=2, boxes=4, other_classes=2, changes={"repeated": 1}
    )


@pytest.mark.parametrize(
    ("name", "images", "objects", "crowds", "used", "classes"),
    [
        ("coco_mini/train2017", 128, 939, 10, 71, 80),
        ("coco_mini/val2017", 79, 624, 5, 78, 80),
        ("deep_pcb/trainval", 1000, 6873, 0, 6, 6),
        ("deep_pcb/test", 500, 3140, 0, 6, 6),
    ],
)
def test_real_data_sets(shared_data, name, images, objects, crowds, used, classes):
    root, split = shared_data / name.split("/")[0], name.split("/")[1]
    folder = root / (split if root.name == "coco_mini" else "images")
    path = root / f"annotations/instances_{split}.json"
    source = CocoSource(path, folder)
    examples = [source.annotations(index) for index in range(images)]
    assert len(source) == images and source.skipped == []
    assert sum(len(example.labels) for example in examples) == objects
    assert sum(example.crowd.sum() for example in examples) == crowds
    assert len({label for example in examples for label in example.labels}) == used
    assert len(source.classes) == classes
    assert source[0].image.shape == (*source.sizes[0], 3)
    api = COCO(path)
    for example in examples[::5]:
        expected = api.imgToAnns[example.image_id]
        boxes = np.array([entry["bbox"] for entry in expected]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(example.boxes, boxes, atol=1e-3)
        ids = [source.category_ids[label] for label in example.labels]
        assert ids == [entry["category_id"] for entry in expected]
        np.testing.assert_allclose(example.area, [entry["area"] for entry in expected], rtol=1e-6)


def test_coco_has_images_without_objects_and_a_grayscale_one(shared_data):
    root = shared_data / "coco_mini"
    source = CocoSource(root / "annotations/instances_train2017.json", root / "train2017")
    empty = [index for index in range(len(source)) if len(source.annotations(index).labels) == 0]
    assert [source.image_id(index) for index in empty] == [250, 508]
    assert source.classes[:3] == ("person", "bicycle", "car")
    assert source.category_ids[-1] == 90 and source.classes[-1] == "toothbrush"
    modes = []
    for index in range(len(source)):
        with PIL.Image.open(source.describe(index)) as image:
            modes.append(image.mode)
    gray = source[modes.index("L")].image
    assert modes.count("L") == 1 and (gray == gray[..., :1]).all()


def test_a_real_annotation_file_without_its_images(shared_data):
    folder = shared_data / "coco_eval_val2014_100"
    path = folder / "instances_val2014_100.json"
    with pytest.raises(DataError, match=r"COCO_val2014_000000001146\.jpg: is missing") as caught:
        CocoSource(path, folder)
    assert caught.value.kind == "missing_image"
    with pytest.raises(DataError, match=r"none of its 100 images can be used"):
        CocoSource(path, folder, on_error="skip")
    with pytest.raises(DataError, match=r"it contains a list .*, it looks like a results file"):
        CocoSource(folder / "instances_val2014_fakebbox100_results.json", folder)


def test_a_category_that_stands_for_all_others_may_have_the_name_of_one(tmp_path):
    """Roboflow gives the project's name to the category 0, even if a class has it."""
    categories = [
        {"id": 0, "name": "ant", "supercategory": "none"},
        {"id": 1, "name": "ant", "supercategory": "ant"},
        {"id": 2, "name": "bee", "supercategory": "ant"},
    ]
    annotations = [_annotation(number, category=id) for number, id in enumerate((1, 2))]
    source = CocoSource(_write(tmp_path, annotations, categories=categories), tmp_path)
    assert (source.classes, source.category_ids) == (("ant", "bee"), (1, 2))
    with pytest.raises(DataError, match="has the id or name of another one"):
        CocoSource(_write(tmp_path, [], categories=[*categories[1:], categories[1]]), tmp_path)
