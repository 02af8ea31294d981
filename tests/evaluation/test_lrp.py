import json

import numpy as np
import pytest

from ioub_jax.diagnostics.coco_matches import curves_of, matches_of
from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.coco_matching import ClassMatches
from ioub_jax.evaluation.lrp import mean_optimal_lrp, optimal_lrp
from tests.evaluation.small_data import annotation, data_set, detection


def matches(true, ious, boxes):
    scores = np.linspace(0.9, 0.1, len(true))
    return ClassMatches("cell", boxes, scores, np.array(true, bool), np.array(ious, float))


def matches_in(truth, found):
    checked = check_input(truth, found)
    return matches_of(checked, coco_metrics.run_evaluator(checked, "pycocotools"))


def test_optimal_lrp_by_hand():
    # Four boxes; detections: true .9, false, true .7, false, false.
    found = optimal_lrp(matches([1, 0, 1, 0, 0], [0.9, 0, 0.7, 0, 0], 4))
    # LRP after each: (.1/.5 + 0 + 3) / 4 = .8, (.2 + 1 + 3) / 5 = .84,
    # ((.1 + .3)/.5 + 1 + 2) / 5 = .76, (.8 + 2 + 2) / 6 = .8, (.8 + 3 + 2) / 7 = .83.
    assert found.error == pytest.approx(0.76)
    assert found.threshold == pytest.approx(0.5)
    assert found.localization == pytest.approx((0.1 + 0.3) / 2)
    assert found.false_positive == pytest.approx(1 / 3)
    assert found.false_negative == pytest.approx(2 / 4)
    assert found.parts == pytest.approx((0.8 / 5, 1 / 5, 2 / 5))


def test_without_true_detections_or_boxes():
    assert optimal_lrp(matches([], [], 0)).error is None
    for nothing in (matches([], [], 3), matches([0, 0], [0, 0], 3)):
        found = optimal_lrp(nothing)
        assert (found.error, found.false_negative) == (1.0, 1.0)
        assert found.localization is found.false_positive is found.threshold is None
        assert found.parts == (0.0, 0.0, 1.0)


def test_a_true_detection_that_is_worth_nothing_still_has_components():
    # IoU .5 counts as much as a miss: the error is 1 at every threshold.
    found = optimal_lrp(matches([0, 1], [0, 0.5], 1))
    assert found.error == pytest.approx(1)
    assert found.localization == pytest.approx(0.5)
    assert found.false_positive == pytest.approx(0.5)


def test_the_mean_is_over_what_exists():
    perfect = optimal_lrp(matches([1], [1.0], 1))
    missed = optimal_lrp(matches([], [], 2))
    mean = mean_optimal_lrp([perfect, missed, optimal_lrp(matches([], [], 0))])
    assert (mean.error, mean.localization, mean.false_positive) == (0.5, 0.0, 0.0)
    assert (mean.false_negative, mean.threshold, mean.parts) == (0.5, None, (0.0, 0.0, 0.5))


def test_matches_are_cocos():
    truth = data_set(
        [
            annotation(1, [0, 0, 10, 10]),
            annotation(1, [50, 50, 40, 40], iscrowd=1),
            annotation(2, [0, 0, 10, 10]),
        ]
    )
    found = [
        detection(1, [0, 0, 10, 9], 0.5),  # 90 / 100
        detection(1, [0, 0, 10, 8], 0.9),  # 80 / 100; better, so it has the box
        detection(1, [60, 60, 10, 10], 0.8),  # in the crowd: ignored
        detection(2, [0, 0, 10, 4], 0.7),  # 40 / 100
    ]
    cell, cat = matches_in(truth, found)
    assert (cell.name, cell.boxes, cat.name, cat.boxes) == ("cell", 2, "cat", 0)
    assert cell.scores.tolist() == [0.9, 0.7, 0.5]
    assert cell.true.tolist() == [True, False, False]
    assert cell.ious.tolist() == [0.8, 0, 0]
    assert cat.scores.shape == (0,)


def test_curves_are_cocos_precision():
    truth = data_set([annotation(1, [0, 0, 10, 10]), annotation(2, [0, 0, 10, 10])])
    found = [detection(1, [0, 0, 10, 8], 0.9), detection(2, [30, 30, 10, 10], 0.8)]
    checked = check_input(truth, found)
    mean, cell, cat = curves_of(checked, coco_metrics.run_evaluator(checked, "pycocotools"))
    # The best detection finds one of two objects: precision 1 up to recall .5, that is 51 points.
    assert cell.precision["0.50"] == pytest.approx([1.0] * 51 + [0.0] * 50)
    assert cell.precision["0.75"] == cell.precision["0.50"]  # its IoU is .8
    assert sum(cell.precision["0.90"]) == 0
    assert mean.precision == cell.precision and mean.name is None
    assert set(cat.precision.values()) == {None}


def test_real_detections_have_the_error_of_the_authors_code(shared_data):
    folder = shared_data / "coco_mini" / "annotations"
    truth, found = (
        json.loads((folder / name).read_text())
        for name in ("instances_val2017.json", "ssdlite_mobilenet_v2_val2017_dets.json")
    )
    mean = mean_optimal_lrp([optimal_lrp(of_class) for of_class in matches_in(truth, found)])
    # The algorithm of kemaloksuz/LRP-Error's cocoeval.py gives this on these files.
    assert mean.error == pytest.approx(0.6853702664598935, abs=1e-12)
    assert sum(mean.parts) == pytest.approx(mean.error)
