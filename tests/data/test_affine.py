"""Boxes and pixels go through one warp together."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax.data.affine import AffineLimits, affine_matrix, random_affine, warp
from ioub_jax.data.transforms import horizontal_flip, resize, vertical_flip
from tests.data import painted

SETTINGS = hypothesis.settings(max_examples=40, deadline=None)
BLACK = (0, 0, 0)
HOW = {"rotated_boxes": "corners", "min_visibility": 0.0, "color": BLACK}


@st.composite
def matrices(draw, size=(90, 120)):
    return affine_matrix(
        size,
        rotation=draw(st.floats(-180, 180)),
        scale=draw(st.floats(0.6, 1.6)),
        translation=(draw(st.floats(-0.4, 0.4)), draw(st.floats(-0.4, 0.4))),
        shear=(draw(st.floats(-20, 20)), draw(st.floats(-20, 20))),
    )


@st.composite
def boxes(draw, size=(90, 120)):
    """Of at least 12 pixels: the corner of a turned thinner one covers no pixel to a quarter."""
    left, top = draw(st.integers(0, size[1] - 12)), draw(st.integers(0, size[0] - 12))
    return (
        left,
        top,
        draw(st.integers(left + 12, size[1])),
        draw(st.integers(top + 12, size[0])),
    )


@SETTINGS
@hypothesis.given(boxes(), matrices())
def test_an_ellipse_is_found_where_its_box_says(box, matrix):
    warped = warp(painted.ellipse(90, 120, box), matrix, **(HOW | {"rotated_boxes": "ellipse"}))
    whole = len(warped.boxes) and _is_inside(warped.boxes[0])
    if whole:  # of an ellipse that is cut the box around the rest may be smaller
        # The ellipse itself is painted to half a pixel, and scaled by up to 1.6.
        np.testing.assert_allclose(warped.boxes[0], painted.found(warped.image, 128), atol=1.5)


def _is_inside(box):
    return (box > 0.0).all() and box[2] < 120 and box[3] < 90


@SETTINGS
@hypothesis.given(boxes(), matrices())
def test_the_corners_of_a_rectangle_are_found_where_its_box_says(box, matrix):
    warped = warp(painted.rectangles(90, 120, [box]), matrix, **HOW)
    if len(warped.boxes) and _is_inside(warped.boxes[0]):
        # An edge is blurred over max(1, scale) pixels, so a pixel has an eighth of its brightness
        # up to .375 x 1.6 = .6 pixels outside, and its center is half a pixel from its side.
        np.testing.assert_allclose(warped.boxes[0], painted.found(warped.image, 32), atol=1.11)


@SETTINGS
@hypothesis.example((101, 0, 113, 12), 0.8125, 0.216796875, 0.0, False)  # .7 pixels are left of it
@hypothesis.given(
    boxes(), st.floats(0.6, 1.6), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.booleans()
)
def test_a_scaled_and_shifted_box_is_found_also_where_it_is_cut(box, scale, right, down, corners):
    matrix = affine_matrix((90, 120), scale=scale, translation=(right, down))
    policy = "corners" if corners else "ellipse"
    warped = warp(painted.rectangles(90, 120, [box]), matrix, **(HOW | {"rotated_boxes": policy}))
    seen = painted.found(warped.image, 128)
    thinnest = np.min(warped.boxes[:, 2:] - warped.boxes[:, :2], initial=np.inf)
    if seen is None:
        assert len(warped.boxes) == 0 or thinnest < 1.0
    elif thinnest >= 1.3:  # of a thinner rest every pixel is within the blur, .5 x 1.6 of a pixel
        np.testing.assert_allclose(warped.boxes[0], seen, atol=0.51)


@SETTINGS
@hypothesis.given(boxes(), matrices(), st.booleans(), st.booleans())
def test_a_flip_and_a_resize_after_it_keep_them_together(box, matrix, across, down):
    example = warp(painted.rectangles(90, 120, [box]), matrix, **HOW)
    example = horizontal_flip(example) if across else example
    example = vertical_flip(example) if down else example
    if len(example.boxes) and _is_inside(example.boxes[0]):
        example = resize(example, (180, 180))  # one pixel becomes 1.5 x 2
        seen = painted.found(example.image, 32)
        np.testing.assert_allclose(example.boxes[0], seen, atol=2.5)


def test_half_a_turn_is_two_flips():
    example = painted.rectangles(40, 60, [(3, 5, 20, 30), (40, 10, 60, 12)])
    turned = warp(example, affine_matrix((40, 60), rotation=180), **HOW)
    flipped = vertical_flip(horizontal_flip(example))
    np.testing.assert_allclose(turned.boxes, flipped.boxes, atol=1e-4)
    np.testing.assert_array_equal(turned.image, flipped.image)
    np.testing.assert_allclose(turned.area, flipped.area, rtol=1e-5)


def test_a_quarter_turn_is_clockwise_about_the_center():
    # In 40x40: x' = 40 - y and y' = x, so (4, 8)-(10, 18) becomes (22, 4)-(32, 10).
    example = painted.rectangles(40, 40, [(4, 8, 10, 18)])
    turned = warp(example, affine_matrix((40, 40), rotation=90), **HOW)
    np.testing.assert_allclose(turned.boxes, [[22, 4, 32, 10]], atol=1e-4)
    np.testing.assert_array_equal(painted.found(turned.image), [22, 4, 32, 10])


def test_what_a_box_becomes_by_both_policies():
    # A square of side 20 about (30, 30), turned by 45 degrees about that: the ellipse inside is a
    # circle and stays in 20x20, the corners reach 10 sqrt(2) = 14.142 to every side.
    example = painted.rectangles(60, 60, [(20, 20, 40, 40)])
    matrix = affine_matrix((60, 60), rotation=45)
    ellipse = warp(example, matrix, **(HOW | {"rotated_boxes": "ellipse"}))
    corners = warp(example, matrix, **HOW)
    np.testing.assert_allclose(ellipse.boxes, [[20, 20, 40, 40]], atol=1e-4)
    np.testing.assert_allclose(corners.boxes, [[15.858, 15.858, 44.142, 44.142]], atol=1e-3)
    # A turn changes no area.
    np.testing.assert_allclose([ellipse.area, corners.area], [[400], [400]], rtol=1e-5)


@pytest.mark.parametrize("flag", ["crowd", "ignored"])
def test_regions_stay_covered_by_their_corners(flag):
    example = painted.rectangles(60, 60, [(20, 20, 40, 40)], **{flag: np.array([True])})
    matrix = affine_matrix((60, 60), rotation=45)
    turned = warp(example, matrix, **(HOW | {"rotated_boxes": "ellipse"}))
    np.testing.assert_allclose(turned.boxes, [[15.858, 15.858, 44.142, 44.142]], atol=1e-3)
    assert getattr(turned, flag).tolist() == [True]


def test_what_is_mostly_gone_is_ignored_and_what_is_gone_is_dropped():
    # Shifted left by 30 of 100 pixels: of 40 wide boxes at 0, 20, 60 are left 10, 30 and 40, a
    # quarter, three quarters and all; of the one of 30 pixels at 0 nothing.
    example = dataclasses.replace(
        painted.rectangles(50, 100, [(0, 0, 40, 8), (20, 10, 60, 18), (60, 20, 100, 28)]),
        difficult=np.array([True, False, True]),
    )
    gone = painted.rectangles(50, 100, [(0, 0, 30, 8)])
    matrix = affine_matrix((50, 100), translation=(-0.3, 0.0))
    how = HOW | {"min_visibility": 0.3}
    shifted = warp(example, matrix, **how)
    np.testing.assert_allclose(
        shifted.boxes, [[0, 0, 10, 8], [0, 10, 30, 18], [30, 20, 70, 28]], atol=1e-4
    )
    assert shifted.ignored.tolist() == [True, False, False]
    assert shifted.difficult.tolist() == [True, False, True]
    np.testing.assert_allclose(shifted.area, [80, 240, 320], rtol=1e-5)
    assert len(warp(gone, matrix, **how).boxes) == 0
    kept = warp(example, matrix, **(HOW | {"min_visibility": 0.2}))
    assert not kept.ignored.any()


def test_areas_follow_the_scale():
    example = painted.rectangles(60, 80, [(30, 20, 50, 40)])
    shrunk = warp(example, affine_matrix((60, 80), scale=0.5, rotation=30), **HOW)
    np.testing.assert_allclose(shrunk.area, [100], rtol=1e-5)


def test_what_comes_from_outside_has_the_color_given():
    example = painted.rectangles(40, 40, [(0, 0, 40, 40)])
    shifted = warp(
        example, affine_matrix((40, 40), translation=(0.5, 0)), **(HOW | {"color": (9, 8, 7)})
    )
    assert (shifted.image[:, :20] == (9, 8, 7)).all() and (shifted.image[:, 20:] == 255).all()


def test_random_maps_stay_within_their_limits():
    limits = AffineLimits(rotation=30.0, scale=(0.5, 2.0), translation=0.1, shear=10.0)
    example = painted.rectangles(80, 80, [(30, 30, 50, 50)])
    centers, sides = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        box = random_affine(
            example, rng, limits=limits, **(HOW | {"rotated_boxes": "ellipse"})
        ).boxes[0]
        centers.append((box[:2] + box[2:]) / 2)
        sides.append(box[2:] - box[:2])
    centers, sides = np.array(centers), np.array(sides)
    # Shifted by up to a tenth of 80 either way; 20 pixels become 10 to 40, sheared by tan 10 more.
    assert np.abs(centers - 40).max() <= 8.001 and np.abs(centers - 40).max() > 7
    assert sides.min() >= 10 * (1 - 0.18) and sides.max() <= 40 * 1.02 * (1 + 0.18)
    assert sides.min() < 11 and sides.max() > 36


def test_the_content_does_not_change_what_is_drawn_next():
    limits = AffineLimits(rotation=30.0)
    after = []
    for example in (
        painted.rectangles(30, 40, []),
        painted.rectangles(50, 60, [(1, 2, 9, 9), (3, 3, 30, 40)]),
    ):
        rng = np.random.default_rng(5)
        random_affine(example, rng, limits=limits, **HOW)
        after.append(rng.random())
    assert after[0] == after[1]
