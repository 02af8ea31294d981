"""Mosaic, mixup and copy-paste: what is painted is found where the boxes say."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax.data.joining import copy_paste, mixup, mosaic
from ioub_jax.data.transforms import fitted_size
from tests.data import painted

SEEDS = st.integers(0, 2**32 - 1)
SETTINGS = hypothesis.settings(max_examples=30, deadline=None)
GRAY = (9, 9, 9)
SIZES = [(60, 80), (40, 90), (128, 64), (30, 30)]


def colored(number, size):
    """An image of one object in the middle, in level 255 - 20 * number, and some flag."""
    height, width = size
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    example = painted.rectangles(height, width, [box])
    example.image[example.image > 0] = 255 - 20 * number
    return dataclasses.replace(
        example,
        labels=np.array([number], np.int32),
        difficult=np.array([number == 1]),
        crowd=np.array([number == 2]),
        image_id=number,
    )


EXAMPLES = [colored(number, size) for number, size in enumerate(SIZES)]


def _mosaic(seed, limits=(0.5, 1.5), min_visibility=0.0, size=(90, 120), examples=EXAMPLES):
    out = np.full((*size, 3), 77, np.uint8)
    rng = np.random.default_rng(seed)
    joined = mosaic(
        examples,
        rng,
        size_of=lambda image: fitted_size(image, size),
        factors=rng.uniform(*limits, 4).tolist(),
        min_visibility=min_visibility,
        color=GRAY,
        out=out,
    )
    return joined, out


@SETTINGS
@hypothesis.given(SEEDS)
def test_every_object_of_a_mosaic_is_found_where_its_box_says(seed):
    joined, out = _mosaic(seed)
    assert joined.image is out and joined.image_id == 0
    assert (out == 77).all(axis=-1).mean() < 0.01  # but where it comes out by interpolation
    for number in joined.labels.tolist():
        blank = [
            other
            if other is EXAMPLES[number]
            else dataclasses.replace(other, image=np.zeros_like(other.image))
            for other in EXAMPLES
        ]
        alone, picture = _mosaic(seed, examples=blank)
        np.testing.assert_array_equal(alone.boxes, joined.boxes)
        seen = painted.found(picture, 128 - 10 * number)  # half of its level
        if seen is not None:  # it may be less than half a pixel
            np.testing.assert_allclose(joined.boxes[joined.labels == number][0], seen, atol=1.0)
    assert joined.difficult.tolist() == (joined.labels == 1).tolist()
    assert joined.crowd.tolist() == (joined.labels == 2).tolist()
    sides = joined.boxes[:, 2:] - joined.boxes[:, :2]
    np.testing.assert_allclose(joined.area, sides.prod(axis=1), rtol=0.1)
    assert (joined.boxes >= 0).all() and (joined.boxes <= [120, 90, 120, 90]).all()


def test_the_four_quarters_meet_in_the_middle_half():
    plain = [
        dataclasses.replace(example, image=np.full_like(example.image, 50 * (number + 1)))
        for number, example in enumerate(EXAMPLES)
    ]
    points = []
    for seed in range(50):
        _, out = _mosaic(seed, limits=(3.0, 3.0), examples=plain)  # all fill their quarter
        top, left = int((out[:, 0, 0] == 50).sum()), int((out[0, :, 0] == 50).sum())
        expected = np.zeros((90, 120), int)
        for number, rows, columns in (
            (1, slice(top), slice(left)),
            (2, slice(top), slice(left, None)),
            (3, slice(top, None), slice(left)),
            (4, slice(top, None), slice(left, None)),
        ):
            expected[rows, columns] = 50 * number
        np.testing.assert_array_equal(out[..., 0], expected)
        points.append((top / 90, left / 120))
    assert 0.24 < np.min(points) < 0.3 and 0.7 < np.max(points) < 0.76


def test_a_factor_scales_each_image_and_small_ones_touch_the_middle():
    # Half of 60x80 on 90x120 is 45x60: its object of 30x40 becomes 22.5x30 where nothing is cut.
    whole = 0
    for seed in range(30):
        joined, out = _mosaic(seed, limits=(0.5, 0.5))
        sides = (joined.boxes[:, 2:] - joined.boxes[:, :2])[joined.labels == 0]
        whole += len(sides) and np.allclose(sides, [[30, 22.5]], atol=0.01)
        assert (out == 9).all(axis=-1).any()  # the rim
    assert whole > 5


def test_what_is_mostly_cut_off_in_a_mosaic_is_ignored():
    ignored = 0
    for seed in range(40):
        strict, _ = _mosaic(seed, limits=(1.5, 1.5), min_visibility=0.5)
        lenient, _ = _mosaic(seed, limits=(1.5, 1.5))
        np.testing.assert_array_equal(strict.boxes, lenient.boxes)
        assert not lenient.ignored.any()
        ignored += strict.ignored.sum()
    assert ignored > 5


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (7, 1)])
def test_a_mosaic_of_a_few_pixels_is_one(size):
    for seed in range(5):
        joined, out = _mosaic(seed, size=size)
        assert out.shape == (*size, 3) and len(joined.labels) == len(joined.boxes)


def test_a_mixup_shows_both_and_keeps_the_objects_of_both():
    first = painted.rectangles(60, 80, [(0, 0, 20, 20)], difficult=np.array([True]))
    other = painted.rectangles(40, 90, [(30, 10, 60, 30), (70, 0, 90, 40)])
    weights = []
    for seed in range(200):
        mixed = mixup(first, other, np.random.default_rng(seed), min_visibility=0.6)
        # Beyond column 80 the other is cut off: of its second object a half is left.
        np.testing.assert_array_equal(
            mixed.boxes, [[0, 0, 20, 20], [30, 10, 60, 30], [70, 0, 80, 40]]
        )
        assert mixed.labels.tolist() == [0, 0, 1] and mixed.ignored.tolist() == [0, 0, 1]
        assert mixed.difficult.tolist() == [True, False, False]
        weight = mixed.image[5, 5, 0] / 255
        assert abs(mixed.image[20, 40, 0] / 255 - (1 - weight)) < 0.01
        assert mixed.image[50, 10, 0] == 0 and mixed.image.shape == (60, 80, 3)
        weights.append(weight)
    # Beta(32, 32) has a deviation of sqrt(1 / (4 * 65)) = .062.
    assert abs(np.mean(weights) - 0.5) < 0.02 and 0.05 < np.std(weights) < 0.075
    assert first.image[5, 5, 0] == 255 and other.image[20, 40, 0] == 255


def test_pixels_beyond_a_smaller_image_stay():
    first = painted.rectangles(60, 80, [(70, 50, 80, 60)])
    mixed = mixup(
        first,
        painted.rectangles(40, 40, [(0, 0, 5, 5)]),
        np.random.default_rng(0),
        min_visibility=0.0,
    )
    assert (mixed.image[50:, 70:] == 255).all()


@SETTINGS
@hypothesis.given(SEEDS)
def test_pasted_objects_are_found_where_their_boxes_say(seed):
    target = dataclasses.replace(
        painted.rectangles(90, 120, [(10, 10, 70, 70)]), labels=np.array([7], np.int32)
    )
    donor = painted.rectangles(60, 80, [(5, 5, 25, 20), (40, 30, 70, 55)])
    donor.image[donor.image > 0] -= 100  # 155 and 135
    pasted = copy_paste(target, donor, np.random.default_rng(seed), min_visibility=0.3)
    for box, label in zip(pasted.boxes[1:], pasted.labels[1:], strict=True):
        assert painted.found((pasted.image == 155 - 20 * label) * 255).tolist() == box.tolist()
    np.testing.assert_array_equal(pasted.boxes[0], [10, 10, 70, 70])
    covered = (pasted.image[10:70, 10:70, 0] != 255).mean()
    assert pasted.ignored.tolist() == [covered > 0.7] + [False] * (len(pasted.labels) - 1)
    assert target.image[20, 20, 0] == 255 and pasted.area[1:].sum() in (0, 300, 750, 1050)


def test_what_else_lies_in_a_pasted_box_comes_with_it():
    # The second is inside of the first by 1/4 of its box, the third by all, the fourth by 1/10.
    boxes = [(0, 0, 40, 40), (30, 30, 50, 50), (5, 5, 15, 15), (39, 0, 49, 10)]
    donor = painted.rectangles(60, 60, boxes, crowd=np.array([False, True, True, True]))
    target = painted.rectangles(60, 60, [(0, 0, 10, 10)])
    for seed in range(20):
        pasted = copy_paste(target, donor, np.random.default_rng(seed), min_visibility=0.2)
        if len(pasted.labels) == 1:
            assert pasted is target
            continue
        assert pasted.labels.tolist() == [0, 0, 1, 2, 3]
        assert pasted.ignored.tolist()[1:] == [False, False, False, True]
        assert pasted.crowd.tolist()[1:] == [False, True, True, True]
        corner = pasted.boxes[1, :2]
        np.testing.assert_array_equal(
            pasted.boxes[1:] - np.tile(corner, 2),
            [[0, 0, 40, 40], [30, 30, 40, 40], [5, 5, 15, 15], [39, 0, 40, 10]],
        )


@pytest.mark.parametrize("flag", ["crowd", "difficult", "ignored"])
def test_what_is_no_plain_object_is_not_pasted(flag):
    donor = painted.rectangles(60, 60, [(0, 0, 40, 40)], **{flag: np.array([True])})
    target = painted.rectangles(60, 60, [(0, 0, 10, 10)])
    for seed in range(10):
        assert copy_paste(target, donor, np.random.default_rng(seed), min_visibility=0) is target


def test_pasted_objects_do_not_cover_each_other_and_have_even_odds():
    boxes = [
        (30 * k % 150, 30 * (k // 5), 30 * k % 150 + 25, 30 * (k // 5) + 25) for k in range(20)
    ]
    donor = painted.rectangles(120, 150, boxes)
    target = painted.rectangles(400, 400, [])
    counts = []
    for seed in range(60):
        pasted = copy_paste(target, donor, np.random.default_rng(seed), min_visibility=0)
        counts.append(len(pasted.labels))
        low = np.maximum(pasted.boxes[:, None, :2], pasted.boxes[None, :, :2])
        high = np.minimum(pasted.boxes[:, None, 2:], pasted.boxes[None, :, 2:])
        shared = (high > low).all(axis=-1)
        assert shared.sum() == len(pasted.labels)  # each with itself
    # Ten of twenty are taken; of those some find their place taken.
    assert 6.5 < np.mean(counts) < 10


def test_an_object_larger_than_the_image_is_not_pasted():
    donor = painted.rectangles(60, 60, [(0, 0, 50, 50)])
    target = painted.rectangles(40, 80, [])
    for seed in range(10):
        assert copy_paste(target, donor, np.random.default_rng(seed), min_visibility=0) is target
