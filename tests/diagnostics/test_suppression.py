import numpy as np
import pytest

from ioub_jax.diagnostics.suppression import suppression_of


def test_what_is_kept_and_lost_by_hand():
    # One object loses .3, one .02, one all of it; one is not reached.
    result = suppression_of(np.array([0.9, 0.72, 0.6, 0.4]), np.array([0.6, 0.7, 0.0, 0.4]))
    assert (result.objects, result.reached) == (4, 3)
    assert result.candidate_iou == pytest.approx((0.9 + 0.72 + 0.6) / 3)
    assert result.kept_iou == pytest.approx((0.6 + 0.7) / 3)
    assert result.lost_iou == pytest.approx((0.3 + 0.02 + 0.6) / 3)
    assert result.lost_share == pytest.approx(2 / 3)
    assert (result.thresholds[0], result.thresholds[-1]) == (0.5, 0.99)
    at_65 = result.thresholds.index(0.65)
    assert (result.candidate_recall[at_65], result.kept_recall[at_65]) == (0.5, 0.25)
    objects = {row.lower: (row.objects, row.lost) for row in result.bins if row.objects}
    assert objects == {
        0.6: (1, pytest.approx(0.6)),
        0.7: (1, pytest.approx(0.02)),
        0.9: (1, pytest.approx(0.3)),
    }


def test_without_an_object_there_is_nothing_to_lose():
    result = suppression_of(np.zeros(0), np.zeros(0))
    assert result.candidate_iou is result.kept_iou is result.lost_iou is result.lost_share is None
    assert set(result.candidate_recall) == {0.0}
