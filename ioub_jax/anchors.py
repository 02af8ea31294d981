"""Anchor grids of RetinaNet: plain numpy, made once for every image shape.

Anchors are `[..., 4]` xyxy in absolute pixels of the network's input image, right and bottom edge
exclusive. They may reach over the edge of the image.
"""

from collections.abc import Sequence

import numpy as np

_CHUNK = 8192


def retinanet_anchors(
    image_shape: tuple[int, int],
    *,
    strides: Sequence[int] = (8, 16, 32, 64, 128),
    base_scale: float = 4.0,
    scales_per_octave: int = 3,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    center_offset: float = 0.5,
    rounded: bool = True,
) -> tuple[np.ndarray, ...]:
    """Anchors of every cell of every pyramid level (RetinaNet, arXiv 1708.02002, section 4).

    An anchor of ratio r and scale s has the area `(stride * s)^2` and the height `r` times its
    width; the scales are `base_scale * 2^(i / scales_per_octave)`. A level has
    `ceil(height / stride) x ceil(width / stride)` cells, as a network of padded convolutions has.

    The defaults are the anchors of the paper's authors (mmdetection 0.6): there a box ends at its
    last pixel and is centred on `(stride - 1) / 2`, which is `stride / 2` where the right edge is
    exclusive. Others differ:

    - detectron2 and mmdetection 2 and 3: `center_offset=0.0, rounded=False`.
    - torchvision: `center_offset=0.0`, with the sizes 32, 64, ... and their multiples by 2^(1/3)
      and 2^(2/3) cut to whole pixels before the ratio is applied (40 for 40.3, 50 for 50.8), and a
      stride of `image size // grid size`, which on P6 and P7 can be less than 64 and 128. Its
      rounded anchors are up to one pixel a side smaller than these.

    Args:
      image_shape: (height, width) of the network's input, in pixels.
      strides: pixels per cell of every level, finest first.
      base_scale: size of the smallest square anchor of a level, in strides.
      scales_per_octave: number of anchor sizes between one level and the next.
      ratios: heights divided by widths.
      center_offset: where the centre of a cell's anchors lies, in strides from the cell's top left.
      rounded: whether the corners of the anchors of cell (0, 0) are rounded to whole pixels, halves
        to even.

    Returns:
      One float32 array `[N_l, 4]` a level, ordered by row, column, ratio, scale.
    """
    scales = base_scale * 2.0 ** (np.arange(scales_per_octave) / scales_per_octave)
    levels = []
    for stride in strides:
        cell = _cell_anchors(stride, scales, np.asarray(ratios), center_offset, rounded)
        rows, columns = (-(-size // stride) for size in image_shape)
        levels.append(_repeat_on_grid(cell, rows, columns, stride))
    return tuple(levels)


def best_anchor_iou(
    boxes: np.ndarray,
    image_shape: tuple[int, int],
    *,
    strides: Sequence[int] = (8, 16, 32, 64, 128),
    base_scale: float = 4.0,
    scales_per_octave: int = 3,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    center_offset: float = 0.5,
    rounded: bool = True,
) -> np.ndarray:
    """The highest IoU each box has with any anchor of `retinanet_anchors`, without making them.

    Among the copies of one base anchor, the intersection is the product of an overlap along x and
    one along y, and each falls with the distance of the centres along its axis. The copy of the
    nearest column and row is therefore the best, and 45 comparisons a box replace the 200,000 of
    an image of 800 x 1344 pixels.

    Args:
      boxes: `[m, 4]`, xyxy in pixels of the network's input.
      image_shape: as for `retinanet_anchors`, like all the others.
      strides: see there.
      base_scale: see there.
      scales_per_octave: see there.
      ratios: see there.
      center_offset: see there.
      rounded: see there.

    Returns:
      float32 `[m]`, 0 for a box without area.
    """
    scales = base_scale * 2.0 ** (np.arange(scales_per_octave) / scales_per_octave)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    best = np.zeros(len(boxes), np.float32)
    # A few thousand boxes at a time stay in the processor's cache.
    for start in range(0, len(boxes), _CHUNK):
        chunk = boxes[start : start + _CHUNK].astype(np.float64)
        ious = best[start : start + _CHUNK]  # a view
        for stride in strides:
            cells = [-(-size // stride) for size in image_shape]
            for anchor in _cell_anchors(stride, scales, np.asarray(ratios), center_offset, rounded):
                np.maximum(ious, _best_copy_iou(chunk, anchor, stride, cells), out=ious)
    return best


def _best_copy_iou(
    boxes: np.ndarray, anchor: np.ndarray, stride: int, cells: Sequence[int]
) -> np.ndarray:
    """Highest IoU of each box with the copies of an anchor in `cells` (rows, columns): `[m]`."""
    intersection: np.ndarray | float = 1.0
    for axis, count in ((0, cells[1]), (1, cells[0])):
        low, high = boxes[:, axis], boxes[:, axis + 2]
        offset = (low + high - anchor[axis] - anchor[axis + 2]) / 2.0
        shift = stride * np.clip(np.rint(offset / stride), 0, count - 1)
        overlap = np.minimum(high, anchor[axis + 2] + shift) - np.maximum(low, anchor[axis] + shift)
        intersection = intersection * np.maximum(overlap, 0.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = np.maximum(sides[:, 0], 0.0) * np.maximum(sides[:, 1], 0.0)
    return intersection / (areas + np.prod(anchor[2:] - anchor[:2]) - intersection)


def _cell_anchors(
    stride: int, scales: np.ndarray, ratios: np.ndarray, center_offset: float, rounded: bool
) -> np.ndarray:
    """Anchors of the top left cell, `[R * S, 4]` float64, all scales of a ratio together."""
    widths = (stride * scales[None, :] / np.sqrt(ratios)[:, None]).reshape(-1)
    heights = (stride * scales[None, :] * np.sqrt(ratios)[:, None]).reshape(-1)
    half_sizes = np.stack([widths, heights], axis=-1) / 2.0
    center = center_offset * stride
    anchors = np.concatenate([center - half_sizes, center + half_sizes], axis=-1)
    return np.round(anchors) if rounded else anchors


def _repeat_on_grid(cell: np.ndarray, rows: int, columns: int, stride: int) -> np.ndarray:
    """Moves the anchors of a cell to every cell: `[rows * columns * A, 4]` float32."""
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    shifts = np.stack([x, y, x, y], axis=-1)
    anchors = shifts[:, :, None, :] + cell[None, None, :, :]
    return anchors.reshape(-1, 4).astype(np.float32)
