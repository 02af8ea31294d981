"""Objects that are mostly hidden or outside of the image.

Where a transform leaves less than a share of an object's box, the object becomes a region to
ignore (`Example.ignored`), neither something to find nor background: a rest of it is there, but
nobody could tell its box. The share is of the box, not of the object's outline, which is not known.
"""

import dataclasses

import numpy as np

from ioub_jax.data.sources.example import Example
from ioub_jax.data.transforms import crop, pixels

# Zhong et al. 2017 (arXiv 1708.04896, Random Erasing), as they set it for detection: 2 % to 20 %
# of the image. torchvision's `RandomErasing` goes up to 33 %.
_CUTOUT_SHARES = (0.02, 0.2)
_CUTOUT_LARGEST_ASPECT_RATIO = 1 / 0.3


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes `[..., 4]` in square pixels, 0 for those that are inside out."""
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1)


def shares_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Share of each box that lies inside of each window: float `[n, k]`.

    Args:
      boxes: `[n, 4]`, xyxy in pixels.
      windows: `[k, 4]` alike.
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
      min_visibility: the share that must be.

    Returns:
      the example with other `ignored`.
    """
    return dataclasses.replace(example, ignored=example.ignored | (visible < min_visibility))


def cut(example: Example, window: tuple[int, int, int, int], min_visibility: float) -> Example:
    """As `transforms.crop`, with regions to ignore where too little of an object is inside.

    Args:
      example: the example.
      window: left, top, right and bottom in whole pixels, right and bottom exclusive.
      min_visibility: share of an object's box that must be inside.

    Returns:
      the example in the window; raises as `crop`.
    """
    visible = shares_inside(example.boxes, np.array([window]))[:, 0]
    return crop(ignore_less_than(example, visible, min_visibility), window)


def cover(example: Example, windows: np.ndarray, min_visibility: float) -> Example:
    """Updates the objects of an example when something covers parts of it.

    Args:
      example: the example, whose pixels are not touched.
      windows: `[k, 4]`, xyxy in pixels, that do not overlap.
      min_visibility: share of an object's box that must stay outside of all of them.

    Returns:
      the example with the same boxes, some of them regions to ignore.
    """
    hidden = shares_inside(example.boxes, windows).sum(axis=-1)
    return ignore_less_than(example, 1 - hidden, min_visibility)


def random_cutout(
    example: Example,
    rng: np.random.Generator,
    *,
    probability: float,
    min_visibility: float,
    colour: tuple[int, ...],
) -> Example:
    """Paints over a random rectangle: DeVries and Taylor's cutout, with the sizes of RandomErasing.

    It has 2 % to 20 % of the image's area, is up to 3.3 times as long as wide, log-uniformly, and
    lies wholly inside. Objects keep their boxes, covered or not; of which less than
    `min_visibility` is left outside the rectangle, those become regions to ignore.

    Args:
      example: the example.
      rng: gives five numbers.
      probability: how often it is done.
      min_visibility: as in `cover`.
      colour: of the rectangle, a number for each channel.

    Returns:
      the example with another image.
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
    painted[top : top + rows, left : left + columns] = colour
    window = np.array([[left, top, left + columns, top + rows]])
    return dataclasses.replace(cover(example, window, min_visibility), image=painted)
