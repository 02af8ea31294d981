import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax.data.sources.example import create_example
from ioub_jax.data.transforms import (
    horizontal_flip,
    random_flips,
    resize_to_fit,
    vertical_flip,
)


def _painted(height, width, boxes):
    """Black, with box k painted in grey level 100 + 50 k."""
    image = np.zeros((height, width, 3), np.uint8)
    for position, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = 100 + 50 * position
    return create_example(np.array(boxes), np.arange(len(boxes)), image_id=1, image=image)


def _find(image, level):
    rows, columns = np.nonzero(image[..., 0] == level)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("flip", [horizontal_flip, vertical_flip])
def test_boxes_follow_their_pixels_through_a_flip(flip):
    example = _painted(20, 30, [(2, 3, 9, 8), (15, 10, 30, 20)])
    flipped = flip(example)
    for position, box in enumerate(flipped.boxes):
        assert box.tolist() == _find(flipped.image, 100 + 50 * position)
    assert flipped.boxes.dtype == np.float32
    np.testing.assert_array_equal(flip(flipped).boxes, example.boxes)
    np.testing.assert_array_equal(flip(flipped).image, example.image)
    assert flipped.image.flags.c_contiguous


@pytest.mark.parametrize("canvas", [(40, 60), (40, 90), (80, 60), (10, 15), (160, 640)])
def test_boxes_follow_their_pixels_through_a_resize(canvas):
    # Multiples of 4 in a 40x60 image stay on whole pixels at a quarter, once and four times.
    example = _painted(40, 60, [(8, 4, 24, 20), (32, 8, 60, 40)])
    resized = resize_to_fit(example, canvas)
    assert resized.image.shape[0] == canvas[0] or resized.image.shape[1] == canvas[1]
    assert resized.image.shape[0] * 60 == resized.image.shape[1] * 40
    for position, box in enumerate(resized.boxes):
        # Interpolation keeps the exact grey level inside; its rim is at most two pixels at 4x.
        found = np.array(_find(resized.image, 100 + 50 * position))
        assert np.abs(found - box).max() <= (2 if canvas[0] > 40 and canvas[1] > 60 else 0)
    sides = resized.boxes[:, 2:] - resized.boxes[:, :2]
    np.testing.assert_allclose(resized.area, sides.prod(axis=1), rtol=1e-6)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_a_resized_image_fits_and_keeps_its_whole_box(size, canvas):
    example = create_example(
        np.array([[0, 0, size[1], size[0]]]),
        np.zeros(1),
        image_id=0,
        image=np.zeros((*size, 3), np.uint8),
    )
    resized = resize_to_fit(example, canvas)
    height, width = resized.image.shape[:2]
    assert 1 <= height <= canvas[0] and 1 <= width <= canvas[1]
    assert height == canvas[0] or width == canvas[1]
    np.testing.assert_allclose(resized.boxes, [[0, 0, width, height]], rtol=1e-6)


def test_a_large_box_coordinate_survives_a_strong_reduction():
    # 3000 -> 30 columns, 1 row at least: 10 rows * 0.01 = 0.1 would round to none.
    example = _painted(10, 3000, [(1000, 0, 2000, 10)])
    resized = resize_to_fit(example, (30, 30))
    assert resized.image.shape == (1, 30, 3)
    np.testing.assert_allclose(resized.boxes, [[10, 0, 20, 1]], rtol=1e-6)


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


def test_an_example_without_boxes_survives_everything():
    example = create_example(
        np.zeros(0), np.zeros(0), image_id=0, image=np.zeros((5, 7, 3), np.uint8)
    )
    for transformed in (
        horizontal_flip(example),
        vertical_flip(example),
        resize_to_fit(example, (9, 9)),
    ):
        assert transformed.boxes.shape == (0, 4)


def test_annotations_have_no_pixels_to_transform():
    with pytest.raises(ValueError, match="Image 4 was read without its pixels"):
        horizontal_flip(create_example(np.zeros(0), np.zeros(0), image_id=4))
