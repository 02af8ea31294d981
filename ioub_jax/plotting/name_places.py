"""Places for the names of boxes in pictures."""

from collections.abc import Sequence

import numpy as np


def free_place(
    box: np.ndarray,
    name: tuple[float, float],
    image: tuple[float, float],
    taken: Sequence[np.ndarray],
) -> np.ndarray | None:
    """A place for a box's name inside the image that covers no other name, or None.

    Args:
      box: `[4]` xyxy in pixels of the image.
      name: width and height of the name, in pixels of the image.
      image: width and height of the image.
      taken: the places of other names, each `[4]` xyxy.
    """
    (width, height), (image_width, image_height) = name, image
    x0, y0, x1, y1 = box
    for wish in (x0, x1 - width):
        left = min(max(wish, 0), image_width - width)
        for top in (y0 - height, y1, y0, y1 - height):
            place = np.array([left, top, left + width, top + height])
            inside = left >= 0 and top >= 0 and place[3] <= image_height
            if inside and not any(overlap(place, other) for other in taken):
                return place
    return None


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """True if two places overlap."""
    return bool((np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all())
