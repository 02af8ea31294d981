import math

import numpy as np
import pytest

from ioub_jax.report import run_pairs
from ioub_jax.report.measurement import measure
from tests.evaluation.small_data import annotation, data_set, detection
from tests.report import small_report


@pytest.fixture(scope="module")
def measured():
    return measure(small_report.truth(), small_report.found(), "small", resamplings=20)


def test_numbers_are_those_of_their_modules(measured):
    # cell: 2 boxes; the first of four is true: recall 1/2 at precision 1, so 51 of 101. cat: 0.
    assert measured.metrics.summary["AP"] == pytest.approx(51 / 101 / 2)
    low, high = measured.intervals["AP"]
    assert low <= measured.metrics.summary["AP"] <= high
    assert [entry.name for entry in measured.images] == ["1.png", "2.png"]
    assert [entry.size for entry in measured.images] == [(100.0, 80.0)] * 2
    assert len(measured.curves) == 3
    # Few boxes: both classes are cut between .92 and .81, where F1 is best for all together.
    assert measured.cut.thresholds == pytest.approx((0.865, 0.865))
    # What is kept is A alone, and objects count in any case.
    assert measured.classes_of_images == ((0, 1), (0,))
    assert measured.suppression is None


def test_scores_are_counted_by_class_and_what_they_are_of(measured):
    scores = measured.scores
    cell, cat = scores.per_class
    # Bins of .05: .92 in the 18th from 0, .81 in the 16th, .72 in the 14th, .63 in the 12th.
    assert [number for number, count in enumerate(cell.true) if count] == [18]
    assert [number for number, count in enumerate(cell.false) if count] == [12, 14, 16]
    assert [number for number, count in enumerate(cat.false) if count] == [6]
    assert sum(scores.all_classes.false) == 4
    # From .8 on there are two, one of them true, of three boxes.
    assert scores.thresholds[80] == pytest.approx(0.8)
    assert scores.precision[80] == pytest.approx(1 / 2)
    assert scores.recall[80] == pytest.approx(1 / 3)
    assert scores.precision[100] is None


def test_objects_are_grouped_by_size(measured):
    size, aspect, crowding, border = measured.groupings
    # Sides 20, 20, 40: the bounds of fifths are 20, 20, 24 and 32.
    assert [(group.name, group.boxes) for group in size.groups] == [
        ("20 to 24 px", 2),
        ("32 px and more", 1),
    ]
    # 20 to 24: of cells A is found first, of cats B is not; C is not found either.
    assert [group.AP for group in size.groups] == pytest.approx([0.5, 0.0])
    assert [group.found for group in size.groups] == [0.5, 0.0]
    # All are square and alone; A and B are 10 of 80 pixels from the border, C is at it.
    assert [group.name for group in aspect.groups] == ["2:3 to 3:2"]
    assert [group.name for group in crowding.groups] == ["alone"]
    assert [(group.name, group.boxes) for group in border.groups] == [
        ("at the border", 1),
        ("10 to 20%", 2),
    ]
    # A false detection counts where its own box is: that of image 2 is at the border.
    assert [group.AP for group in border.groups] == pytest.approx([0.0, 0.5])


def test_groups_of_all_objects_have_the_ap_of_all(measured):
    (squares,) = measured.groupings[1].groups
    summary = measured.metrics.summary
    numbers = [squares.AP, squares.AP50]
    assert numbers == pytest.approx([summary["AP"], summary["AP50"]])


def test_what_overlaps_is_crowded():
    # IoU 50 / 150 of the first two, nothing of the third; a crowd is no object.
    boxes = [[0, 0, 10, 10], [5, 0, 10, 10], [50, 50, 10, 10]]
    truth = data_set(
        [*(annotation(1, box) for box in boxes), annotation(1, [0, 0, 60, 60], iscrowd=1)]
    )
    grouping = measure(truth, [], resamplings=2).groupings[2]
    assert [(group.name, group.boxes) for group in grouping.groups] == [
        ("alone", 1),
        (".3 to .5", 2),
    ]


def test_without_sizes_no_border_is_known():
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    truth["images"][0] |= {"width": "wide", "height": -3, "file_name": 7}
    measured = measure(truth, [], resamplings=2)
    assert measured.groupings[3].groups == ()
    assert measured.images[0].name == "1" and measured.images[0].size is None


@pytest.mark.parametrize("images", [(), (1,), (1, 2)])
def test_without_objects_or_detections_there_are_no_numbers(images):
    measured = measure(data_set([], images=images), [], resamplings=3)
    assert measured.metrics.summary["AP"] is None
    assert measured.intervals["AP"] is None
    assert not any(grouping.groups for grouping in measured.groupings)
    assert measured.scores.recall[0] is None


def test_one_image_has_no_interval():
    truth = data_set([annotation(1, [0, 0, 10, 10])], images=(1,))
    measured = measure(truth, [detection(1, [0, 0, 10, 10], 0.5)])
    assert measured.metrics.summary["AP"] == pytest.approx(1.0)
    assert measured.intervals["AP"] is None


def test_scores_beyond_1_widen_the_bins():
    truth = data_set([annotation(1, [0, 0, 10, 10])], images=(1,))
    measured = measure(truth, [detection(1, [0, 0, 10, 10], score) for score in (-3.0, 80.0)])
    assert measured.scores.edges[0] == -3.0 and measured.scores.edges[-1] == 80.0
    assert measured.scores.all_classes.true[-1] == measured.scores.all_classes.false[0] == 1


def test_two_runs_are_compared_image_by_image(measured):
    better = [*small_report.found()[:1], detection(2, small_report.C, 0.9, 1)]
    other = measure(small_report.truth(), better, "better", resamplings=20)
    pair = run_pairs.compare_runs(measured, other)
    # The other finds C, too: AP of cells is 1 for 51 / 101.
    assert pair.AP[0].difference == pytest.approx(51 / 101 - 1)
    assert pair.summary["AP"].difference == pytest.approx((51 / 101 - 1) / 2)
    assert pair.summary["AP"].interval[0] <= pair.summary["AP"].difference
    # Image 1 is as it was: B is missed. Image 2 costs a missed object less.
    np.testing.assert_array_equal(pair.moved, [0, 1])
    assert pair.worse.tolist() == [1] and pair.better.tolist() == []
    assert pair.cost.difference == pytest.approx(0.5)
    back = run_pairs.compare_runs(other, measured)
    assert back.better.tolist() == [1]
    assert back.summary["AP"].interval == pytest.approx(
        tuple(-bound for bound in pair.summary["AP"].interval[::-1])
    )
    assert back.AP50[1].difference == pytest.approx(0.0)
    assert math.isclose(back.errors["missed"].first, 0.5)  # B, half of the mean over the classes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "dog"}]}, "their classes"),
        ({"images": [{"id": 1}, {"id": 3}]}, "their images differ"),
        ({"annotations": []}, "their ground-truth boxes differ"),
    ],
)
def test_runs_of_other_data_are_not_compared(measured, change, sentence):
    truth = small_report.truth() | change
    if "images" in change:
        truth["annotations"] = truth["annotations"][:2]
    other = measure(truth, [], "other", resamplings=2)
    with pytest.raises(ValueError, match=f"small and other cannot be compared: {sentence}"):
        run_pairs.compare_runs(measured, other)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/data/x/a.png", "/data/x/b.png"], ["a.png", "b.png"]),
        (["/data/x/a.png", "/data/xy/a.png"], ["x/a.png", "xy/a.png"]),
        (["/a.png", "/b.png"], ["a.png", "b.png"]),
        (["a.png", "ab.png"], ["a.png", "ab.png"]),
        (["x/a.png", "a.png"], ["x/a.png", "a.png"]),
    ],
)
def test_images_are_named_without_the_folder_that_all_are_in(names, expected):
    truth = data_set([])
    for entry, name in zip(truth["images"], names, strict=True):
        entry["file_name"] = name
    measured = measure(truth, [], resamplings=0)
    assert [entry.name for entry in measured.images] == expected
    assert [entry.file_name for entry in measured.images] == names
