"""Boxes of many images in flat arrays, and their overlaps, for several metrics."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class BoxArrays:
    """n boxes: `images` and `categories` are int64 `[n]`, `corners` float64 `[n, 4]` xyxy."""

    images: np.ndarray
    categories: np.ndarray
    corners: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "BoxArrays":
        return BoxArrays(self.images[chosen], self.categories[chosen], self.corners[chosen])


def box_arrays(entries: Sequence[dict[str, Any]]) -> BoxArrays:
    """The boxes of checked annotations or detections (`CheckedInput`), in their order."""
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    return BoxArrays(
        np.array([entry["image_id"] for entry in entries], np.int64),
        np.array([entry["category_id"] for entry in entries], np.int64),
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
    )


def nearest_objects(
    found: BoxArrays,
    objects: BoxArrays,
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The object that each detection overlaps most in its image; the first of equal overlaps.

    Args:
      found: d detections.
      objects: m ground-truth boxes of the same class.
      overlap: function that returns the overlaps of detections with objects, pair by pair; None for
        `paired_ious`.

    Returns:
      the overlap with that object, float64 `[d]`, and its position in `objects`, int64 `[d]`; both
      are 0 if the detection overlaps no object.
    """
    overlap = overlap or paired_ious
    by_image = np.argsort(objects.images, kind="stable")
    images = objects.images[by_image]
    first = np.searchsorted(images, found.images, side="left")
    counts = np.searchsorted(images, found.images, side="right") - first
    best_ious = np.zeros(len(first))
    nearest = np.zeros(len(first), np.int64)
    for number in range(counts.max(initial=0)):
        compared = np.flatnonzero(counts > number)
        candidates = by_image[first[compared] + number]
        ious = overlap(found.corners[compared], objects.corners[candidates])
        better = ious > best_ious[compared]
        best_ious[compared[better]] = ious[better]
        nearest[compared[better]] = candidates[better]
    return best_ious, nearest


def paired_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU `[n]` of boxes `[n, 4]` xyxy, pair by pair; 0 if neither box has an area."""
    intersection = _intersections(first, second)
    union = _areas(first) + _areas(second) - intersection
    return _quotients(intersection, union)


def paired_covered_shares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The share of each first box that lies in its second box, `[n]`; 0 if it has no area."""
    return _quotients(_intersections(first, second), _areas(first))


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    left_top = np.maximum(first[:, :2], second[:, :2])
    right_bottom = np.minimum(first[:, 2:], second[:, 2:])
    return _products(np.maximum(right_bottom - left_top, 0.0))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return _products(boxes[:, 2:] - boxes[:, :2])


def _products(sides: np.ndarray) -> np.ndarray:
    """The areas `[n]` of boxes with sides `[n, 2]`; 0 if an area overflows (sides of 1e200)."""
    with np.errstate(over="ignore"):
        areas = sides[:, 0] * sides[:, 1]
    return np.where(np.isfinite(areas), areas, 0.0)


def _quotients(dividends: np.ndarray, divisors: np.ndarray) -> np.ndarray:
    return np.divide(dividends, divisors, out=np.zeros_like(divisors), where=divisors > 0)
