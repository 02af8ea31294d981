"""Anchor grids of RetinaNet and SSD, in plain numpy, computed once for every image shape.

Anchors are `[..., 4]` xyxy in absolute pixels of the network's input image, with exclusive right
and bottom edges. They may extend beyond the image.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

_CHUNK = 8192


class AnchorLevel(NamedTuple):
    """The anchors of one level, before they are repeated on its grid.

    Attributes:
      cell: `[A, 4]` float64, the anchors of the top left cell.
      rows: the number of cells along y.
      columns: the number of cells along x.
      stride_y: the pixels from one row to the next.
      stride_x: the pixels from one column to the next.
    """

    cell: np.ndarray
    rows: int
    columns: int
    stride_y: float
    stride_x: float


@runtime_checkable
class AnchorLayout(Protocol):
    """The anchors of every canvas, in a form that can be changed to reach other boxes.

    `RetinaNetAnchors` and `SSDAnchors` implement it; their fields have the names of the keys below
    `config.anchors`.
    """

    def __call__(self, image_shape: tuple[int, int], /) -> tuple[AnchorLevel, ...]:
        """The levels for a network's input of (height, width) in pixels."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of every level in pixels."""

    @property
    def anchors_per_location(self) -> tuple[int, ...]:
        """Anchors per location of every level."""

    @property
    def is_symmetric(self) -> bool:
        """True if a ratio stands for both a wide and a tall anchor."""

    def scaled(self, factor: float) -> Self:
        """The same shapes with other sizes, rounded to two or three digits."""

    def with_ratios(self, ratios: Sequence[float], *, alone: bool = False) -> Self:
        """More ratios at every location, or these `alone`."""


@dataclasses.dataclass(frozen=True)
class RetinaNetAnchors:
    """The anchors of a RetinaNet; the attributes are the arguments of `retinanet_levels`."""

    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    base_scale: float = 4.0
    scales_per_octave: int = 3
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    center_offset: float = 0.5
    rounded: bool = True
    whole_sizes: bool = False
    stride_from_grid: bool = False

    def __call__(self, image_shape: tuple[int, int], /) -> tuple[AnchorLevel, ...]:
        """The levels for a network's input of (height, width) in pixels."""
        return retinanet_levels(image_shape, **vars(self))

    @property
    def anchors_per_location(self) -> tuple[int, ...]:
        """Anchors per location of every level."""
        return (self.scales_per_octave * len(self.ratios),) * len(self.strides)

    @property
    def is_symmetric(self) -> bool:
        """False: a ratio stands for one anchor of every scale."""
        return False

    def scaled(self, factor: float) -> Self:
        """The same shapes with other sizes, rounded to two digits."""
        return dataclasses.replace(self, base_scale=float(f"{self.base_scale * factor:.2g}"))

    def with_ratios(self, ratios: Sequence[float], *, alone: bool = False) -> Self:
        """More ratios at every location, or these `alone`."""
        return dataclasses.replace(self, ratios=_joined(self.ratios, ratios, alone))


@dataclasses.dataclass(frozen=True)
class SSDAnchors:
    """The default boxes of an SSD; the attributes are the arguments of `ssd_levels`.

    Raises:
      ValueError: the attributes have different numbers of levels.
    """

    sizes: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    strides: tuple[int, ...]
    rounded: bool = False
    clip_sizes: bool = False
    stride_from_grid: bool = False

    def __post_init__(self) -> None:
        """Refuses values that `ssd_levels` would refuse."""
        _check_levels(self.sizes, self.ratios, self.strides)

    def __call__(self, image_shape: tuple[int, int], /) -> tuple[AnchorLevel, ...]:
        """The levels for a network's input of (height, width) in pixels."""
        return ssd_levels(image_shape, **vars(self))

    @property
    def anchors_per_location(self) -> tuple[int, ...]:
        """Anchors per location of every level."""
        return tuple(2 + 2 * len(ratios) for ratios in self.ratios)

    @property
    def is_symmetric(self) -> bool:
        """True: a ratio stands for a wide and a tall box."""
        return True

    def scaled(self, factor: float) -> Self:
        """The same shapes with other sizes, rounded to three digits."""
        sizes = tuple(float(f"{size * factor:.3g}") for size in self.sizes)
        return dataclasses.replace(self, sizes=sizes)

    def with_ratios(self, ratios: Sequence[float], *, alone: bool = False) -> Self:
        """More ratios at every location, or these `alone`."""
        levels = tuple(_joined(level, ratios, alone) for level in self.ratios)
        return dataclasses.replace(self, ratios=levels)


def _joined(present: Sequence[float], more: Sequence[float], alone: bool) -> tuple[float, ...]:
    return tuple(sorted({*(() if alone else present), *more}))


def retinanet_levels(
    image_shape: tuple[int, int],
    *,
    strides: Sequence[int] = (8, 16, 32, 64, 128),
    base_scale: float = 4.0,
    scales_per_octave: int = 3,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    center_offset: float = 0.5,
    rounded: bool = True,
    whole_sizes: bool = False,
    stride_from_grid: bool = False,
) -> tuple[AnchorLevel, ...]:
    """Anchors of a cell of every pyramid level (RetinaNet, arXiv 1708.02002, section 4).

    An anchor of ratio r and scale s has the area `(stride * s)^2` and the height `r` times its
    width; the scales are `base_scale * 2^(i / scales_per_octave)`. A level has
    `ceil(height / stride) x ceil(width / stride)` cells, as in a network of padded convolutions.

    The defaults are the anchors of the paper's authors (mmdetection 0.6). There, a box ends at its
    last pixel and is centered on `(stride - 1) / 2`, which is `stride / 2` for an exclusive right
    edge. Other implementations differ:

    - detectron2 and mmdetection 2 and 3: `center_offset=0.0, rounded=False`.
    - torchvision: `center_offset=0.0, whole_sizes=True, stride_from_grid=True`.

    Args:
      image_shape: (height, width) of the network's input, in pixels.
      strides: pixels per cell of every level, finest first.
      base_scale: size of the smallest square anchor of a level, in strides.
      scales_per_octave: number of anchor sizes between one level and the next.
      ratios: heights divided by widths.
      center_offset: position of the center of a cell's anchors, in strides from the cell's top left
        corner.
      rounded: whether the corners of the anchors of cell (0, 0) are rounded to whole pixels, with
        halves rounded to even.
      whole_sizes: whether sizes are truncated to whole pixels before the ratio is applied, as in 40
        for 40.3.
      stride_from_grid: whether cells are `image size // grid size` pixels apart. This is less than
        the stride if the grid extends beyond the image: 61 on P6 of 800 pixels.

    Returns:
      One `AnchorLevel` for each level; the anchors of a cell are ordered by ratio, scale.
    """
    scales = base_scale * 2.0 ** (np.arange(scales_per_octave) / scales_per_octave)
    roots = np.sqrt(np.asarray(ratios, np.float64))[:, None]
    levels = []
    for stride in strides:
        rows, columns = _grid(image_shape, stride)
        steps = (stride, stride)
        if stride_from_grid:
            steps = (image_shape[0] // rows, image_shape[1] // columns)
        sizes = np.floor(stride * scales) if whole_sizes else stride * scales
        sides = np.stack([sizes / roots, sizes * roots], axis=-1).reshape(-1, 2)
        center = center_offset * np.array([steps[1], steps[0]], np.float64)
        cell = np.concatenate([center - sides / 2, center + sides / 2], axis=-1)
        levels.append(AnchorLevel(np.round(cell) if rounded else cell, rows, columns, *steps))
    return tuple(levels)


def ssd_levels(
    image_shape: tuple[int, int],
    *,
    sizes: Sequence[float],
    ratios: Sequence[Sequence[float]],
    strides: Sequence[int],
    rounded: bool = False,
    clip_sizes: bool = False,
    stride_from_grid: bool = False,
) -> tuple[AnchorLevel, ...]:
    """Default boxes of a cell of every level (SSD, arXiv 1512.02325, section 2.2).

    Level k has a square of side `sizes[k]`, one of side `sqrt(sizes[k] * sizes[k + 1])` and, for
    each of its ratios r, a box of `sizes[k] * sqrt(r)` by `sizes[k] / sqrt(r)`, both wide and tall.
    They are centered on their cell. A level has `ceil(height / stride) x ceil(width / stride)`
    cells.

    The defaults are the boxes of the paper's own code (Caffe). Other implementations differ:

    - the authors of arXiv 1908.05641 (mmdetection 0.6): `rounded=True`.
    - torchvision: `clip_sizes=True`, and in its SSDLite `stride_from_grid=True`.

    Args:
      image_shape: (height, width) of the network's input, in pixels.
      sizes: the sizes in pixels, one more than there are levels.
      ratios: for each level, the longer sides divided by the shorter sides.
      strides: pixels per cell of every level, finest first.
      rounded: whether sizes are truncated to whole pixels, and then the first and the last pixel of
        each box of cell (0, 0) are rounded to whole pixels, with halves rounded to even.
      clip_sizes: whether no box is wider or higher than the image.
      stride_from_grid: whether cells are `image size / grid size` pixels apart. This is less than
        the stride if the grid extends beyond the image: 106.7 if 320 pixels have three cells of
        128.

    Returns:
      One `AnchorLevel` for each level; the anchors of a cell are ordered small square, large square
      and, for each ratio, wide, tall.

    Raises:
      ValueError: `sizes`, `ratios` and `strides` have different numbers of levels.
    """
    _check_levels(sizes, ratios, strides)
    edges = np.floor(sizes) if rounded else np.asarray(sizes, np.float64)
    limits = np.array([image_shape[1], image_shape[0]], np.float64)
    levels = []
    for size, next_size, level_ratios, stride in zip(
        edges[:-1], edges[1:], ratios, strides, strict=True
    ):
        sides = [(size, size), (np.sqrt(size * next_size),) * 2]
        for root in np.sqrt(np.asarray(level_ratios, np.float64)):
            sides += [(size * root, size / root), (size / root, size * root)]
        half = (np.minimum(sides, limits) if clip_sizes else np.asarray(sides)) / 2
        rows, columns = _grid(image_shape, stride)
        steps: tuple[float, float] = (stride, stride)
        if stride_from_grid:
            steps = (image_shape[0] / rows, image_shape[1] / columns)
        center = np.array([steps[1], steps[0]], np.float64) / 2
        low, high = center - half, center + half
        if rounded:
            low, high = np.round(low), np.round(high - 1) + 1
        cell = np.concatenate([low, high], axis=-1)
        levels.append(AnchorLevel(cell, rows, columns, *steps))
    return tuple(levels)


def _check_levels(sizes: Sequence[Any], ratios: Sequence[Any], strides: Sequence[Any]) -> None:
    if not len(sizes) - 1 == len(ratios) == len(strides):
        raise ValueError(
            f"sizes has {len(sizes)} entries, ratios {len(ratios)} and strides {len(strides)}; "
            "ratios and strides must have one for each level, sizes one more."
        )


def retinanet_anchors(image_shape: tuple[int, int], **options: Any) -> tuple[np.ndarray, ...]:
    """Anchors of every cell of every pyramid level of a RetinaNet.

    Args:
      image_shape: (height, width) of the network's input, in pixels.
      **options: the options of `retinanet_levels`.

    Returns:
      One float32 array `[N_l, 4]` for each level, ordered by row, column, ratio, scale.
    """
    return place(retinanet_levels(image_shape, **options))


def ssd_anchors(image_shape: tuple[int, int], **options: Any) -> tuple[np.ndarray, ...]:
    """Default boxes of every cell of every level of an SSD.

    Args:
      image_shape: (height, width) of the network's input, in pixels.
      **options: the options of `ssd_levels`.

    Returns:
      One float32 array `[N_l, 4]` for each level, ordered by row, column and as in `ssd_levels`.
    """
    return place(ssd_levels(image_shape, **options))


def place(levels: Sequence[AnchorLevel]) -> tuple[np.ndarray, ...]:
    """Repeats the anchors of each level's top left cell in every cell.

    Args:
      levels: from `retinanet_levels` or `ssd_levels`.

    Returns:
      One float32 array `[rows * columns * A, 4]` for each level, ordered by row, column, anchor.
    """
    return tuple(_repeat_on_grid(level) for level in levels)


def best_anchor_iou(boxes: np.ndarray, levels: Sequence[AnchorLevel]) -> np.ndarray:
    """The highest IoU of each box with any anchor, without creating the anchors.

    The intersection with a copy of an anchor is the product of an overlap along x and one along y,
    each of which decreases with the distance of the centers along its axis. The copy in the nearest
    column and row is therefore the best one, and 45 comparisons per box replace the 200,000 of a
    RetinaNet for an image of 800 x 1344 pixels.

    Args:
      boxes: `[m, 4]`, xyxy in pixels of the network's input.
      levels: from `retinanet_levels` or `ssd_levels`.

    Returns:
      float32 `[m]`; 0 for a box without area.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    best = np.zeros(len(boxes), np.float32)
    # A few thousand boxes at a time fit into the processor's cache.
    for start in range(0, len(boxes), _CHUNK):
        chunk = boxes[start : start + _CHUNK].astype(np.float64)
        ious = best[start : start + _CHUNK]  # a view
        for level in levels:
            for anchor in level.cell:
                np.maximum(ious, _best_copy_iou(chunk, anchor, level), out=ious)
    return best


def _best_copy_iou(boxes: np.ndarray, anchor: np.ndarray, level: AnchorLevel) -> np.ndarray:
    """Returns the highest IoU of each box with the copies of an anchor in its level, `[m]`."""
    intersection: np.ndarray | float = 1.0
    grid = ((level.stride_x, level.columns), (level.stride_y, level.rows))
    for axis, (stride, count) in enumerate(grid):
        low, high = boxes[:, axis], boxes[:, axis + 2]
        offset = (low + high - anchor[axis] - anchor[axis + 2]) / 2.0
        shift = stride * np.clip(np.rint(offset / stride), 0, count - 1)
        overlap = np.minimum(high, anchor[axis + 2] + shift) - np.maximum(low, anchor[axis] + shift)
        intersection = intersection * np.maximum(overlap, 0.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = np.maximum(sides[:, 0], 0.0) * np.maximum(sides[:, 1], 0.0)
    return intersection / (areas + np.prod(anchor[2:] - anchor[:2]) - intersection)


def _grid(image_shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """Returns the rows and columns of a level, including cells that extend beyond the image."""
    return -(-image_shape[0] // stride), -(-image_shape[1] // stride)


def _repeat_on_grid(level: AnchorLevel) -> np.ndarray:
    """Copies the anchors of a cell to every cell: `[rows * columns * A, 4]` float32."""
    y, x = np.meshgrid(
        np.arange(level.rows) * level.stride_y,
        np.arange(level.columns) * level.stride_x,
        indexing="ij",
    )
    shifts = np.stack([x, y, x, y], axis=-1)
    anchors = shifts[:, :, None, :] + level.cell[None, None, :, :]
    return anchors.reshape(-1, 4).astype(np.float32)
