"""Objects that are mostly hidden or outside of the image.

If a transform leaves less than a given share of an object's box, the object becomes a region to
ignore (`Example.ignored`), which is neither an object to detect nor background: a part of the
object is visible, but too little to tell its box. The share refers to the box, since the outline of
the object is unknown.
"""

import dataclasses

import numpy as np

from ioub_jax.data.sources.example import Example
from ioub_jax.data.transforms import crop, pixels

# Zhong et al. 2017 (arXiv 1708.04896, Random Erasing) use 2 % to 20 % of the image for detection.
# torchvision's `RandomErasing` goes up to 33 %.
_CUTOUT_SHARES = (0.02, 0.2)
_CUTOUT_LARGEST_ASPECT_RATIO = 1 / 0.3


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes `[..., 4]` in square pixels; 0 for boxes with swapped edges."""
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1)


def shares_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Share of each box that lies inside of each window: float `[n, k]`.

    Args:
      boxes: `[n, 4]`, xyxy in pixels.
      windows: `[k, 4]`, xyxy in pixels.
    """
    first, second = boxes[:, None, :], np.asarray(windows, np.float32)[None, :, :]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = areas(np.concatenate([low, high], axis=-1))
    return shared / np.maximum(areas(boxes), np.finfo(np.float32).tiny)[:, None]


def ignore_less_than(example: Example, visible: np.ndarray, min_visibility: float) -> Example:
    """Turns objects of which too little is visible into regions to ignore.

    Args:
      example: the example.
      visible: `[n]`, share of each object's box that is visible.
      min_visibility: share of an object's box that must be visible.

    Returns:
      the example with updated `ignored`.
    """
    return dataclasses.replace(example, ignored=example.ignored | (visible < min_visibility))


def cut(example: Example, window: tuple[int, int, int, int], min_visibility: float) -> Example:
    """Crops an example; objects of which too little is inside become regions to ignore.

    Args:
      example: the example.
      window: left, top, right and bottom in whole pixels, right and bottom exclusive.
      min_visibility: share of an object's box that must be inside.

    Returns:
      the example in the window.

    Raises:
      ValueError: the window is empty or not inside the image.
    """
    visible = shares_inside(example.boxes, np.array([window]))[:, 0]
    return crop(ignore_less_than(example, visible, min_visibility), window)


def cover(example: Example, windows: np.ndarray, min_visibility: float) -> Example:
    """Turns objects that are mostly covered into regions to ignore.

    Args:
      example: the example, whose pixels stay unchanged.
      windows: `[k, 4]`, xyxy in pixels, the covered parts, which must not overlap.
      min_visibility: share of an object's box that must be outside of all windows.

    Returns:
      the example with the same boxes and updated `ignored`.
    """
    hidden = shares_inside(example.boxes, windows).sum(axis=-1)
    return ignore_less_than(example, 1 - hidden, min_visibility)


def random_cutout(
    example: Example,
    rng: np.random.Generator,
    *,
    probability: float,
    min_visibility: float,
    color: tuple[int, ...],
) -> Example:
    """Paints over a random rectangle: DeVries and Taylor's cutout, in the sizes of Random Erasing.

    The rectangle has 2 % to 20 % of the image's area and lies inside of it. Its aspect ratio is
    log-uniform, and the longer side is at most 3.3 times the shorter. Objects keep their boxes,
    even if they are covered; those of which less than `min_visibility` is left outside of the
    rectangle become regions to ignore.

    Args:
      example: the example.
      rng: the generator; five numbers are drawn from it.
      probability: the probability of a rectangle.
      min_visibility: as in `cover`.
      color: the color of the rectangle, a number for each channel.

    Returns:
      the example with the new image.
    """
    gate, size, shape, across, down = rng.random(5)
    if gate >= probability:
        return example
    image = pixels(example)
    height, width = image.shape[:2]
    area = (_CUTOUT_SHARES[0] + size * (_CUTOUT_SHARES[1] - _CUTOUT_SHARES[0])) * height * width
    ratio = _CUTOUT_LARGEST_ASPECT_RATIO ** (2 * shape - 1)
    rows = min(max(round((area * ratio) ** 0.5), 1), height)
    columns = min(max(round((area / ratio) ** 0.5), 1), width)
    top, left = int(down * (height - rows + 1)), int(across * (width - columns + 1))
    painted = image.copy()
    painted[top : top + rows, left : left + columns] = color
    window = np.array([[left, top, left + columns, top + rows]])
    return dataclasses.replace(cover(example, window, min_visibility), image=painted)
