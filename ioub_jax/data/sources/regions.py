"""Regions to ignore that replace unusable boxes, whose objects are still in the image."""

import numpy as np

_HUGE = 1e15  # pixels; no coordinate is larger


def ignored_regions(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The region to ignore that replaces an unusable box in its image.

    The object is in the image, so a detection there counts as neither right nor wrong, and no
    anchor there is background. The region is the part of the box that lies inside the image,
    whatever the order of the corners. A box without width or height becomes a square whose side is
    the box's longer side. If the place is unknown (a number is missing, the box is a point or lies
    entirely outside), the region is the whole image.

    Args:
      corners: `[n, 4]` xyxy in pixels, NaN where a number is not known.
      sizes: `[n, 2]`, height and width of each box's image.

    Returns:
      float32 `[n, 4]`, xyxy in pixels, inside the images; every region has an area.
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    corners = np.where(np.abs(corners) < _HUGE, corners, np.nan)
    limits = np.asarray(sizes, np.float64).reshape(-1, 2)[:, ::-1]
    first = np.minimum(corners[:, :2], corners[:, 2:])
    last = np.maximum(corners[:, :2], corners[:, 2:])
    sides = last - first
    grown = np.where(sides > 0, 0.0, sides.max(axis=1, keepdims=True) / 2)
    regions = np.hstack(
        [np.clip(first - grown, 0, limits), np.clip(last + grown, 0, limits)]
    ).astype(np.float32)
    is_known = np.all(regions[:, 2:] > regions[:, :2], axis=1)  # False for NaN
    whole = np.hstack([np.zeros_like(limits), limits]).astype(np.float32)
    return np.where(is_known[:, None], regions, whole)
