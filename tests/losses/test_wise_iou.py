"""Wise-IoU v2 and v3: weights by hand, and the running mean."""

import numpy as np
import pytest

from ioub_jax import losses

IOUS = np.array([0.2, 0.6, 0.9], "f4")
WHERE = np.array([True, True, False])


def test_weights_by_hand():
    # The mean of .8 and .4 is .6: half of it and of .5 is .55.
    outlier = np.array([0.8, 0.4]) / 0.55
    expected = {
        1: np.ones(2),
        2: np.sqrt(outlier),
        3: outlier / (2.7 * 1.7 ** (outlier - 2.7)),
    }
    for version, values in expected.items():
        weights, mean = losses.wise_iou_weights(
            IOUS, 0.5, version=version, momentum=0.5, where=WHERE
        )
        np.testing.assert_allclose(mean, 0.55, rtol=1e-6)
        np.testing.assert_allclose(weights, [*values, 1.0], rtol=1e-5)


def test_what_does_not_count_changes_nothing():
    ious = np.array([0.2, 0.6, np.nan], "f4")
    weights, mean = losses.wise_iou_weights(ious, 0.5, momentum=0.5, where=WHERE)
    np.testing.assert_allclose(mean, 0.55, rtol=1e-6)
    assert np.isfinite(weights).all()
    boxes = np.array([[0, 0, 4, 4], [np.nan] * 4], "f4")
    targets = np.array([[0, 0, 4, 2]] * 2, "f4")
    loss, mean = losses.wise_iou_loss(boxes, targets, 1.0, where=[True, False])
    # 1 - IoU is .5 of a mean of 1: .99 + .01 * .5.
    np.testing.assert_allclose(mean, 0.995, rtol=1e-6)
    assert loss[1] == 0 and np.isfinite(loss[0])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_without_a_box_that_counts_the_mean_stays(version):
    weights, mean = losses.wise_iou_weights(
        IOUS, 0.7, version=version, momentum=0.5, where=np.zeros(3, bool)
    )
    np.testing.assert_allclose(mean, 0.7, rtol=1e-6)
    np.testing.assert_array_equal(weights, np.ones(3))


def test_a_mean_of_0_gives_no_infinity():
    for version in (2, 3):
        weights, _ = losses.wise_iou_weights(IOUS, 0.0, version=version, momentum=0.0)
        assert np.isfinite(weights).all()


def test_no_update_in_evaluation():
    _, mean = losses.wise_iou_weights(IOUS, 0.7, momentum=0.0)
    np.testing.assert_allclose(mean, 0.7, rtol=1e-7)
