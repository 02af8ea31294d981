import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from ioub_jax.anchors import (
    best_anchor_iou,
    place,
    retinanet_anchors,
    retinanet_levels,
    ssd_anchors,
    ssd_levels,
)


def test_top_left_cell_by_hand():
    # Stride 8, scales 4, 4 * 2^(1/3), 4 * 2^(2/3): sizes 32, 40.317, 50.797; center 4.
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
    # mmdetection 0.6: corners round(center -+ (size - 1) / 2) with the center at (stride - 1) / 2,
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


def test_centered_on_the_corner():
    # Size 32 around 0: ratio 0.5 is 22.63 x 11.31 to each side, rounded 23 x 11.
    (anchors,) = retinanet_anchors((8, 8), strides=(8,), scales_per_octave=1, center_offset=0.0)
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    np.testing.assert_array_equal(anchors, expected)


def test_whole_sizes_are_cut_before_the_ratio_as_torchvision_does():
    # 32 * 2^(1/3) = 40.3 becomes 40 and 32 * 2^(2/3) = 50.8 becomes 50. Squares reach 16, 20 and 25
    # from 0, as those of a stride of 8. Ratio 0.5: half of 40 * 1.41421 = 56.57 is 28.28, of
    # 40 / 1.41421 = 28.28 is 14.14; with 50 35.36 and 17.68.
    (level,) = retinanet_levels((8, 8), strides=(8,), center_offset=0.0, whole_sizes=True)
    lying = [[23, 11], [28, 14], [35, 18]]
    squares = [[16, 16], [20, 20], [25, 25]]
    standing = [half[::-1] for half in lying]
    np.testing.assert_array_equal(level.cell[:, 2:], lying + squares + standing)
    np.testing.assert_array_equal(level.cell[:, :2], -level.cell[:, 2:])


def test_strides_of_a_grid_that_reaches_over_the_edge():
    # 100 / 8 = 12.5: 13 rows, 100 // 13 = 7 pixels apart; 64 / 8 = 8 columns of 8.
    options = {"strides": (8,), "scales_per_octave": 1, "ratios": (1.0,), "rounded": False}
    (level,) = retinanet_levels((100, 64), stride_from_grid=True, **options)
    assert (level.rows, level.columns, level.stride_y, level.stride_x) == (13, 8, 7, 8)
    # The center is half a cell from its corner, the size is that of the stride.
    np.testing.assert_array_equal(level.cell, [[4 - 16, 3.5 - 16, 4 + 16, 3.5 + 16]])
    (anchors,) = place([level])
    assert len(anchors) == 13 * 8
    np.testing.assert_array_equal(anchors[8 + 2], [16 + 4 - 16, 7 + 3.5 - 16, 16 + 20, 7 + 19.5])
    (plain,) = retinanet_levels((100, 64), **options)
    assert (plain.rows, plain.columns, plain.stride_y, plain.stride_x) == (13, 8, 8, 8)


# SSD300 on COCO: conv4_3 and fc7.
SSD_SIZES = (21.0, 45.0, 99.0)
TWO_LEVELS = {"sizes": SSD_SIZES, "ratios": ((2.0,), (2.0, 3.0)), "strides": (8, 16)}


def test_default_boxes_by_hand():
    # Around 4: half of 21 is 10.5, of sqrt(21 * 45) = 30.741 15.370; of 21 * 1.41421 = 29.698
    # 14.849, of 21 / 1.41421 = 14.849 7.425.
    fine, coarse = ssd_levels((16, 16), **TWO_LEVELS)
    half = np.array([[10.5, 10.5], [15.370, 15.370], [14.849, 7.425], [7.425, 14.849]])
    np.testing.assert_allclose(fine.cell[:, :2], 4 - half, atol=1e-3)
    np.testing.assert_allclose(fine.cell[:, 2:], 4 + half, atol=1e-3)
    assert (fine.rows, fine.columns, fine.stride_y, fine.stride_x) == (2, 2, 8, 8)
    # 45; sqrt(45 * 99) = 66.746; 45 * 1.41421 = 63.640, 31.820; 45 * 1.73205 = 77.942, 25.981.
    sides = [[45, 45], [66.746, 66.746], [63.640, 31.820], [31.820, 63.640], [77.942, 25.981],
             [25.981, 77.942]]  # fmt: skip
    np.testing.assert_allclose(coarse.cell[:, 2:] - coarse.cell[:, :2], sides, atol=1e-3)
    np.testing.assert_allclose((coarse.cell[:, 2:] + coarse.cell[:, :2]) / 2, 8.0)
    assert (coarse.rows, coarse.columns) == (1, 1)


def test_default_boxes_are_centered_on_their_cells():
    anchors = ssd_anchors((16, 24), **TWO_LEVELS)
    assert [len(level) for level in anchors] == [2 * 3 * 4, 1 * 2 * 6]
    assert anchors[0].dtype == np.float32
    centers = (anchors[0][:, :2] + anchors[0][:, 2:]) / 2
    cells = [(4, 4), (12, 4), (20, 4), (4, 12), (12, 12), (20, 12)]
    np.testing.assert_allclose(centers, np.repeat(cells, 4, axis=0), atol=1e-5)


def test_the_authors_default_boxes_are_rounded():
    # mmdetection 0.6: first and last pixel round(3.5 -+ (size - 1) / 2), halves to even; ours
    # end one further. 21: round(-6.5) = -6, round(13.5) + 1 = 15. 30.741: round(-11.37) = -11,
    # round(18.37) + 1 = 19. 29.698 x 14.849: round(-10.85) = -11, round(17.85) + 1 = 19;
    # round(-3.42) = -3, round(10.42) + 1 = 11.
    fine, _ = ssd_levels((16, 16), **TWO_LEVELS, rounded=True)
    expected = [[-6, -6, 15, 15], [-11, -11, 19, 19], [-11, -3, 19, 11], [-3, -11, 11, 19]]
    np.testing.assert_array_equal(fine.cell, expected)


def test_the_authors_sizes_of_ssd512_are_whole():
    # 20.48 becomes 20: 4 -+ 10. 51.2 becomes 51: sqrt(20 * 51) = 31.94, round(-11.97) = -12,
    # round(18.97) + 1 = 20.
    options = {"sizes": (20.48, 51.2), "ratios": ((),), "strides": (8,), "rounded": True}
    (level,) = ssd_levels((8, 8), **options)
    np.testing.assert_array_equal(level.cell, [[-6, -6, 14, 14], [-12, -12, 20, 20]])


@pytest.mark.parametrize(
    ("sizes", "strides", "ratios"),
    [
        ((21, 45, 99, 153, 207, 261, 315), (8, 16, 32, 64, 100, 300), (1, 2, 2, 2, 1, 1)),
        ((30, 60, 111, 162, 213, 264, 315), (8, 16, 32, 64, 100, 300), (1, 2, 2, 2, 1, 1)),
        (
            (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
            (8, 16, 32, 64, 128, 256, 512),
            (1, 2, 2, 2, 2, 1, 1),
        ),
    ],
)
def test_the_authors_inclusive_default_boxes_are_ours(sizes, strides, ratios):
    # mmdetection 0.6 in float32: SSDHead with whole sizes, and AnchorGenerator(scale_major=False).
    ratios = [(2.0, 3.0)[:count] for count in ratios]
    levels = ssd_levels(
        (strides[-1],) * 2, sizes=sizes, ratios=ratios, strides=strides, rounded=True
    )
    for k, level in enumerate(levels):
        size, next_size = int(sizes[k]), int(sizes[k + 1])
        scales = np.float32([1.0, np.sqrt(next_size / size)])[:, None]
        heights = np.sqrt(np.float32([1.0, *(x for r in ratios[k] for x in (1 / r, r))]))[None]
        widths = (size * scales * (1 / heights)).reshape(-1)
        heights = (size * scales * heights).reshape(-1)
        halves = np.stack([0.5 * (widths - 1), 0.5 * (heights - 1)], axis=-1)
        center = np.float32(0.5 * (strides[k] - 1))
        corners = np.concatenate([np.round(center - halves), np.round(center + halves)], axis=-1)
        count = 1 + 2 * len(ratios[k])
        kept = corners[[0, count, *range(1, count)]]
        np.testing.assert_array_equal(level.cell, kept + np.float32([0, 0, 1, 1]))


def test_clipped_sizes():
    # sqrt(45 * 99) = 66.7 and 77.9 are more than the 40 pixels of the width, 66.7 more than the 50
    # of the height.
    _, coarse = ssd_levels((50, 40), **TWO_LEVELS, clip_sizes=True)
    sides = coarse.cell[:, 2:] - coarse.cell[:, :2]
    expected = [[40, 45], [40, 50], [40, 31.820], [31.820, 50], [40, 25.981], [25.981, 50]]
    np.testing.assert_allclose(sides, expected, atol=1e-3)
    np.testing.assert_allclose((coarse.cell[:, 2:] + coarse.cell[:, :2]) / 2, 8.0)


def test_default_boxes_as_far_apart_as_the_grid_says():
    # Of 50 x 40 pixels the strides 8 and 16 make 7 x 5 and 4 x 3 cells: 50 / 7 = 7.142857 and
    # 50 / 4 = 12.5 pixels high, 40 / 5 = 8 and 40 / 3 = 13.333333 wide.
    levels = ssd_levels((50, 40), **TWO_LEVELS, stride_from_grid=True)
    steps = [(level.stride_y, level.stride_x) for level in levels]
    np.testing.assert_allclose(steps, [(7.142857, 8), (12.5, 13.333333)], rtol=1e-6)
    centers = [(level.cell[:, :2] + level.cell[:, 2:]) / 2 for level in levels]
    for center, (step_y, step_x) in zip(centers, steps, strict=True):
        np.testing.assert_allclose(center, [(step_x / 2, step_y / 2)] * len(center))
    # The last row and column end where the image does.
    _, coarse = place(levels)
    np.testing.assert_allclose((coarse[-1, :2] + coarse[-1, 2:]) / 2, [40 - 6.666667, 50 - 6.25])
    assert [(level.rows, level.columns) for level in levels] == [(7, 5), (4, 3)]


def test_default_boxes_need_a_size_more_than_levels():
    with pytest.raises(ValueError, match=r"^sizes has 2 entries, ratios 2 and"):
        ssd_levels((16, 16), **TWO_LEVELS | {"sizes": (21.0, 45.0)})


def test_cells_are_ordered_by_row_then_column():
    # One anchor of 8 pixels a cell, centered on (8 column + 4, 8 row + 4).
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
    best = best_anchor_iou(np.array(boxes, np.float32), retinanet_levels((16, 24), **options))
    assert best.dtype == np.float32
    np.testing.assert_allclose(best, [1, 48 / 80, 16 / 112, 0, 64 / 384, 0], rtol=1e-6)


def every_iou(boxes, anchors):
    """IoU of every box with every anchor, in numpy: compiling for every shape takes longer."""
    boxes, anchors = np.float64(boxes)[:, None], np.float64(anchors)[None]
    sides = np.minimum(boxes, anchors)[..., 2:] - np.maximum(boxes, anchors)[..., :2]
    intersection = np.maximum(sides, 0).prod(axis=-1)
    areas = [(some[..., 2:] - some[..., :2]).prod(axis=-1) for some in (boxes, anchors)]
    return intersection / (areas[0] + areas[1] - intersection)


def random_boxes(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 170, (40, 2))
    sides = 2.0 ** rng.uniform(-2, 8, (40, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    boxes[:10] = np.round(boxes[:10])
    return boxes


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    seed=strategies.integers(0, 2**16),
    image_shape=strategies.tuples(strategies.integers(20, 150), strategies.integers(20, 150)),
    base_scale=strategies.sampled_from([1.0, 2.0, 4.0]),
    ratios=strategies.sampled_from([(0.5, 1.0, 2.0), (1.0,), (0.2, 3.0)]),
    center_offset=strategies.sampled_from([0.0, 0.5]),
    rounded=strategies.booleans(),
    stride_from_grid=strategies.booleans(),
)
def test_best_iou_is_the_maximum_over_all_anchors(seed, image_shape, **options):
    boxes = random_boxes(seed)
    levels = retinanet_levels(image_shape, **options)
    expected = every_iou(boxes, np.concatenate(place(levels))).max(axis=1)
    np.testing.assert_allclose(best_anchor_iou(boxes, levels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"rounded": True}, {"clip_sizes": True}, {"stride_from_grid": True}]
)
def test_best_iou_of_default_boxes(options):
    boxes, levels = random_boxes(0), ssd_levels((90, 130), **TWO_LEVELS, **options)
    expected = every_iou(boxes, np.concatenate(place(levels))).max(axis=1)
    np.testing.assert_allclose(best_anchor_iou(boxes, levels), expected, rtol=1e-4, atol=1e-5)


def test_no_boxes_have_no_best_iou():
    assert best_anchor_iou(np.zeros((0, 4), np.float32), retinanet_levels((64, 64))).shape == (0,)
