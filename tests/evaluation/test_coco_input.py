"""Ground truth as other tools write it: both readers of COCO's format take it for the same."""

import gc
import json
import pathlib

import numpy as np
import PIL.Image
import pytest

from ioub_jax import evaluation
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.evaluation import coco_input
from ioub_jax.evaluation.coco_input import check_input

PERFECT = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 16], "score": 0.5}]


def ground_truth(*changes, **of_all):
    """One image of 80x60 with an annotation for each of `changes`."""
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 10, 20, 16],
        "area": 320,
        "iscrowd": 0,
    }
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [annotation | change | of_all for change in changes],
    }


def as_source(content, folder):
    """What the data set makes of the same content."""
    PIL.Image.new("RGB", (80, 60)).save(folder / "a.png")
    (folder / "a.json").write_text(json.dumps(content))
    return CocoSource(folder / "a.json", folder)


def precision(content, detections=PERFECT):
    return evaluation.evaluate_detections(content, detections).summary["AP"]


@pytest.mark.parametrize("bbox", [None, [], "", [0, 0, 0, 0]])
@pytest.mark.parametrize(
    "outline",
    [
        {"segmentation": [[10, 10, 30, 10, 30, 26]]},
        # 60 rows: column 10 from row 10 on for 16, and so on to column 29, which ends at row 25.
        {"segmentation": {"size": [60, 80], "counts": [610, *([16, 44] * 19), 16, 3034]}},
        {"keypoints": [10, 26, 2, 0, 0, 0, 30, 10, 1]},
    ],
)
def test_both_readers_make_the_same_box_of_an_outline(tmp_path, caplog, bbox, outline):
    content = ground_truth(outline | {"bbox": bbox, "attributes": {"rotation": 30}})
    (annotation,) = check_input(content, []).annotations
    assert annotation["bbox"] == PERFECT[0]["bbox"] and content["annotations"][0]["bbox"] == bbox
    assert "1 annotations without a box, read as the box around their mask" in caplog.text
    source = as_source(content, tmp_path)
    assert source.annotations(0).boxes.tolist() == [[10, 10, 30, 26]]
    assert source.census.changes == {"outlined": 1}
    assert precision(content) == 1.0


VALUES = (None, "", 0, 1, 0.0, 1.0, "0", "1", "1.0", True, False, "true", 2, "no", [1])


@pytest.mark.parametrize("key", ["iscrowd", "difficult", "ignored"])
@pytest.mark.parametrize("value", VALUES)
def test_both_readers_take_a_flag_for_the_same(tmp_path, key, value):
    content = ground_truth({key: value})
    try:
        checked = check_input(content, [])
    except ValueError as error:
        assert f"has the {key} {value!r}, which is neither 0 nor 1" in str(error)
        with pytest.raises(ValueError, match=f"annotation 1 .* has the {key} "):
            as_source(content, tmp_path)
        return
    (annotation,) = evaluation.to_coco_ground_truth(as_source(content, tmp_path))["annotations"]
    (expected,) = checked.annotations
    assert annotation == expected
    assert expected[key] == int(value in (1, "1", "1.0", "true"))


@pytest.mark.parametrize("value", [None, "", -1, 0, 99.5, "99.5", 7, True, "big", float("nan")])
def test_both_readers_take_an_area_for_the_same(tmp_path, value):
    content = ground_truth({"area": value})
    if value in (True, "big") or value != value:
        for read in (lambda: check_input(content, []), lambda: as_source(content, tmp_path)):
            with pytest.raises(ValueError, match=r"has the area .*, which is not a finite number"):
                read()
        return
    (annotation,) = evaluation.to_coco_ground_truth(as_source(content, tmp_path))["annotations"]
    assert check_input(content, []).annotations == [annotation]


@pytest.mark.parametrize(
    "change",
    [
        {"difficult": None, "pose": None, "truncated": None},  # as pylabel writes
        {"area": None, "iscrowd": None},
        {"area": "", "iscrowd": ""},
        {"image_id": "1", "category_id": 1.0},
        {"bbox": [30, 26, -20, -16]},
        {"bbox": [12, 8, 16, 20], "attributes": {"rotation": 90.0}},
    ],
)
def test_what_other_tools_write_is_found(change):
    assert precision(ground_truth(change)) == pytest.approx(1)
    assert evaluation.evaluate_voc(ground_truth(change), PERFECT).all_points["AP"] == 1


def test_a_crowd_as_a_string_is_a_crowd():
    assert precision(ground_truth({"iscrowd": "1"})) is None


def test_an_object_with_ignore_counts_as_pycocotools_counts_it_and_that_is_told(caplog):
    """Recall 1/2 with precision 1: of the recalls 0, .01, ... 1 the first 51 are reached."""
    ignored = {"id": 2, "bbox": [50, 30, 20, 16], "ignore": 1}
    assert precision(ground_truth({}, ignored)) == pytest.approx(51 / 101)
    (told,) = caplog.messages
    assert told.startswith('The ground truth has 1 objects with "ignore": 1, which COCO\'s metrics')
    caplog.clear()
    for flag in ("ignored", "iscrowd"):  # these leave it out, as the sentence says
        assert precision(ground_truth({}, ignored | {flag: 1})) == pytest.approx(1)
    assert not caplog.messages


def test_a_box_of_labelme2coco_that_is_an_empty_list_is_one_sentence(tmp_path):
    content = ground_truth({"bbox": [], "segmentation": []})
    with pytest.raises(
        ValueError, match=r"annotation 1 of the .* has the bbox \[\] and no polygon"
    ):
        check_input(content, [])
    with pytest.raises(
        ValueError, match=r"annotation 1 .* has the bbox \[\] and no segmentation or"
    ):
        as_source(content, tmp_path)


def test_an_annotation_listed_again_under_its_id_counts_once(caplog):
    """As pylabel repeats the last object for an image without any."""
    assert precision(ground_truth({}, {}, {"bbox": [1, 1, 5, 5]})) < 0.51
    assert caplog.messages == [
        "The ground truth has 1 annotations listed again with the same id, counted once."
    ]
    caplog.clear()
    assert precision(ground_truth({}, {})) == pytest.approx(1)
    # Under ids of their own both count, as pycocotools counts them: the recall is 1/2 with
    # precision 1, of the recalls 0, .01, ... 1 the first 51 are reached.
    assert precision(ground_truth({}, {"id": 2})) == pytest.approx(51 / 101)
    # Another object of one id, elsewhere or of other flags, is no repetition.
    assert len(check_input(ground_truth({}, {"iscrowd": 1}), []).annotations) == 2


def test_what_was_put_right_is_logged(caplog):
    turned = {"attributes": {"rotation": 30}}
    check_input(ground_truth({"bbox": [30, 26, -20, 16]}, turned, turned | {"id": 2}), [])
    assert caplog.messages == [
        "The ground truth has 1 boxes with swapped corners, put in order; 2 rotated boxes, "
        "read as the upright box around them."
    ]


def test_a_region_to_ignore_is_one_whatever_it_is_besides():
    content = ground_truth({}, {"id": 2, "bbox": [50, 30, 20, 20], "ignored": 1})
    false = [*PERFECT, PERFECT[0] | {"bbox": [52, 32, 10, 10], "score": 0.9}]
    assert precision(content, false) == pytest.approx(1)
    assert evaluation.evaluate_voc(content, false).all_points["AP"] == 1


@pytest.mark.parametrize("ids", [("b", "a"), ("2", 1), ("x", 7), (2**63 - 1, "2")])
def test_ids_may_be_strings_in_ground_truth_and_results(ids):
    content = ground_truth({}, {"id": 2})
    content["images"] = [{"id": identity} for identity in ids]
    content["categories"] = [{"id": f"class {name}", "name": name} for name in "ba"]
    found = []
    for annotation, identity, name in zip(content["annotations"], ids, "ab", strict=True):
        annotation |= {"image_id": identity, "category_id": f"class {name}"}
        found.append(PERFECT[0] | {"image_id": identity, "category_id": f"class {name}"})
    metrics = evaluation.evaluate_detections(content, found)
    assert metrics.summary["AP"] == pytest.approx(1)
    assert [row.category_id for row in metrics.per_class] == ["class a", "class b"]
    found[0]["image_id"] = ids[1]
    # Of class a the detection is in the wrong image.
    per_class = evaluation.evaluate_detections(content, found).per_class
    assert [row.AP for row in per_class] == pytest.approx([0, 1])
    with pytest.raises(ValueError, match="image_id 'c', which the ground truth does not list"):
        evaluation.evaluate_detections(content, [found[0] | {"image_id": "c"}])


@pytest.mark.parametrize(
    "name", ["globox_2.9.0_coco.json", "sahi_0.12.8_coco.json", "truth/truth.json"]
)
def test_files_that_other_libraries_wrote(name):
    """Both readers give the same ground truth, in which perfect detections score 1."""
    folder = pathlib.Path(__file__).parents[3] / "shared/field/exports"
    if not (folder / name).exists():
        pytest.skip("needs ../shared/field")
    source = CocoSource(folder / name, folder / "truth/images")
    truth = evaluation.to_coco_ground_truth(source)
    written = json.loads((folder / name).read_text())
    of_file = check_input(written, []).annotations
    key = lambda entry: (entry["image_id"], entry["bbox"])  # noqa: E731
    for one, other in zip(
        sorted(truth["annotations"], key=key), sorted(of_file, key=key), strict=True
    ):
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1e-4)
        assert one["category_id"] == other["category_id"] and one["iscrowd"] == other["iscrowd"]
    found = [entry | {"score": 0.5} for entry in truth["annotations"] if not entry["iscrowd"]]
    assert precision(written, found) == pytest.approx(1)


def test_plain_detections_are_read_together_as_they_are_one_by_one():
    images, categories = {7: 1, 9: 2}, {3: 1}
    rows = [(9, [1.5, -2.0, 3.0, 0.0], 0.5), (7, [0.0, 0.0, 2.0, 4.0], -1.0), (9, [1e9] * 4, 0.1)]
    plain = [
        {"image_id": image, "category_id": 3, "bbox": box, "score": score}
        for image, box, score in rows
    ]
    read = coco_input._plain_detections(plain, images, categories)
    one_by_one = [
        coco_input._detection(number, entry, images, categories)
        for number, entry in enumerate(plain, start=1)
    ]
    assert read == one_by_one
    assert [entry["area"] for entry in read] == [0.0, 8.0, 1e18]
    assert [entry["image_id"] for entry in read] == [2, 1, 2]
    assert read[0]["bbox"] is not plain[0]["bbox"]


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": "9"},
        {"image_id": 9.0},
        {"image_id": 8},
        {"category_id": True},
        {"category_id": 4},
        {"score": 1},
        {"score": float("nan")},
        {"bbox": [0.0, 0.0, -1.0, 1.0]},
        {"bbox": [0.0, 0.0, float("inf"), 1.0]},
        {"bbox": [0.0, 0.0, 1.0]},
        {"bbox": [0.0, 0.0, 1.0, "1"]},
        {"bbox": 5.0},
        {"bbox": [0, 0, 10**400, 1]},
    ],
)
def test_what_is_not_plain_is_left_to_be_looked_at_one_by_one(change):
    plain = {"image_id": 9, "category_id": 3, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 0.5}
    assert coco_input._plain_detections([plain], {9: 1}, {3: 1}) is not None
    assert coco_input._plain_detections([plain, plain | change], {9: 1}, {3: 1}) is None


@pytest.mark.parametrize("change", [{"bbox": [10, 10, 10**400, 16]}, {"score": 10**400}])
def test_a_whole_number_beyond_every_float_is_refused(change):
    with pytest.raises(
        ValueError, match=r"^detection number 1 .* has no '(bbox|score)' that is a "
    ):
        check_input(ground_truth({}), [PERFECT[0] | change])


def test_a_long_value_is_not_quoted_whole():
    for key in ("image_id", "category_id"):
        with pytest.raises(ValueError, match=f"{key} 'x+[.]{{3}}x+'") as error:
            check_input(ground_truth({}), [PERFECT[0] | {key: 5000 * "x"}])
        assert len(str(error.value)) < 300


def test_the_search_for_cycles_is_as_it_was_after_an_error():
    for is_on in (True, False):
        (gc.enable if is_on else gc.disable)()
        try:
            with pytest.raises(ValueError, match="no 'images'"):
                coco_input.check_input({}, [])
            assert gc.isenabled() == is_on
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("change", "found", "sentence"),
    [
        ({}, {"annotations": []}, "the detections must be a list of objects, not a dict"),
        ({}, "[]", "the detections must be a list of objects, not a str"),
        ({}, [PERFECT[0], 5], "the detections must be a list .* but number 2 is a int"),
        ({"images": {"id": 1}}, [], "'images' of the ground truth must be a list of objects, not"),
        ({"annotations": [None]}, [], "'annotations' of the ground .* number 1 is a NoneType"),
        ({"categories": [{"id": 1}]}, [], "no name, or none that is text, of category 1"),
        ({"categories": [{"id": 1, "name": 7}]}, [], "no name, or none that is text, of"),
    ],
)
def test_what_is_no_list_of_objects_is_refused(change, found, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_input(ground_truth({}) | change, found)


def test_ids_of_images_are_in_the_order_of_their_numbers():
    content = {
        "images": [{"id": identity} for identity in ("b", 20, "3", "a")],
        "annotations": [],
        "categories": [{"id": 1, "name": "cell"}],
    }
    assert check_input(content, []).image_ids == ("3", 20, "a", "b")
    row = {"image_id": "a", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}
    (detection,) = check_input(content, [row]).detections
    assert detection["image_id"] == 3
