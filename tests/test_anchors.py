import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from ioub_jax.anchors import best_anchor_iou, retinanet_anchors


def test_top_left_cell_by_hand():
    # Stride 8, scales 4, 4 * 2^(1/3), 4 * 2^(2/3): sizes 32, 40.317, 50.797; centre 4.
    # Ratio 1: 4 -+ 16, 4 -+ 20.159 = (-16.16, 24.16), 4 -+ 25.398 = (-21.40, 29.40).
    # Ratio 0.5: widths size * 1.41421 = 45.255, 57.017, 71.838, heights size / 1.41421 = 22.627,
    # 28.509, 35.919: 4 -+ 22.627 = (-18.63, 26.63), 4 -+ 11.314 = (-7.31, 15.31),
    # 4 -+ 28.509 = (-24.51, 32.51), 4 -+ 14.254 = (-10.25, 18.25),
    # 4 -+ 35.919 = (-31.92, 39.92), 4 -+ 17.960 = (-13.96, 21.96). Ratio 2: x and y exchanged.
    expected = [
        [-19, -7, 27, 15],
        [-25, -10, 33, 18],
        [-32, -14, 40, 22],
        [-12, -12, 20, 20],
        [-16, -16, 24, 24],
        [-21, -21, 29, 29],
        [-7, -19, 15, 27],
        [-10, -25, 18, 33],
        [-14, -32, 22, 40],
    ]
    (anchors,) = retinanet_anchors((8, 8), strides=(8,))
    assert anchors.dtype == np.float32
    np.testing.assert_array_equal(anchors, expected)


def test_unrounded_anchors_have_the_stated_area_and_ratio():
    (anchors,) = retinanet_anchors((8, 8), strides=(8,), rounded=False)
    widths, heights = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    sizes = np.tile([32.0, 32.0 * 2 ** (1 / 3), 32.0 * 2 ** (2 / 3)], 3)
    np.testing.assert_allclose(widths * heights, sizes**2, rtol=1e-5)
    np.testing.assert_allclose(heights / widths, np.repeat([0.5, 1.0, 2.0], 3), rtol=1e-5)
    np.testing.assert_allclose((anchors[:, :2] + anchors[:, 2:]) / 2, 4.0, atol=1e-5)


@pytest.mark.parametrize("stride", [8, 16, 32, 64, 128])
def test_the_authors_inclusive_boxes_are_ours_with_the_right_edge_moved(stride):
    # mmdetection 0.6: corners round(centre -+ (size - 1) / 2) with the centre at (stride - 1) / 2,
    # in float32, and a box holds its last pixel, so its exclusive edge is one further.
    ratios = np.float32([0.5, 1.0, 2.0])[:, None]
    scales = np.float32([4.0 * 2 ** (i / 3) for i in range(3)])[None, :]
    widths = (stride * (1 / np.sqrt(ratios)) * scales).reshape(-1)
    heights = (stride * np.sqrt(ratios) * scales).reshape(-1)
    center = 0.5 * (stride - 1)
    halves = np.stack([0.5 * (widths - 1), 0.5 * (heights - 1)], axis=-1)
    inclusive = np.concatenate([np.round(center - halves), np.round(center + halves)], axis=-1)
    (anchors,) = retinanet_anchors((stride, stride), strides=(stride,))
    np.testing.assert_array_equal(anchors, inclusive + np.float32([0, 0, 1, 1]))


def test_centred_on_the_corner_as_torchvision_does():
    # Size 32 around 0: ratio 0.5 is 22.63 x 11.31 to each side, rounded 23 x 11.
    (anchors,) = retinanet_anchors((8, 8), strides=(8,), scales_per_octave=1, center_offset=0.0)
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    np.testing.assert_array_equal(anchors, expected)


def test_cells_are_ordered_by_row_then_column():
    # One anchor of 8 pixels a cell, centred on (8 column + 4, 8 row + 4).
    (anchors,) = retinanet_anchors(
        (16, 24), strides=(8,), base_scale=1.0, scales_per_octave=1, ratios=(1.0,)
    )
    corners = [(0, 0), (8, 0), (16, 0), (0, 8), (8, 8), (16, 8)]
    np.testing.assert_array_equal(anchors, [[x, y, x + 8, y + 8] for x, y in corners])


def test_a_cut_cell_counts_as_a_cell():
    # ceil(800 / s) * ceil(1344 / s): 100*168, 50*84, 25*42, 13*21, 7*11, times 9.
    levels = retinanet_anchors((800, 1344))
    assert [len(level) for level in levels] == [151200, 37800, 9450, 2457, 693]
    assert sum(len(level) for level in levels) == 201600


def test_best_iou_by_hand():
    # One anchor of 8 x 8 a cell of 8, in 2 rows and 3 columns: x from 0 to 24, y from 0 to 16.
    options = {"strides": (8,), "base_scale": 1.0, "scales_per_octave": 1, "ratios": (1.0,)}
    boxes = [
        [8, 8, 16, 16],  # is an anchor
        [10, 0, 18, 8],  # 6 of the nearest column's 8: 48 / (64 + 64 - 48)
        [12, 4, 20, 12],  # half way between two columns and two rows: 16 / (64 + 64 - 16)
        [40, 0, 48, 8],  # beyond the grid
        [0, 0, 24, 16],  # holds them all: 64 / 384
        [5, 5, 5, 9],  # no area
    ]
    best = best_anchor_iou(np.array(boxes, np.float32), (16, 24), **options)
    assert best.dtype == np.float32
    np.testing.assert_allclose(best, [1, 48 / 80, 16 / 112, 0, 64 / 384, 0], rtol=1e-6)


def every_iou(boxes, anchors):
    """IoU of every box with every anchor, in numpy: compiling for every shape takes longer."""
    boxes, anchors = np.float64(boxes)[:, None], np.float64(anchors)[None]
    sides = np.minimum(boxes, anchors)[..., 2:] - np.maximum(boxes, anchors)[..., :2]
    intersection = np.maximum(sides, 0).prod(axis=-1)
    areas = [(some[..., 2:] - some[..., :2]).prod(axis=-1) for some in (boxes, anchors)]
    return intersection / (areas[0] + areas[1] - intersection)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    seed=strategies.integers(0, 2**16),
    image_shape=strategies.tuples(strategies.integers(20, 150), strategies.integers(20, 150)),
    base_scale=strategies.sampled_from([1.0, 2.0, 4.0]),
    ratios=strategies.sampled_from([(0.5, 1.0, 2.0), (1.0,), (0.2, 3.0)]),
    center_offset=strategies.sampled_from([0.0, 0.5]),
    rounded=strategies.booleans(),
)
def test_best_iou_is_the_maximum_over_all_anchors(seed, image_shape, **options):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 170, (40, 2))
    sides = 2.0 ** rng.uniform(-2, 8, (40, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    boxes[:10] = np.round(boxes[:10])
    anchors = np.concatenate(retinanet_anchors(image_shape, **options))
    expected = every_iou(boxes, anchors).max(axis=1)
    found = best_anchor_iou(boxes, image_shape, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_no_boxes_have_no_best_iou():
    assert best_anchor_iou(np.zeros((0, 4), np.float32), (64, 64)).shape == (0,)
