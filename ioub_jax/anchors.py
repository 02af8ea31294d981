"""Anchor grids of RetinaNet: plain numpy, made once for every image shape.

Anchors are `[..., 4]` xyxy in absolute pixels of the network's input image, right and bottom edge
exclusive. They may reach over the edge of the image.
"""

from collections.abc import Sequence

import numpy as np


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
        cell = _cell_anchors(stride, scales, np.asarray(ratios), center_offset)
        if rounded:
            cell = np.round(cell)
        rows, columns = (-(-size // stride) for size in image_shape)
        levels.append(_repeat_on_grid(cell, rows, columns, stride))
    return tuple(levels)


def _cell_anchors(
    stride: int, scales: np.ndarray, ratios: np.ndarray, center_offset: float
) -> np.ndarray:
    """Anchors of the top left cell, `[R * S, 4]` float64, all scales of a ratio together."""
    widths = (stride * scales[None, :] / np.sqrt(ratios)[:, None]).reshape(-1)
    heights = (stride * scales[None, :] * np.sqrt(ratios)[:, None]).reshape(-1)
    half_sizes = np.stack([widths, heights], axis=-1) / 2.0
    center = center_offset * stride
    return np.concatenate([center - half_sizes, center + half_sizes], axis=-1)


def _repeat_on_grid(cell: np.ndarray, rows: int, columns: int, stride: int) -> np.ndarray:
    """Moves the anchors of a cell to every cell: `[rows * columns * A, 4]` float32."""
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    shifts = np.stack([x, y, x, y], axis=-1)
    anchors = shifts[:, :, None, :] + cell[None, None, :, :]
    return anchors.reshape(-1, 4).astype(np.float32)
