import functools

import hypothesis
import jax
import numpy as np
import pytest

from ioub_jax.assigners import atss
from tests.assigners import small_pyramid as small

LEVELS = small.squares(4.0)
ANCHORS = np.concatenate(LEVELS)

assigned = functools.partial(jax.jit, static_argnames="topk")(atss)


@pytest.mark.parametrize(("seed", "double"), [(0, False), (1, False), (1, True)])
def test_equals_the_authors_code(seed, double):
    case = small.golden(f"atss_mmdet3/{seed}")
    with jax.enable_x64(double):
        levels = small.split_levels(case, case["in|anchors"])
        matches = assigned(levels, *small.golden_truth(case))
        small.assert_assigned(matches, case)
        np.testing.assert_allclose(
            matches.iou[0], case["out|iou"], rtol=1e-12 if double else 1e-6, atol=1e-12
        )


def reference(topk, _, boxes, objects):
    """Algorithm 1 of the paper for one image."""
    result = {}
    sizes = [len(level) for level in LEVELS]
    for m in objects:
        center = (boxes[m, :2] + boxes[m, 2:]) / 2
        candidates = []
        for level, start in zip(LEVELS, (0, sizes[0]), strict=True):
            distances = np.sum((small.centers_of(level) - center) ** 2, axis=1)
            candidates += list(start + np.argsort(distances, kind="stable")[:topk])
        ious = small.iou_with(ANCHORS[candidates], boxes[m])
        threshold = np.mean(ious) + np.std(ious, ddof=1)
        for n, iou in zip(candidates, ious, strict=True):
            inside = small.distances_to_edges(ANCHORS[[n]], boxes[m]).min() > 0.01
            highest = result.get(n, (0, -1.0))[1]
            if inside and iou >= threshold * (1 - 1e-6) and iou > highest:
                result[n] = (m, iou)
    return result


# The second level has four locations in all.
@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(truth=small.TRUTHS)
def test_equals_the_paper(truth):
    matches = assigned(LEVELS, *truth, topk=5)
    small.assert_equal_to_reference(matches, functools.partial(reference, 5), ANCHORS, truth)


def of_one_box(levels, box, **options):
    """The positives and IoUs for one box of class 7."""
    valid = np.ones((1, 1), bool)
    matches = assigned(
        tuple(map(np.float32, levels)), np.float32([[box]]), np.int32([[7]]), valid, ~valid,
        **options,
    )  # fmt: skip
    assert set(np.unique(matches.labels)) <= {-1, 7}
    return np.flatnonzero(matches.labels[0] == 7).tolist(), np.asarray(matches.iou[0])


def test_the_threshold_is_the_mean_and_the_deviation_of_a_sample():
    # Areas shared with the box of 100 are 100, 80 and 50, the areas of the anchors 100: IoUs are
    # 1, 80 / 120 and 50 / 150. Their mean is 2/3, their deviation 1/3, of a sample: only 1 reaches
    # their sum. Without the third the mean is 5/6, the deviation sqrt(2) / 6: above 1.
    box = [0, 0, 10, 10]
    level = [box, [2, 0, 12, 10], [5, 0, 15, 10]]
    found, ious = of_one_box([level], box)
    assert found == [0]
    np.testing.assert_allclose(ious, [1, 0, 0])
    assert of_one_box([level[:2]], box)[0] == []


def test_candidates_of_equal_iou_are_all_positive():
    # Squares of 8 inside a box of 24, one after another: IoUs of 64 / 576, no deviation.
    level = [[x, 8, x + 8, 16] for x in (0.1, 8.2, 16.0)]
    found, ious = of_one_box([level], [0, 0, 24, 24])
    assert found == [0, 1, 2]
    np.testing.assert_allclose(ious, 1 / 9, rtol=1e-5)
    # One alone has none either; that of a sample of one is not defined.
    assert of_one_box([level[:1]], [0, 0, 24, 24])[0] == [0]


def test_a_center_must_lie_inside():
    level = [[0, 0, 10, 10]]
    assert of_one_box([level], [5, 0, 15, 10])[0] == []
    assert of_one_box([level], [4.9, 0, 14.9, 10])[0] == [0]


def test_of_centers_equally_far_away_the_first_is_a_candidate():
    # Both centers are 5 from that of the box, which holds them both; one of them is a candidate.
    level = [[0, 0, 10, 10], [10, 0, 20, 10]]
    assert of_one_box([level], [0, 0, 20, 10], topk=1)[0] == [0]
    assert of_one_box([level[::-1]], [0, 0, 20, 10], topk=1)[0] == [0]
    assert of_one_box([level], [0, 0, 20, 10], topk=2)[0] == [0, 1]


def test_of_boxes_that_overlap_equally_the_first_slot_wins():
    boxes = np.float32([[[50, 50, 60, 60], [0, 0, 10, 10], [0, 0, 10, 10]]])
    valid = np.array([[False, True, True]])
    matches = assigned((boxes[0, 1:2],), boxes, np.int32([[0, 1, 2]]), valid, valid & False)
    assert (matches.labels.tolist(), matches.gt_index.tolist()) == ([[1]], [[1]])


def test_candidates_of_a_large_level_are_found_in_groups():
    # 1,600 locations, more than 9 groups of 128 hold; the nearest nine are those around (20, 20).
    level = small.retinanet_anchors(
        (320, 320), strides=(8,), base_scale=1.0, scales_per_octave=1, ratios=(1.0,), rounded=False
    )[0]
    found, _ = of_one_box([level], [80, 160, 104, 184])
    # Centers 84, 92, 100 by 164, 172, 180: columns 10 to 12 of rows 20 to 22, 40 a row.
    assert found == [40 * row + column for row in (20, 21, 22) for column in (10, 11, 12)]
    with pytest.raises(ValueError, match="topk is 0; it must be a whole number, at least 1"):
        of_one_box([level], [0, 0, 8, 8], topk=0)
