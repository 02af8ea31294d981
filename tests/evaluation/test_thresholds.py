import json

import pytest

from ioub_jax.evaluation import thresholds
from ioub_jax.evaluation.thresholds import best_thresholds
from tests.evaluation.small_data import annotation, data_set, detection

# Cells at x = 0, 100, 200, 300 in image 1, all 10 x 10. Detections of them, best first:
#   .9 at 0: IoU 1; .8 at 103: IoU 7/13; .7 nowhere; .6 at 200: IoU 1; .5 nowhere; .4 nowhere.
# From .9 on: TP 1, FP 0, FN 3; F1 = 2 / (1 + 4) = .4; LRP = (0 + 0 + 3) / 4 = .75
#      .8         2     0     2       4 / (2 + 4) = .667      (12/13 + 2) / 4 = .731
#      .7         2     1     2       4 / (3 + 4) = .571      (12/13 + 3) / 5 = .785
#      .6         3     1     1       6 / (4 + 4) = .75       (12/13 + 2) / 5 = .585
#      .5         3     2     1       6 / (5 + 4) = .667      (12/13 + 3) / 6 = .654
#      .4         3     3     1       6 / (6 + 4) = .6        (12/13 + 4) / 7 = .703
# where (1 - 7/13) / (1 - .5) = 12/13. Both are best from .6 on: midway to .5 is .55.
CELLS = [annotation(1, [x, 0, 10, 10]) for x in (0, 100, 200, 300)]
FOUND = [
    detection(1, [x, 0, 10, 10], score)
    for x, score in ((0, 0.9), (103, 0.8), (500, 0.7), (200, 0.6), (500, 0.5), (520, 0.4))
]


def test_by_hand():
    found = best_thresholds(data_set(CELLS), FOUND)
    cell, cat = found.per_class
    assert (cell.name, cell.category_id, cell.boxes) == ("cell", 1, 4)
    for point in (cell.by_f1, cell.by_lrp, found.all_classes.by_f1):
        assert point.threshold == pytest.approx(0.55)
        assert (point.precision, point.recall, point.f1) == (0.75, 0.75, 0.75)
        assert point.lrp == pytest.approx((12 / 13 + 2) / 5)
    assert (cat.boxes, cat.by_f1, cat.by_lrp) == (0, None, None)
    assert (found.all_classes.name, found.all_classes.boxes, found.iou) == (None, 4, 0.5)


def test_f1_and_lrp_may_differ():
    # Two boxes; .9 with IoU 1, .8 nowhere, .5 moved by 3: IoU 7/13, which costs 12/13.
    # From .9 on: F1 2 / (1 + 2) = .667, LRP 1/2; from .5 on: F1 4 / (3 + 2) = .8,
    # LRP (12/13 + 1) / 3 = .641. So F1 takes all three, LRP the first: midway to .8.
    truth = data_set([annotation(1, [x, 0, 10, 10]) for x in (0, 100)])
    found = [detection(1, [x, 0, 10, 10], score) for x, score in ((0, 0.9), (500, 0.8), (103, 0.5))]
    row = best_thresholds(truth, found).per_class[0]
    assert (row.by_f1.threshold, row.by_f1.f1) == (0.5, 0.8)  # behind the last there is no other
    assert row.by_f1.lrp == pytest.approx(25 / 39)
    assert row.by_lrp.threshold == pytest.approx(0.85)
    assert (row.by_lrp.lrp, row.by_lrp.f1) == pytest.approx((0.5, 2 / 3))


def test_equal_scores_are_kept_together():
    """A true one, then a false one of its score: alone the first would have F1 1."""
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    found = [detection(1, [0, 0, 10, 10], 0.5), detection(2, [0, 0, 10, 10], 0.5)]
    point = best_thresholds(truth, found).per_class[0].by_f1
    assert (point.threshold, point.precision, point.recall) == (0.5, 0.5, 1)
    assert (point.f1, point.lrp) == pytest.approx((2 / 3, 0.5))


def test_the_threshold_keeps_exactly_what_it_says():
    """Neighbors in float64, between which there is nothing, and the same far from each other."""
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    for lower in (0.5, 0.49999999999999994, 0.0, -3.0):
        found = [
            detection(1, [0, 0, 10, 10], 0.5000000000000001),
            detection(2, [0, 0, 9, 9], lower),
        ]
        point = best_thresholds(truth, found).per_class[0].by_f1
        assert lower < point.threshold <= 0.5000000000000001
        assert point.f1 == 1


def test_all_classes_together_and_what_a_class_is_cut_at(monkeypatch):
    # Cells as above; cats: one box, found at .3, and a false one of .35. Together from .6 on:
    # TP 3, FP 1, FN 2: 6 / (4 + 5) = .667; from .3 on TP 4, FP 4, FN 1: 8 / (8 + 5) = .615.
    truth = data_set([*CELLS, annotation(2, [0, 0, 10, 10], 2)])
    cats = [detection(2, [0, 0, 10, 10], 0.3, 2), detection(2, [50, 0, 10, 10], 0.35, 2)]
    found = best_thresholds(truth, FOUND + cats)
    assert found.all_classes.by_f1.threshold == pytest.approx(0.55)
    assert found.all_classes.by_f1.f1 == pytest.approx(6 / 9)
    assert found.per_class[1].by_f1.threshold == 0.3
    assert found.scores() == pytest.approx((0.55, 0.55))  # one box says too little
    monkeypatch.setattr(thresholds, "LEAST_BOXES", 1)
    assert found.scores() == pytest.approx((0.55, 0.3))
    # False detections of a class without ground truth count among all.
    without = best_thresholds(data_set(CELLS), [*FOUND, detection(1, [0, 0, 9, 9], 0.95, 2)])
    assert without.all_classes.by_f1.precision == pytest.approx(3 / 5)


def test_without_a_true_detection_there_is_no_threshold():
    for found in ([], [detection(1, [500, 0, 10, 10], 0.9)]):
        result = best_thresholds(data_set(CELLS), found)
        rows = (result.all_classes, *result.per_class)
        assert {point for row in rows for point in (row.by_f1, row.by_lrp)} == {None}
        assert result.scores() == (thresholds.UNMEASURED,) * 2


def test_at_an_iou_of_one_there_is_no_lrp():
    row = best_thresholds(data_set(CELLS), FOUND, iou=1.0).per_class[0]
    assert (row.by_f1.recall, row.by_f1.lrp, row.by_lrp) == (0.5, None, None)


def test_crowds_count_neither_way():
    crowd = annotation(1, [600, 0, 100, 100], iscrowd=1)
    with_crowd = best_thresholds(
        data_set([*CELLS, crowd]), [*FOUND, detection(1, [610, 10, 10, 10], 0.95)]
    )
    assert with_crowd == best_thresholds(data_set(CELLS), FOUND)


def test_real_detections_reach_what_is_said(shared_data):
    """Cut by a threshold, a file has the precision and the recall that were measured."""
    folder = shared_data / "coco_mini" / "annotations"
    truth, found = (
        json.loads((folder / name).read_text())
        for name in ("instances_val2017.json", "ssdlite_mobilenet_v2_val2017_dets.json")
    )
    measured = best_thresholds(truth, found)
    for row in measured.per_class[:3]:
        for point in (row.by_f1, row.by_lrp):
            kept = [
                item
                for item in found
                if item["category_id"] == row.category_id and item["score"] >= point.threshold
            ]
            again = best_thresholds(truth, kept).per_class[row.category_id - 1]
            # What is kept is best kept as it is, by F1; and it is as much by LRP.
            again = again.by_f1 if point is row.by_f1 else again.by_lrp
            for name in ("precision", "recall", "f1", "lrp"):
                assert getattr(again, name) == pytest.approx(getattr(point, name)), name
