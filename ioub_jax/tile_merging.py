"""Merging of the detections of an image's tiles by NMS over the whole image.

It runs in numpy on the host: the number of detections differs between images, and jax would compile
a program for every number.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: The distance from its tile's border, in pixels of the network's input, at which a box reaches it.
BORDER = 2.0
#: The share of a box at such a border that another box must cover, for it to be a part of that box.
COVERED = 0.7


class Found(NamedTuple):
    """k detections of a tile, or of an image.

    Attributes:
      boxes: float32 `[k, 4]` xyxy in pixels.
      scores: float32 `[k]`.
      labels: int32 `[k]`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def merge(
    found: Sequence[Found],
    windows: np.ndarray,
    size: tuple[int, int],
    *,
    nms_iou: float,
    max_detections: int,
    zoom: float = 1.0,
    class_agnostic: bool = False,
) -> Found:
    """Merges the detections of an image's tiles.

    An object in several tiles is detected in each of them, and cut in some. Of two detections of a
    class in different tiles, the later one in the order below is therefore left out if

    - their IoU is above `nms_iou`, as in the NMS of a single image, or
    - it reaches a border of its tile inside the image, and at least `COVERED` of it is inside the
      other one, so that it is a part of the same object.

    Detections at such a border come after all others, whatever their scores, so that a part never
    replaces the whole; within both groups, the order is that of the scores. Two detections of the
    same tile do not suppress each other, since the NMS of the tile has compared them.

    Args:
      found: the detections of each of t tiles, in pixels of the tile.
      windows: `[t, 4]` xyxy, the tiles in pixels of the image.
      size: height and width of the image.
      nms_iou: the IoU above which a detection is left out.
      max_detections: the maximum number of detections in the image.
      zoom: pixels of the network's input per pixel of the image.
      class_agnostic: whether detections of other classes are left out, too.

    Returns:
      the detections of the image, best first, in pixels of the image.
    """
    counts = [len(one.labels) for one in found]
    tile = np.repeat(np.arange(len(found)), counts)
    empty = Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    boxes, scores, labels = (
        np.concatenate([part, *parts])
        for part, parts in zip(empty, zip(*found, strict=True), strict=True)
    )
    at_border = _at_inner_border(boxes, tile, windows, size, BORDER / zoom)
    boxes = boxes + windows[tile][:, [0, 1, 0, 1]].astype(np.float32)
    # Whole boxes come before parts, then higher scores before lower ones; ties keep their order.
    order = np.lexsort((-scores, at_border))
    kept = np.ones(len(boxes), bool)
    groups = np.zeros_like(labels) if class_agnostic else labels
    losers = _losers(boxes, groups, at_border, order, counts, windows, nms_iou)
    for better in order[np.isin(order, list(losers))]:
        if kept[better]:
            kept[losers[better]] = False
    left = np.flatnonzero(kept)
    best = left[np.argsort(-scores[left], kind="stable")][:max_detections]
    return Found(boxes[best], scores[best], labels[best])


def _at_inner_border(
    boxes: np.ndarray, tile: np.ndarray, windows: np.ndarray, size: tuple[int, int], border: float
) -> np.ndarray:
    """Returns whether each box, in pixels of its tile, reaches a border inside the image."""
    sides = windows[:, 2:] - windows[:, :2]
    begins = (windows[:, :2] > 0)[tile] & (boxes[:, :2] < border)
    inside = windows[:, 2:] < np.array(size[::-1])
    ends = inside[tile] & (boxes[:, 2:] > sides[tile] - border)
    at_border: np.ndarray = (begins | ends).any(axis=1)
    return at_border


def _losers(
    boxes: np.ndarray,
    groups: np.ndarray,
    at_border: np.ndarray,
    order: np.ndarray,
    counts: Sequence[int],
    windows: np.ndarray,
    nms_iou: float,
) -> dict[int, np.ndarray]:
    """Returns detection -> the detections of other tiles that it suppresses if it is kept."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    pairs = [np.zeros((2, 0), np.int64)]
    for first, second in _overlapping(windows):
        shared = np.concatenate(
            [
                np.maximum(windows[first, :2], windows[second, :2]),
                np.minimum(windows[first, 2:], windows[second, 2:]),
            ]
        )
        one, other = (
            np.arange(offsets[index], offsets[index + 1])[
                _meets(boxes[offsets[index] : offsets[index + 1]], shared)
            ]
            for index in (first, second)
        )
        if len(one) and len(other):
            rows, columns = np.nonzero(groups[one][:, None] == groups[other])
            pairs.append(np.stack([one[rows], other[columns]]))
    one, other = np.concatenate(pairs, axis=1)
    better = np.where(rank[one] < rank[other], one, other)
    worse = np.where(rank[one] < rank[other], other, one)
    intersection, areas = _intersections(boxes[better], boxes[worse]), _areas(boxes)
    union = areas[better] + areas[worse] - intersection
    loses = (intersection > nms_iou * union) & (union > 0)
    loses |= at_border[worse] & (intersection >= COVERED * areas[worse]) & (intersection > 0)
    better, worse = better[loses], worse[loses]
    by_better = np.argsort(better, kind="stable")
    names, starts = np.unique(better[by_better], return_index=True)
    losers = np.split(worse[by_better], starts[1:])
    return dict(zip(names.tolist(), losers, strict=False))


def _overlapping(windows: np.ndarray) -> list[tuple[int, int]]:
    """Returns the pairs of tiles that overlap, each of them once."""
    pairs = []
    for first in range(len(windows)):
        rest = windows[first + 1 :]
        meets = (rest[:, :2] < windows[first, 2:]).all(axis=1)
        meets &= (rest[:, 2:] > windows[first, :2]).all(axis=1)
        pairs += list(zip(itertools.repeat(first), (np.flatnonzero(meets) + first + 1).tolist()))
    return pairs


def _meets(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.logical_and(
        (boxes[:, :2] < window[2:]).all(axis=1), (boxes[:, 2:] > window[:2]).all(axis=1)
    )


def _areas(boxes: np.ndarray) -> np.ndarray:
    areas: np.ndarray = np.prod(boxes[:, 2:].astype(np.float64) - boxes[:, :2], axis=1)
    return areas


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    begin = np.maximum(first[:, :2], second[:, :2]).astype(np.float64)
    end = np.minimum(first[:, 2:], second[:, 2:])
    areas: np.ndarray = np.prod(np.maximum(end - begin, 0.0), axis=1)
    return areas
