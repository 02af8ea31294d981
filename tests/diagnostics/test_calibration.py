import numpy as np
import pytest

from ioub_jax.diagnostics.calibration import calibration_of
from ioub_jax.evaluation.coco_matching import ClassMatches


def of_class(name, scores, true, ious):
    return ClassMatches(name, 9, np.array(scores), np.array(true, bool), np.array(ious, float))


def test_calibration_by_hand():
    first = of_class("cell", [0.92, 0.91, 0.23], [1, 1, 0], [0.9, 0.7, 0])
    second = of_class("cat", [0.25, 0.21], [1, 0], [0.6, 0])
    result = calibration_of([first, second])
    assert [row.detections for row in result.bins] == [0, 0, 3, 0, 0, 0, 0, 0, 0, 2]
    low, high = result.bins[2], result.bins[9]
    assert (low.lower, low.upper) == (0.2, 0.3)
    assert low.score == pytest.approx((0.23 + 0.25 + 0.21) / 3)
    assert low.precision == pytest.approx(1 / 3)
    assert low.mean_iou == pytest.approx(0.6)
    assert (high.precision, high.mean_iou) == (1.0, pytest.approx(0.8))
    # Three of five detections miss by |1/3 - .23|, two by |1 - .915|.
    assert result.d_ece == pytest.approx(0.6 * (1 / 3 - 0.23) + 0.4 * 0.085)
    # Bins of .04. The first class: .92 in [.92, .96) misses by .02 and .91 in [.88, .92) by .21,
    # .23 in [.20, .24) by all of it. The second: .25 in [.24, .28) by .35, .21 by all of it.
    of_first = (abs(0.9 - 0.92) + abs(0.7 - 0.91) + 0.23) / 3
    of_second = (abs(0.6 - 0.25) + 0.21) / 2
    assert dict(result.per_class) == pytest.approx({"cell": of_first, "cat": of_second})
    assert result.la_ece == pytest.approx((of_first + of_second) / 2)


def test_scores_at_and_beyond_the_ends_are_in_the_outer_bins():
    result = calibration_of([of_class("cell", [7.0, 1.0, 0.0, -2.0], [0] * 4, [0] * 4)])
    assert [row.detections for row in result.bins] == [2, *[0] * 8, 2]
    assert result.bins[0].mean_iou is None


def test_without_a_detection_there_is_no_error():
    result = calibration_of([of_class("cell", [], [], [])])
    assert result.d_ece is result.la_ece is None
    assert result.per_class == (("cell", None),)
    assert result.bins[0].score is result.bins[0].precision is None


def test_a_class_without_detections_does_not_count():
    perfect = of_class("cell", [0.5, 0.5], [1, 0], [1.0, 0])
    result = calibration_of([perfect, of_class("cat", [], [], [])])
    assert result.d_ece == result.la_ece == 0
