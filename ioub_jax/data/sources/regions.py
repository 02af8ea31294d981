"""Regions to ignore in place of boxes left out, since their objects are still in the image."""

import numpy as np

_HUGE = 1e15  # pixels; no coordinate is larger


def ignored_regions(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The region to ignore that replaces an unusable box in its image.

    Its object is there, so what a detector finds in its place is neither right nor wrong, and no
    anchor there is background. The region is the box as far as it is inside the image, its corners
    in either order. A box without width or height becomes the square over its longer side. Where
    nothing tells the place (a number is missing, a point, a box that is all outside) it is the
    whole image.

    Args:
      corners: `[n, 4]` xyxy in pixels as far as it is known, NaN where it is not.
      sizes: `[n, 2]`, height and width of each image.

    Returns:
      float32 `[n, 4]`, xyxy in pixels, inside the images and none without area.
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
    is_known = np.all(regions[:, 2:] > regions[:, :2], axis=1)  # False of NaN
    whole = np.hstack([np.zeros_like(limits), limits]).astype(np.float32)
    return np.where(is_known[:, None], regions, whole)
