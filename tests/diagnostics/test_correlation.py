import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ioub_jax.diagnostics.correlation import correlation_of, overlaps_of, spearman
from ioub_jax.evaluation.coco_input import check_input
from tests.evaluation.small_data import annotation, data_set, detection


def test_a_detection_has_the_iou_of_the_object_it_overlaps_most():
    truth = data_set(
        [
            annotation(1, [0, 0, 10, 10]),
            annotation(1, [5, 0, 10, 10]),
            annotation(1, [40, 0, 10, 10], category_id=2),
            annotation(2, [0, 0, 10, 10]),
        ]
    )
    found = [
        detection(1, [6, 0, 10, 10], 0.9),  # 40 / 160 and 90 / 110
        detection(1, [5, 0, 10, 10], 0.8),  # 1, though the one before has that object too
        detection(1, [40, 0, 10, 10], 0.7),  # on an object of another class
        detection(2, [0, 0, 10, 5], 0.6),  # 50 / 100
        detection(2, [0, 0, 10, 10], 0.5, category_id=2),  # no object of its class in its image
    ]
    overlaps = overlaps_of(check_input(truth, found))
    np.testing.assert_allclose(overlaps.ious, [90 / 110, 1, 0, 0.5, 0])
    np.testing.assert_array_equal(overlaps.scores, [0.9, 0.8, 0.7, 0.6, 0.5])
    assert overlaps.in_crowds == 0


def test_what_lies_in_a_crowd_is_left_out_unless_it_overlaps_an_object():
    truth = data_set(
        [
            annotation(1, [0, 0, 100, 100], iscrowd=1),
            annotation(1, [0, 0, 10, 10]),
            annotation(2, [0, 0, 100, 100], category_id=2, iscrowd=1),
        ]
    )
    found = [
        detection(1, [50, 50, 10, 10], 0.9),  # inside: left out
        detection(1, [95, 0, 10, 10], 0.8),  # a half of it inside: left out
        detection(1, [96, 0, 10, 10], 0.7),  # 4 / 10 inside: wrong
        detection(1, [0, 0, 10, 8], 0.6),  # inside, but 80 / 100 on an object
        detection(2, [50, 50, 10, 10], 0.5),  # in a crowd of another class: wrong
    ]
    overlaps = overlaps_of(check_input(truth, found))
    assert overlaps.in_crowds == 2
    np.testing.assert_array_equal(overlaps.scores, [0.7, 0.6, 0.5])
    np.testing.assert_allclose(overlaps.ious, [0, 0.8, 0])


def test_correlation_by_hand():
    # Four detections of one object of 10 x 10, with IoU .5, .6, .8 and 1, and one in the void.
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    heights_and_scores = [(5, 0.2), (6, 0.4), (8, 0.3), (10, 0.9)]
    found = [detection(1, [0, 0, 10, height], score) for height, score in heights_and_scores]
    found.append(detection(1, [50, 50, 10, 10], 0.95))
    result = correlation_of(check_input(truth, found))
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = .8.
    assert result.spearman == pytest.approx(0.8)
    assert result.spearman_overlapping == pytest.approx(0.8)
    assert result.pearson == pytest.approx(
        np.corrcoef([0.2, 0.4, 0.3, 0.9], [0.5, 0.6, 0.8, 1.0])[0, 1]
    )
    assert (result.detections, result.located, result.in_crowds) == (5, 4, 0)
    assert result.mean_iou == pytest.approx((0.5 + 0.6 + 0.8 + 1) / 4)
    cell, cat = result.per_class
    assert (cell.detections, cell.located, cell.spearman) == (5, 4, pytest.approx(0.8))
    assert (cat.detections, cat.located, cat.spearman, cat.mean_iou) == (0, 0, None, None)
    # The edges .5, .6 and .8 are in the bins that begin with them, 1 in the last.
    assert [row.detections for row in result.iou_bins] == [1, 0, 0, 0, 0, 1, 1, 0, 1, 1]
    assert result.iou_bins[8].share == pytest.approx(1 / 5)
    assert result.iou_bins[8].share_of_located == pytest.approx(1 / 4)
    assert result.iou_bins[8].score == pytest.approx(0.3)
    assert result.iou_bins[0].share_of_located is None
    assert np.sum(result.density) == 5
    assert result.density[19][18] == 1 and result.density[0][19] == 1


def test_without_detections_nothing_is_defined():
    result = correlation_of(check_input(data_set([annotation(1, [0, 0, 10, 10])]), []))
    assert (result.detections, result.spearman, result.pearson, result.mean_iou) == (0,) + (
        None,
    ) * 3
    assert all(row.share is None and row.score is None for row in result.iou_bins)


def test_without_annotations_everything_is_wrong():
    found = [detection(1, [0, 0, 10, 10], 0.5), detection(2, [0, 0, 10, 10], 0.6)]
    result = correlation_of(check_input(data_set([]), found))
    assert (result.detections, result.located, result.spearman) == (2, 0, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_spearman_is_scipys(pairs):
    first, second = np.array(pairs, float).T
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert spearman(first, second) is None
    else:
        expected = stats.spearmanr(first, second).statistic
        assert spearman(first, second) == pytest.approx(expected, abs=1e-12)
