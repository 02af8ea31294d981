import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax.data.sources.example import create_example
from ioub_jax.data.transforms import (
    crop,
    fitted_size,
    horizontal_flip,
    random_flips,
    resize,
    scale_jitter,
    short_side_size,
    vertical_flip,
)

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 90)
JITTER = {"size": (40, 60), "canvas": (48, 64), "limits": (0.1, 2.0)}


def _painted(height, width, boxes):
    """Black, with box k painted in gray level 100 + 50 k."""
    image = np.zeros((height, width, 3), np.uint8)
    for position, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = 100 + 50 * position
    return create_example(np.array(boxes), np.arange(len(boxes)), image_id=1, image=image)


def _find(image, level):
    rows, columns = np.nonzero(image[..., 0] == level)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@st.composite
def examples(draw):
    """One painted object and up to four more boxes, with flags, in an image of 1 to 90 pixels."""
    height, width = draw(SIDES), draw(SIDES)
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = (
            draw(st.integers(left + 1, width)),
            draw(st.integers(top + 1, height)),
        )
        boxes.append((left, top, right, bottom))
    example = _painted(height, width, boxes[:1])
    flags = st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes))
    return create_example(
        np.array(boxes),
        np.arange(len(boxes)),
        image_id=1,
        image=example.image,
        crowd=np.array(draw(flags), bool),
        difficult=np.array(draw(flags), bool),
    )


def assert_well_formed(example):
    """The promised dtypes and lengths, and every box inside the image with some area."""
    height, width = example.image.shape[:2]
    assert example.image.dtype == np.uint8 and example.image.shape == (height, width, 3)
    assert example.image.flags.c_contiguous
    count = len(example.labels)
    assert example.boxes.dtype == example.area.dtype == np.float32
    assert example.labels.dtype == np.int32 and example.crowd.dtype == example.difficult.dtype
    assert example.crowd.dtype == bool and example.boxes.shape == (count, 4)
    assert len(example.crowd) == len(example.difficult) == len(example.area) == count
    assert (example.boxes[:, 2:] > example.boxes[:, :2]).all()
    assert (example.boxes >= 0).all() and (example.boxes <= [width, height] * 2).all()
    assert (example.area > 0).all() and np.isfinite(example.area).all()


def transformed(example, seed):
    """The example after each transform, drawn from a seed."""
    height, width = example.image.shape[:2]
    window = (width // 3, height // 3, max(width // 2, width // 3 + 1), height)
    return [
        horizontal_flip(example),
        vertical_flip(example),
        random_flips(example, np.random.default_rng(seed), horizontal=0.5, vertical=0.5),
        resize(example, (33, 47)),
        crop(example, window),
        scale_jitter(example, np.random.default_rng(seed), **JITTER),
    ]


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(examples(), SEEDS)
def test_every_transform_gives_a_well_formed_example_and_leaves_its_input(example, seed):
    before = dataclasses.replace(
        example, image=example.image.copy(), boxes=example.boxes.copy(), area=example.area.copy()
    )
    for once, again in zip(transformed(example, seed), transformed(example, seed), strict=True):
        assert_well_formed(once)
        assert set(once.labels) <= set(example.labels)
        np.testing.assert_array_equal(once.crowd, example.crowd[once.labels])
        np.testing.assert_array_equal(once.difficult, example.difficult[once.labels])
        for field in ("image", "boxes", "labels", "area"):
            np.testing.assert_array_equal(getattr(once, field), getattr(again, field))
    for field in ("image", "boxes", "area"):
        np.testing.assert_array_equal(getattr(example, field), getattr(before, field))


@pytest.mark.parametrize("flip", [horizontal_flip, vertical_flip])
def test_boxes_follow_their_pixels_through_a_flip(flip):
    example = _painted(20, 30, [(2, 3, 9, 8), (15, 10, 30, 20)])
    flipped = flip(example)
    for position, box in enumerate(flipped.boxes):
        assert box.tolist() == _find(flipped.image, 100 + 50 * position)
    np.testing.assert_array_equal(flip(flipped).boxes, example.boxes)
    np.testing.assert_array_equal(flip(flipped).image, example.image)


def test_flip_probabilities():
    example = _painted(8, 8, [(0, 0, 3, 2)])
    outcomes = [
        random_flips(example, np.random.default_rng(seed), horizontal=0.5, vertical=0.2).boxes[0]
        for seed in range(1000)
    ]
    flipped_x = np.mean([box[0] == 5 for box in outcomes])
    flipped_y = np.mean([box[1] == 6 for box in outcomes])
    # Three standard deviations of 1000 draws: 3 sqrt(.25 / 1000) = .047, 3 sqrt(.16 / 1000) = .038.
    assert abs(flipped_x - 0.5) < 0.048 and abs(flipped_y - 0.2) < 0.039
    never = random_flips(example, np.random.default_rng(0), horizontal=0.0, vertical=0.0)
    assert never is example


@pytest.mark.parametrize("canvas", [(40, 60), (40, 90), (80, 60), (10, 15), (160, 640)])
def test_boxes_follow_their_pixels_through_a_resize(canvas):
    # Multiples of 4 in a 40x60 image stay on whole pixels at a quarter, once and four times.
    example = _painted(40, 60, [(8, 4, 24, 20), (32, 8, 60, 40)])
    resized = resize(example, fitted_size((40, 60), canvas))
    assert resized.image.shape[0] == canvas[0] or resized.image.shape[1] == canvas[1]
    assert resized.image.shape[0] * 60 == resized.image.shape[1] * 40
    for position, box in enumerate(resized.boxes):
        # Interpolation keeps the exact gray level inside; its rim is at most two pixels at 4x.
        found = np.array(_find(resized.image, 100 + 50 * position))
        assert np.abs(found - box).max() <= (2 if canvas[0] > 40 and canvas[1] > 60 else 0)
    sides = resized.boxes[:, 2:] - resized.boxes[:, :2]
    np.testing.assert_allclose(resized.area, sides.prod(axis=1), rtol=1e-6)


def test_a_stretch_scales_each_axis_by_its_own_ratio():
    # x by 30 / 60 and y by 80 / 40; the area by 1/2 * 2.
    stretched = resize(_painted(40, 60, [(8, 4, 24, 20)]), (80, 30))
    assert stretched.image.shape == (80, 30, 3)
    assert stretched.boxes.tolist() == [[4, 8, 12, 40]]
    assert stretched.area.tolist() == [256]
    assert _find(stretched.image, 100)[::2] == [4, 12]


def test_a_resize_to_the_same_size_does_nothing():
    example = _painted(40, 60, [(8, 4, 24, 20)])
    assert resize(example, (40, 60)) is example


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_a_fitted_size_fits_and_fills_one_side(size, canvas):
    height, width = fitted_size(size, canvas)
    assert 1 <= height <= canvas[0] and 1 <= width <= canvas[1]
    assert height == canvas[0] or width == canvas[1]


def test_a_large_box_coordinate_survives_a_strong_reduction():
    # 3000 -> 30 columns, 1 row at least: 10 rows * 0.01 = 0.1 would round to none.
    assert fitted_size((10, 3000), (30, 30)) == (1, 30)
    resized = resize(_painted(10, 3000, [(1000, 0, 2000, 10)]), (1, 30))
    np.testing.assert_allclose(resized.boxes, [[10, 0, 20, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),  # 640 * 800 / 480 = 1066.67
        ((640, 480), (1067, 800)),
        ((800, 1333), (800, 1333)),
        ((300, 600), (667, 1333)),  # the longer side is the limit: 300 * 1333 / 600 = 666.5, up
        ((2, 3000), (1, 1333)),  # 2 * 1333 / 3000 = .89
        ((1, 3000), (1, 1333)),  # .44, and 1 at least
    ],
)
def test_short_side_size(size, expected):
    assert short_side_size(size, 800, 1333) == expected


def test_a_crop_clips_and_drops_boxes():
    example = create_example(
        # Whole, a quarter of it, touching the edge from outside, and a sliver of 1/200 px.
        np.array([[12, 12, 20, 20], [5, 5, 15, 15], [0, 0, 10, 30], [0, 0, 10.005, 30]]),
        np.arange(4),
        image_id=1,
        image=np.zeros((40, 40, 3), np.uint8),
        crowd=np.array([False, True, False, False]),
        difficult=np.array([True, False, False, False]),
        area=np.array([50.0, 60.0, 300.0, 300.0]),
    )
    cropped = crop(example, (10, 10, 30, 35))
    assert cropped.image.shape == (25, 20, 3)
    assert cropped.boxes.tolist() == [[2, 2, 10, 10], [0, 0, 5, 5]]
    assert cropped.labels.tolist() == [0, 1]
    assert cropped.crowd.tolist() == [False, True]
    assert cropped.difficult.tolist() == [True, False]
    # The first is whole, of the second 25 of 100 pixels are left: 60 / 4.
    assert cropped.area.tolist() == [50, 15]


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(examples(), st.data())
def test_a_box_follows_its_pixels_through_a_crop(example, data):
    height, width = example.image.shape[:2]
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    cropped = crop(example, (left, top, right, bottom))
    assert cropped.image.shape[:2] == (bottom - top, right - left)
    visible = (cropped.image[..., 0] == 100).any()
    assert visible == (0 in cropped.labels)
    if visible:
        assert cropped.boxes[0].tolist() == _find(cropped.image, 100)


def test_a_crop_to_the_whole_image_does_nothing():
    example = _painted(40, 60, [(8, 4, 24, 20)])
    assert crop(example, (0, 0, 60, 40)) is example


@pytest.mark.parametrize("window", [(5, 0, 5, 9), (-1, 0, 5, 9), (0, 0, 61, 9), (0, 9, 5, 41)])
def test_a_window_must_be_inside_the_image(window):
    with pytest.raises(ValueError, match="is empty or not inside 60x40 pixels"):
        crop(_painted(40, 60, []), window)


def _jitter(example, factor, seed, size=(40, 60), canvas=(48, 64)):
    rng = np.random.default_rng(seed)
    return scale_jitter(example, rng, size=size, canvas=canvas, limits=(factor, factor))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (0.1, (4, 6)),
        (1.0, (40, 60)),
        (1.05, (42, 63)),
        (1.15, (46, 64)),  # 69 columns exceed the canvas, 46 rows do not
        (2.0, (48, 64)),
    ],
)
def test_the_size_after_jitter(factor, expected):
    assert _jitter(_painted(80, 120, []), factor, 0).image.shape[:2] == expected


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(SEEDS)
def test_boxes_follow_their_pixels_through_jitter(seed):
    example = _painted(400, 600, [(100, 100, 300, 300)])
    rng = np.random.default_rng(seed)
    jittered = scale_jitter(example, rng, size=(400, 600), canvas=(400, 600), limits=(0.5, 2.0))
    for box in jittered.boxes:
        # Interpolation blurs a rim of at most one pixel of the input, two of the result.
        assert np.abs(np.array(_find(jittered.image, 100)) - box).max() <= 2
    assert (len(jittered.boxes) > 0) == (jittered.image == 100).any()


def test_a_jittered_window_may_lie_anywhere():
    # At factor 2 a 48x64 window of the 160x240 pixels is 24x32 pixels of the 80x120: it shows
    # whether it begins at the first row or column, or ends at the last.
    ramp = np.zeros((80, 120, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(80)[:, None], np.arange(120)
    example = create_example(np.zeros(0), np.zeros(0), image_id=0, image=ramp)
    corners = np.array(
        [_jitter(example, 2.0, seed, size=(80, 120)).image[0, 0, :2] for seed in range(300)]
    )
    assert (corners.min(axis=0) == 0).all()
    assert corners.max(axis=0).tolist() == [80 - 24, 120 - 32]
    assert abs(np.corrcoef(corners.T)[0, 1]) < 0.2


def test_jitter_factors_are_uniform():
    example = _painted(1000, 1000, [])
    limits = (0.1, 2.0)
    heights = [
        scale_jitter(
            example, np.random.default_rng(seed), size=(100, 100), canvas=(200, 200), limits=limits
        ).image.shape[0]
        for seed in range(400)
    ]
    # Quartiles of a uniform distribution from 10 to 200 pixels; the standard deviation of the
    # median of 400 draws is 190 / 2 / sqrt(400) = 4.75.
    np.testing.assert_allclose(np.quantile(heights, [0.25, 0.5, 0.75]), [57.5, 105, 152.5], atol=15)


def test_an_option_does_not_change_what_the_next_transform_draws():
    example = _painted(40, 60, [(8, 4, 24, 20)])
    after = []
    for limits in ((1.0, 1.0), (0.1, 2.0), (2.0, 2.0)):
        rng = np.random.default_rng(3)
        scale_jitter(example, rng, size=(40, 60), canvas=(40, 60), limits=limits)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_annotations_have_no_pixels_to_transform():
    with pytest.raises(ValueError, match="Image 4 was read without its pixels"):
        horizontal_flip(create_example(np.zeros(0), np.zeros(0), image_id=4))


@pytest.mark.parametrize("size", [(20, 30), (8, 12), (40, 45)])
def test_resizing_into_memory_gives_the_same_pixels_there(size):
    example = _painted(20, 30, [(2, 3, 9, 8)])
    canvas = np.zeros((50, 50, 3), np.uint8)
    resized = resize(example, size, out=canvas)
    assert np.shares_memory(resized.image, canvas)
    np.testing.assert_array_equal(canvas[: size[0], : size[1]], resize(example, size).image)
    assert not canvas[size[0] :].any() and not canvas[:, size[1] :].any()


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(examples(), st.tuples(SIDES, SIDES))
def test_a_quick_resize_moves_boxes_alike_and_pixels_with_them(example, size):
    out = np.zeros((90, 90, 3), np.uint8)
    assert np.shares_memory(resize(example, size, out, quickly=True).image, out)
    quick, exact = resize(example, size, quickly=True), resize(example, size)
    np.testing.assert_array_equal(out[: size[0], : size[1]], quick.image)
    assert_well_formed(quick)
    np.testing.assert_array_equal(quick.boxes, exact.boxes)


def test_what_is_painted_stays_under_its_box_in_a_quick_resize():
    # 303 is odd, twice: 303 -> 304 -> 152 -> 76 -> 60.
    example = _painted(303, 303, [(30, 60, 270, 150)])
    quick = resize(example, (60, 60), quickly=True)
    rows, columns = np.nonzero(quick.image[..., 0] >= 50)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(seen, quick.boxes[0], atol=0.6)


def test_a_quick_resize_averages_all_pixels():
    # To a third: halved, and then two thirds of that. The mean of noise stays, its deviation
    # shrinks from 255 / sqrt(12) = 74 to about a third; interpolation alone would take four pixels
    # of nine.
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    example = create_example([], [], 0, image=image)
    quick, exact = resize(example, (100, 100), quickly=True), resize(example, (100, 100))
    assert abs(quick.image.mean() - image.mean()) < 1
    assert abs(quick.image.std() - exact.image.std()) < 3 and exact.image.std() < 30
