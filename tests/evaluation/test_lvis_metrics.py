"""LVIS's federated AP: lvis-api's numbers on a stored set, and its rules one by one."""

import json
import pathlib

import pytest

from ioub_jax import evaluation
from ioub_jax.evaluation import recorded_numbers
from tests.evaluation.small_data import annotation, data_set, detection

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden" / "lvis.json").read_text(encoding="utf-8")
)


def golden_detections():
    return [detection(image, box, score, k) for image, k, *box, score in GOLDEN["detections"]]


def lvis(annotations, negative=((), ()), partial=((), ()), categories=("cell", "cat"), **of_class):
    """Two images; of each the classes that are absent, and those that are annotated in part."""
    truth = data_set(annotations, categories=categories)
    for image, absent, some in zip(truth["images"], negative, partial, strict=True):
        image |= {"neg_category_ids": [*absent], "not_exhaustive_category_ids": [*some]}
    for category in truth["categories"]:
        category["frequency"] = of_class.get(category["name"], "f")
    return truth


@pytest.mark.parametrize("backend", ["pycocotools", "faster_coco_eval"])
def test_lvis_apis_numbers(backend):
    truth, found = GOLDEN["ground_truth"], golden_detections()
    metrics = evaluation.evaluate_lvis(truth, found, backend=backend)
    # To the last digits: a precision of one true detection is .9999999999999998 there.
    assert metrics.summary == pytest.approx(GOLDEN["numbers"], abs=1e-12)
    assert list(metrics.summary) == list(GOLDEN["numbers"])
    of_classes = [row.AP for row in metrics.per_class]
    assert of_classes == pytest.approx(GOLDEN["AP_of_classes"], abs=1e-12)
    assert (metrics.images, metrics.boxes, metrics.detections) == (28, 80, len(found))
    # The order of the files is none.
    turned = {key: entries[::-1] for key, entries in truth.items()}
    assert evaluation.evaluate_lvis(turned, found, backend=backend).summary == metrics.summary


# One object, found with a score of .5; whatever is false and better halves the precision.
OBJECT = annotation(1, [0, 0, 20, 20])
TRUE = detection(1, [0, 0, 20, 20], 0.5)
FALSE = [200, 200, 20, 20]


def ap(truth, found):
    return evaluation.evaluate_lvis(truth, [TRUE, *found], backend="pycocotools").summary["AP"]


def test_a_class_that_nobody_looked_for_in_an_image_has_no_false_detections_there():
    elsewhere = [detection(2, FALSE, 0.9)]
    assert ap(lvis([OBJECT]), elsewhere) == pytest.approx(1)
    assert ap(lvis([OBJECT], negative=((), (1,))), elsewhere) == pytest.approx(1 / 2)
    # Where it has an object everything counts.
    assert ap(lvis([OBJECT]), [detection(1, FALSE, 0.9)]) == pytest.approx(1 / 2)


def test_what_is_annotated_in_part_has_no_false_detections():
    found = [detection(1, FALSE, 0.9), detection(1, [150, 10, 90, 90], 0.8)]
    assert ap(lvis([OBJECT]), found) == pytest.approx(1 / 3)
    partial = lvis([OBJECT], partial=((1,), ()))
    assert ap(partial, found) == pytest.approx(1)
    # What matches is true there, once; what lies on the same object again is neither.
    metrics = evaluation.evaluate_lvis(partial, [TRUE, TRUE | {"score": 0.4}, *found])
    assert (metrics.summary["AP"], metrics.summary["AR@300"]) == (pytest.approx(1), 1)
    # Of another image, of which that is not said, it is false.
    other = lvis([OBJECT], negative=((), (1,)), partial=((1,), ()))
    assert ap(other, [detection(2, FALSE, 0.9)]) == pytest.approx(1 / 2)


@pytest.mark.parametrize(("count", "expected"), [(299, 1.0), (300, 0.0)])
def test_three_hundred_of_an_image_count_of_all_classes_together(count, expected):
    # Those of a class that nobody looked for take the places of others, too.
    others = [detection(1, FALSE, 0.9, 2)] * count
    assert ap(lvis([OBJECT]), others) == pytest.approx(expected)
    elsewhere = [row | {"image_id": 2} for row in others]
    assert ap(lvis([OBJECT]), elsewhere) == pytest.approx(1)


def test_boxes_without_area_are_not_there():
    flat = detection(1, [50, 50, 0, 30], 0.9)
    assert ap(lvis([OBJECT]), [flat]) == pytest.approx(1)
    metrics = evaluation.evaluate_lvis(lvis([OBJECT, annotation(1, [9, 9, 9, 0])]), [TRUE])
    assert (metrics.boxes, metrics.summary["AP"]) == (1, pytest.approx(1))


def test_a_region_to_ignore_stays_one():
    region = annotation(1, [190, 190, 40, 40], ignored=1)
    assert ap(lvis([OBJECT, region]), [detection(1, FALSE, 0.9)]) == pytest.approx(1)
    # It makes no class one that somebody looked for.
    truth = lvis([OBJECT, region | {"image_id": 2}])
    assert ap(truth, [detection(2, [0, 0, 9, 9], 0.9)]) == pytest.approx(1)


def test_frequencies_have_means_of_their_own():
    truth = lvis([OBJECT, OBJECT | {"category_id": 2}, OBJECT | {"category_id": 3}],
                 categories=("cell", "cat", "cow"), cell="r", cat="r")  # fmt: skip
    summary = evaluation.evaluate_lvis(truth, [TRUE]).summary
    # Of two rare classes one is found, the frequent one is not, and no class is common.
    assert summary["AP"] == pytest.approx(1 / 3)
    assert (summary["APr"], summary["APc"], summary["APf"]) == (pytest.approx(1 / 2), None, 0)
    del truth["categories"][2]["frequency"]
    assert evaluation.evaluate_lvis(truth, [TRUE]).summary["APf"] is None


def test_nothing_found_is_zero_and_nothing_annotated_is_none():
    summary = evaluation.evaluate_lvis(lvis([OBJECT]), []).summary
    assert (summary["AP"], summary["AR@300"], summary["APl"]) == (0, 0, None)
    empty = evaluation.evaluate_lvis(lvis([], negative=((1,), (1,))), [TRUE])
    assert set(empty.summary.values()) == {None}


def test_ground_truth_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"image 1 .* no 'neg_category_ids': .* use COCO's"):
        evaluation.evaluate_lvis(data_set([OBJECT]), [])
    unknown = lvis([OBJECT], partial=((), (7,)))
    with pytest.raises(ValueError, match=r"image 2 .* 7 among its 'not_exhaustive_category_ids'"):
        evaluation.evaluate_lvis(unknown, [])
    with pytest.raises(ValueError, match=r"'cat' has the frequency 'often', .* 'r', 'c' and 'f'"):
        evaluation.evaluate_lvis(lvis([OBJECT], cat="often"), [])
    with pytest.raises(ValueError, match=r"detection number 1 .* image_id 9"):
        evaluation.evaluate_lvis(lvis([OBJECT]), [detection(9, [0, 0, 1, 1], 0.5)])


def test_the_report():
    truth = lvis([OBJECT], cell="r", cat="c")
    report = evaluation.LvisMetric("pycocotools").compute(truth, [TRUE, detection(2, FALSE, 0.9)])
    assert report.numbers["lvis_AP"] == pytest.approx(1)
    assert evaluation.LvisMetric.headline_key in report.numbers
    assert recorded_numbers.own_numbers(report.numbers) == {}
    assert report.table.splitlines() == [
        "2 images, 1 ground-truth boxes, 2 detections, 1 of them among the 300 best of an image "
        "and of verified classes",
        "",
        "      AP    AP50    AP75     APs     APm     APl     APr     APc     APf",
        "   1.000   1.000   1.000   1.000       -       -   1.000       -       -",
        "",
        "  AR@300  ARs@300  ARm@300  ARl@300",
        "   1.000    1.000        -        -",
        "",
        "      AP    AP50    AP75   boxes  frequency  class",
        "   1.000   1.000   1.000       1  r          cell",
        "       -       -       -       0  c          cat",
    ]
    assert json.loads(json.dumps(report.details))["per_class"][0]["frequency"] == "r"
