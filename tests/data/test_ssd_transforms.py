import colorsys
import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax.data import ssd_transforms
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.ssd_transforms import expand, minimum_iou_crop, photometric_distortion

COLOR = (124, 116, 104)
SEEDS = st.integers(0, 2**32 - 1)
SETTINGS = hypothesis.settings(max_examples=25, deadline=None)


def _example(boxes, height=60, width=80, crowd=None):
    """Black, with box k painted in gray level 100 + 20 k."""
    image = np.zeros((height, width, 3), np.uint8)
    for position, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = 100 + 20 * position
    count = len(boxes)
    return create_example(
        np.array(boxes),
        np.arange(count),
        image_id=1,
        image=image,
        crowd=np.zeros(count, bool) if crowd is None else np.array(crowd, bool),
        difficult=np.arange(count) % 2 == 1,
    )


@st.composite
def examples(draw):
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    boxes, crowd = [], []
    for _ in range(draw(st.integers(0, 4))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = (draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))
        boxes.append((left, top, right, bottom))
        crowd.append(draw(st.booleans()))
    return _example(boxes, height, width, crowd)


def transformed(example, seed):
    return [
        photometric_distortion(example, np.random.default_rng(seed)),
        expand(example, np.random.default_rng(seed), color=COLOR),
        minimum_iou_crop(example, np.random.default_rng(seed)),
    ]


@SETTINGS
@hypothesis.given(examples(), SEEDS)
def test_every_transform_gives_a_well_formed_example_and_leaves_its_input(example, seed):
    before = dataclasses.replace(example, image=example.image.copy(), boxes=example.boxes.copy())
    for once, again in zip(transformed(example, seed), transformed(example, seed), strict=True):
        height, width = once.image.shape[:2]
        assert once.image.dtype == np.uint8 and once.image.shape == (height, width, 3)
        assert once.image.flags.c_contiguous
        assert once.boxes.dtype == once.area.dtype == np.float32
        assert once.boxes.shape == (len(once.labels), 4)
        assert (once.boxes >= 0).all() and (once.boxes <= [width, height] * 2).all()
        assert (once.boxes[:, 2:] > once.boxes[:, :2]).all() and (once.area > 0).all()
        np.testing.assert_array_equal(once.crowd, example.crowd[once.labels])
        np.testing.assert_array_equal(once.difficult, example.difficult[once.labels])
        for field in ("image", "boxes", "labels", "area"):
            np.testing.assert_array_equal(getattr(once, field), getattr(again, field))
    for field in ("image", "boxes"):
        np.testing.assert_array_equal(getattr(example, field), getattr(before, field))


def test_the_content_does_not_change_what_is_drawn_next():
    few, many = _example([]), _example([(0, 0, 70, 50), (10, 10, 15, 15)])
    for transform in (
        photometric_distortion,
        lambda example, rng: expand(example, rng, color=COLOR),
        minimum_iou_crop,
    ):
        after = []
        for example in (few, many):
            rng = np.random.default_rng(5)
            transform(example, rng)
            after.append(rng.random())
        assert after[0] == after[1]


class FixedDraws:
    """Gives the numbers it was made with, in the place of a generator."""

    def __init__(self, gates, amounts, contrast_first, order=(0, 1, 2)):
        self._random = [np.array(gates), 0.0 if contrast_first else 0.9]
        self._amounts = np.array(amounts, float)
        self._order = np.array(order)

    def random(self, shape=None):
        return self._random.pop(0)

    def uniform(self, low, high, size):
        assert (low, high, size) == (-1.0, 1.0, 4)
        return self._amounts

    def permutation(self, count):
        return self._order


def _distort(color, gates, amounts, **rest):
    """What becomes of a color; gates are 0 for a step that is done and 1 for one that is not."""
    example = create_example(np.zeros(0), np.zeros(0), 0, image=np.full((3, 4, 3), color, np.uint8))
    rest = {"contrast_first": True, **rest}
    image = photometric_distortion(example, FixedDraws(gates, amounts, **rest)).image
    assert (image == image[0, 0]).all()
    return image[0, 0].tolist()


def test_brightness_and_contrast():
    amounts = (0.5, -0.5, 0, 0)  # +16, times 1 - .25
    assert _distort((10, 100, 250), (0, 1, 1, 1, 1), amounts) == [26, 116, 255]
    assert _distort((8, 100, 252), (1, 0, 1, 1, 1), amounts) == [6, 75, 189]
    # Before the colors there is no clipping in between: .75 (252 + 16) = 201.
    assert _distort((8, 100, 252), (0, 0, 1, 1, 1), amounts) == [18, 87, 201]
    # Afterwards there is: .75 * 255 = 191.25.
    both = _distort((8, 100, 252), (0, 0, 1, 1, 1), amounts, contrast_first=False)
    assert both == [18, 87, 191]
    assert _distort((10, 100, 250), (1, 1, 1, 1, 1), amounts) == [10, 100, 250]


@pytest.mark.parametrize("color", [(200, 40, 60), (30, 90, 220), (250, 130, 0), (77, 77, 77)])
@pytest.mark.parametrize(("saturation", "hue"), [(1.0, 1.0), (-1.0, 0.0), (0.4, -0.7)])
def test_saturation_and_hue_agree_with_colorsys(color, saturation, hue):
    h, s, v = colorsys.rgb_to_hsv(*(level / 255 for level in color))
    h, s = (h + 18 * hue / 360) % 1.0, min(s * (1 + 0.5 * saturation), 1.0)
    expected = 255 * np.array(colorsys.hsv_to_rgb(h, s, v))
    found = _distort(color, (1, 1, 0, 0, 1), (0, 0, saturation, hue))
    # A byte of hue is 1.4 degrees; rounding it twice is off by up to 1.4 / 60 of 255 levels.
    np.testing.assert_allclose(found, expected, atol=7)


def test_channels_are_reordered():
    assert _distort((1, 2, 3), (1, 1, 1, 1, 0), (0, 0, 0, 0), order=(2, 0, 1)) == [3, 1, 2]


def test_each_distortion_is_done_half_of_the_time():
    rng = np.random.default_rng(0)
    example = create_example(np.zeros(0), np.zeros(0), 0, image=np.full((1, 1, 3), 90, np.uint8))
    gray = np.array([photometric_distortion(example, rng).image[0, 0, 0] for _ in range(1000)])
    # A gray pixel has no hue or saturation and stays unless brightness (1/2) or contrast (1/2)
    # change it. Brightness within .5 of 32 levels or a contrast below .5 / 45 change nothing:
    # 1/64 and 1/90. (1/2 + 1/128) (1/2 + 1/180) = .257; three standard deviations are .041.
    assert abs((gray == 90).mean() - 0.257) < 0.042
    assert 29 <= gray.min() < 45 and 150 < gray.max() <= 183  # .5 (90 - 32) and 1.5 (90 + 32)


@SETTINGS
@hypothesis.given(SEEDS)
def test_boxes_follow_their_pixels_onto_a_larger_canvas(seed):
    example = _example([(10, 20, 30, 50)])
    expanded = expand(example, np.random.default_rng(seed), color=COLOR)
    left, top, right, bottom = expanded.boxes[0].astype(int)
    assert (expanded.image[top:bottom, left:right] == 100).all()
    assert (expanded.image == 100).all(axis=-1).sum() == 20 * 30
    height, width = expanded.image.shape[:2]
    # The rest of the image is black, everything around it has the canvas's color.
    assert (expanded.image == COLOR).all(axis=-1).sum() == height * width - 60 * 80
    assert expanded.area.tolist() == example.area.tolist()


def test_expansion_is_done_half_of_the_time_up_to_its_ratio():
    example = _example([], height=100, width=100)
    rng = np.random.default_rng(0)
    sides = np.array(
        [expand(example, rng, max_ratio=2.0, color=COLOR).image.shape[0] for _ in range(1000)]
    )
    # Of those that are done 1/100 have a ratio below 1.01: .5 + .005, three deviations .047.
    assert abs((sides == 100).mean() - 0.505) < 0.048
    grown = sides[sides > 100]
    assert grown.max() > 190 and grown.max() < 200
    assert abs(grown.mean() - 150) < 5


def _crops(example, count=200):
    for seed in range(count):
        yield minimum_iou_crop(example, np.random.default_rng(seed))


def test_cropped_boxes_cover_what_is_visible_of_their_objects():
    example = _example([(10, 10, 40, 30), (45, 20, 75, 55)])
    for cropped in _crops(example):
        for box, label in zip(cropped.boxes, cropped.labels, strict=True):
            rows, columns = np.nonzero(cropped.image[..., 0] == 100 + 20 * label)
            assert box.tolist() == [
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            ]


def test_an_object_stays_if_its_center_is_inside():
    whole = {0: 30 * 20, 1: 30 * 35}
    example = _example([(10, 10, 40, 30), (45, 20, 75, 55)])
    dropped = 0
    for cropped in _crops(example):
        assert len(cropped.labels) >= 1
        for label in set(whole) - set(cropped.labels):
            # Less than all of it is visible, and never more than half of either side is needed.
            visible = (cropped.image[..., 0] == 100 + 20 * label).sum()
            assert visible <= whole[label] / 2
            dropped += 1
        for label, area in zip(cropped.labels, cropped.area, strict=True):
            assert area > whole[label] / 4
    assert dropped > 10


def test_windows_have_the_published_shapes():
    heights, widths = np.array(
        [cropped.image.shape[:2] for cropped in _crops(_example([], 600, 800), 400)]
    ).T
    assert heights.min() >= 0.3 * 600 and widths.min() >= 0.3 * 800
    assert (np.maximum(heights, widths) <= 2.02 * np.minimum(heights, widths)).all()
    # One of seven modes keeps the whole image; three standard deviations are .052.
    assert abs((heights == 600).mean() - 1 / 7) < 0.053


def test_the_window_overlaps_every_object_as_much_as_its_mode_asks():
    objects = np.array([[10, 10, 70, 50], [20, 10, 80, 55]], float)
    draws = np.random.default_rng(0).random((2000, 4))
    windows = ssd_transforms._random_windows(draws, 60, 80)
    suitable = ssd_transforms._suitable(windows, objects, 0.5)
    assert 0 < suitable.sum() < len(windows)
    for window, fits in zip(windows, suitable, strict=True):
        ious = []
        for left, top, right, bottom in objects:
            across = min(right, window[2]) - max(left, window[0])
            down = min(bottom, window[3]) - max(top, window[1])
            shared = max(across, 0) * max(down, 0)
            areas = (right - left) * (bottom - top) + np.prod(window[2:] - window[:2])
            ious.append(shared / (areas - shared))
        # No two objects this large can be half covered without a center inside.
        assert fits == (min(ious) >= 0.5)


def test_a_window_holds_the_center_of_some_object():
    # The only object lies in a corner: a window without it is never taken.
    for cropped in _crops(_example([(0, 0, 8, 6)])):
        assert cropped.labels.tolist() == [0]


def test_a_crowd_has_no_say_but_keeps_its_visible_part():
    objects = [(20, 10, 70, 50), (0, 0, 40, 60)]
    alone, with_crowd = _example(objects[:1]), _example(objects, crowd=[False, True])
    with_crowd = dataclasses.replace(with_crowd, image=alone.image)
    without_its_center = 0
    for expected, cropped in zip(_crops(alone), _crops(with_crowd), strict=True):
        np.testing.assert_array_equal(cropped.image, expected.image)
        np.testing.assert_array_equal(cropped.boxes[0], expected.boxes[0])
        assert cropped.labels.tolist()[:1] == [0]
        if cropped.crowd.any():
            left, _, right, _ = cropped.boxes[1]
            assert left == 0
            without_its_center += right < 20
    # The crowd's center is at x = 20: less than 20 columns are visible without it.
    assert without_its_center > 10


def test_an_image_too_long_for_any_window_stays_whole():
    # Its windows are at least 300 x 20 at most.
    example = _example([(0, 0, 8, 6)], height=20, width=1000)
    for cropped in _crops(example, 20):
        assert cropped is example
