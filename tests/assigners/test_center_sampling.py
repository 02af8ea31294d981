import functools

import hypothesis
import jax
import numpy as np
import pytest

from ioub_jax.assigners import fcos
from ioub_jax.box_codecs import centreness
from ioub_jax.matching import gather_boxes
from tests.assigners import small_pyramid as small

LEVELS = small.squares(1.0)
ANCHORS = np.concatenate(LEVELS)
RANGES = ((0, 16), (16, 32))

assigned = functools.partial(
    jax.jit, static_argnames=("center_radius", "size_ranges", "strides", "rule")
)(fcos)


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_torchvision(seed):
    case = small.golden(f"fcos_torchvision/{seed}")
    levels = small.split_levels(case, case["in|anchors"])
    truth = small.golden_truth(case)
    matches = assigned(levels, *truth, rule="torchvision")
    small.assert_assigned(matches, case)
    found = centreness(gather_boxes(truth[0], matches.gt_index)[0], case["in|anchors"])
    positive = case["out|assigned"] >= 0
    np.testing.assert_allclose(found[positive], case["out|centerness"][positive], rtol=2e-5)


def reference(rule, radius, _, boxes, objects):
    """Section 3.2 of the paper for one image, with strides of 8 and 16."""
    result = {}
    for level, (stride, (least, largest), start) in zip(
        LEVELS, ((8, RANGES[0], 0), (16, RANGES[1], 16)), strict=True
    ):
        for n, anchor in enumerate(level, start):
            smallest = np.inf
            for m in objects:
                distances = small.distances_to_edges(anchor[None], boxes[m])[0]
                offset = np.abs(
                    small.centers_of(anchor[None])[0] - (boxes[m, :2] + boxes[m, 2:]) / 2
                )
                size, area = distances.max(), np.prod(boxes[m, 2:] - boxes[m, :2])
                in_range = least <= size <= largest
                if rule == "torchvision":
                    in_range = least < size < largest
                    area = -np.float32(1e8 - area)
                if radius is not None and offset.max() >= radius * stride:
                    continue
                if distances.min() > 0 and in_range and area < smallest:
                    smallest = area
                    result[n] = (m, small.iou_with(anchor[None], boxes[m])[0])
    return result


@pytest.mark.parametrize(("rule", "radius"), [("authors", 1.5), ("torchvision", None)])
@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(truth=small.TRUTHS)
def test_equals_the_paper(rule, radius, truth):
    matches = assigned(LEVELS, *truth, center_radius=radius, size_ranges=RANGES, rule=rule)
    small.assert_equal_to_reference(
        matches, functools.partial(reference, rule, radius), ANCHORS, truth
    )


def of_boxes(*boxes, levels=LEVELS, **options):
    """The slots that the locations go to, -1 for none, by level."""
    boxes = np.float32([boxes])
    valid = np.ones(boxes.shape[:2], bool)
    matches = assigned(levels, boxes, np.zeros(valid.shape, np.int32), valid, ~valid, **options)
    slots = np.where(matches.labels[0] < 0, -1, matches.gt_index[0])
    return np.split(slots, [len(levels[0])])


def positives(*boxes, **options):
    return [np.flatnonzero(level >= 0).tolist() for level in of_boxes(*boxes, **options)]


# The fine centers are at 4, 12, 20 and 28, the coarse ones at 8 and 24.
@pytest.mark.parametrize(("rule", "is_found"), [("authors", True), ("torchvision", False)])
def test_the_ends_of_a_range(rule, is_found):
    options = {"center_radius": 0.5, "size_ranges": RANGES, "rule": rule}
    # (12, 12) is 16 from all edges; (8, 8), 4 from the center, is 20 from two of them.
    assert positives([-4, -4, 28, 28], **options) == [[5] if is_found else [], [0]]
    # (8, 8) is 16 from all edges; fine locations are half a stride from the center, not less.
    assert positives([-8, -8, 24, 24], **options) == [[], [0] if is_found else []]


def test_ranges_are_of_the_strides_where_none_are_given():
    # Up to 64 on the first level, from there on without end on the last: all four coarse locations
    # are within 1.5 strides of (12, 12), and 78 to 94 from the farthest edge.
    box = [-70, -70, 94, 94]
    assert positives(box) == [[], [0, 1, 2, 3]]
    # Taken for strides of 16 and 32, the fine level reaches to 128 and all 16 are near the center.
    assert positives(box, strides=(16.0, 32.0)) == [list(range(16)), []]


@pytest.mark.parametrize(("rule", "slot"), [("authors", 1), ("torchvision", 0)])
def test_which_of_two_boxes_is_the_smaller_one(rule, slot):
    # Areas of 104 and 103: 1e8 less either is 99,999,896 in float32, which has every eighth number.
    options = {"center_radius": None, "size_ranges": RANGES, "rule": rule}
    fine, _ = of_boxes([0, 0, 13, 8], [0, 0, 12.875, 8], **options)
    assert fine[0] == slot
    # One of 1e8 and more is smaller than none.
    coarse = of_boxes([-5000, -5000, 5032, 5032], [9, 9, 9, 9], **{**options, "size_ranges": None})
    assert coarse[1].tolist() == ([0] * 4 if rule == "authors" else [-1] * 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"center_radius": 0.0}, "center_radius is 0.0; it must be above 0, or None"),
        ({"rule": "fcos"}, "rule is 'fcos'; it must be 'authors' or 'torchvision'"),
        ({"strides": (8.0,)}, "strides has 1 entries; it must have 2, one for each level"),
        ({"strides": (0.0, 8.0)}, "strides has 0.0; each must be above 0"),
        ({"size_ranges": ((0, 8), (8, 8))}, "size_ranges has .8, 8.; each must be .least, largest"),
    ],
)
def test_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=words):
        of_boxes([0, 0, 8, 8], **options)
