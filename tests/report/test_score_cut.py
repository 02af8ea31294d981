import numpy as np
import pytest

from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.compared_boxes import compared_boxes
from ioub_jax.evaluation.error_report import error_report
from ioub_jax.report import score_cut
from tests.evaluation.small_data import annotation, data_set, detection
from tests.report import small_report


def cut(ground_truth, detections, thresholds):
    checked = check_input(ground_truth, detections)
    compared = compared_boxes(checked)
    kinds = error_report(checked, compared).errors["50"].detections
    chosen = score_cut.cut_at(compared, kinds, thresholds)
    return chosen, score_cut.image_errors(compared, kinds, chosen, len(checked.images))


def test_what_is_kept_finds_boxes_and_costs():
    chosen, errors = cut(small_report.truth(), small_report.found(), (0.7, 0.2))
    np.testing.assert_array_equal(chosen.kept, [True, True, True, False, True])
    np.testing.assert_array_equal(chosen.found, [True, False, False])
    np.testing.assert_array_equal(chosen.missed, [False, True, True])
    # Image 1: A found exactly, a confusion and a duplicate, B missed. Image 2: one of nothing, C.
    np.testing.assert_array_equal(errors.boxes, [2, 1])
    np.testing.assert_array_equal(errors.true, [1, 0])
    np.testing.assert_array_equal(errors.false, [2, 1])
    np.testing.assert_array_equal(errors.missed, [1, 1])
    np.testing.assert_array_equal(errors.cost, [3, 2])
    np.testing.assert_array_equal(errors.error, [3 / 4, 1])


def test_a_true_detection_costs_what_it_lacks():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    _, errors = cut(truth, [detection(1, [0, 0, 10, 8], 0.9)], (0.5, 0.5))
    # IoU .8 lacks .2 of the .5 that it may lack. Image 2 has nothing at all.
    np.testing.assert_allclose(errors.cost, [0.4, 0.0])
    assert errors.error[0] == pytest.approx(0.4) and np.isnan(errors.error[1])


def test_what_lies_in_a_crowd_is_neither_kept_nor_missed():
    truth = data_set([annotation(1, [0, 0, 50, 50], iscrowd=1)])
    chosen, errors = cut(truth, [detection(1, [0, 0, 10, 10], 0.9)], (0.5, 0.5))
    assert not chosen.kept.any() and not chosen.missed.any()
    assert errors.boxes[0] == errors.cost[0] == 0
