"""Detections and ground truth of many images in arrays, their overlaps, and greedy matching.

Error kinds, confusion matrices and score thresholds are based on this module. IoUs equal those of
pycocotools to the last bit, so that a detection exactly at the threshold counts as in COCO's
metric.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ioub_jax.evaluation.coco_input import CheckedInput

# Number of pairs of boxes that are processed together, which fit into a processor's cache.
_TOGETHER = 1 << 17


@dataclasses.dataclass(frozen=True)
class PlacedBoxes:
    """n boxes in images.

    Attributes:
      images: int64 `[n]`, the numbers of the images in `CheckedInput`.
      classes: int64 `[n]` in 0..C-1, positions in `CheckedInput.categories`.
      boxes: float64 `[n, 4]`, COCO's [x, y, width, height].
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        """Number of boxes, n."""
        return len(self.images)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """p pairs of a detection and a ground-truth box of the same image.

    Attributes:
      found: int64 `[p]`, positions of detections, ascending.
      objects: int64 `[p]`, positions of ground-truth boxes, ascending for each detection.
      overlaps: float64 `[p]`, their IoU, or the share of the detection that lies in the box.
    """

    found: np.ndarray
    objects: np.ndarray
    overlaps: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Pairs":
        return Pairs(self.found[chosen], self.objects[chosen], self.overlaps[chosen])


@dataclasses.dataclass(frozen=True)
class ComparedBoxes:
    """d detections and m ground-truth boxes.

    Attributes:
      found: the detections, in their order.
      scores: float64 `[d]`, the scores of the detections.
      objects: the ground-truth boxes, in their order.
      crowd: bool `[m]`, whether each box is a crowd or a region to ignore.
      class_count: C, the number of classes.
    """

    found: PlacedBoxes
    scores: np.ndarray
    objects: PlacedBoxes
    crowd: np.ndarray
    class_count: int

    @functools.cached_property
    def best_first(self) -> np.ndarray:
        """Positions of the detections by descending score, int64 `[d]`.

        As in COCO, detections with equal scores are ordered by image.
        """
        by_image = np.argsort(self.found.images, kind="stable")
        return by_image[np.argsort(-self.scores[by_image], kind="stable")]

    @functools.cached_property
    def ranks(self) -> np.ndarray:
        """The position of each detection in `best_first`, int64 `[d]`."""
        ranks = np.empty(len(self.found), np.int64)
        ranks[self.best_first] = np.arange(len(self.found))
        return ranks

    @functools.cached_property
    def boxes_of_class(self) -> np.ndarray:
        """The number of ground-truth boxes of each class without crowds, int64 `[C]`."""
        return np.bincount(self.objects.classes[~self.crowd], minlength=self.class_count)

    def places_in_class(self) -> np.ndarray:
        """The rank of each detection among those of its image and class, from 0: int64 `[d]`."""
        groups = self.found.images * self.class_count + self.found.classes
        places = np.empty(len(self.found), np.int64)
        places[self.best_first] = _counted_up(groups[self.best_first])
        return places

    def pairs(self, least: float) -> Pairs:
        """All pairs with an IoU of at least `least` and above 0, without crowds."""
        return _pairs(self.found, self.objects, np.flatnonzero(~self.crowd), least, by_class=False)

    def pairs_in_crowds(self, least: float) -> Pairs:
        """All pairs of a detection and a crowd of its class that covers a share `least` or more."""
        return _pairs(self.found, self.objects, np.flatnonzero(self.crowd), least, by_class=True)


def compared_boxes(checked: CheckedInput) -> ComparedBoxes:
    """Converts checked input to arrays."""

    def placed(entries: Sequence[dict]) -> PlacedBoxes:
        images = np.fromiter((row["image_id"] for row in entries), np.int64, len(entries))
        categories = np.fromiter((row["category_id"] for row in entries), np.int64, len(entries))
        boxes = np.array([row["bbox"] for row in entries], np.float64).reshape(-1, 4)
        return PlacedBoxes(images, categories - 1, boxes)  # categories are numbered from 1

    return ComparedBoxes(
        found=placed(checked.detections),
        scores=np.array([row["score"] for row in checked.detections], np.float64),
        objects=placed(checked.annotations),
        crowd=np.array([row["iscrowd"] for row in checked.annotations], bool),
        class_count=len(checked.categories),
    )


def match_greedily(
    pairs: Pairs, compared: ComparedBoxes, groups: np.ndarray, preference: np.ndarray | None = None
) -> np.ndarray:
    """Matches the best detections to the free ground-truth boxes that they overlap most.

    Args:
      pairs: pairs that may be matched.
      compared: the detections and boxes of these pairs.
      groups: int64 `[d]`, a group for each detection; detections of different groups must not be in
        pairs with the same box.
      preference: `[p]`, decides between equal overlaps, the greatest first; if it is equal too or
        None, the last box is chosen, as in pycocotools.

    Returns:
      the ground-truth box of each detection, int64 `[d]`; -1 without a box.
    """
    preference = np.zeros(len(pairs.found)) if preference is None else preference
    keys = (-pairs.objects, -preference, -pairs.overlaps, compared.ranks[pairs.found])
    order = np.lexsort(keys)
    of_pair, objects = pairs.found[order], pairs.objects[order]
    firsts = _firsts(of_pair)
    # The n-th detections of all groups have no box in common, so they are matched at once.
    turn_of_detection = _counted_up(groups[of_pair[firsts]])
    turns = np.repeat(turn_of_detection, np.diff(np.append(firsts, len(of_pair))))
    by_turn = np.argsort(turns, kind="stable")
    of_pair, objects = of_pair[by_turn], objects[by_turn]
    bounds = np.searchsorted(turns[by_turn], np.arange(turns.max(initial=-1) + 2))
    matched = np.full(len(compared.found), -1, np.int64)
    taken = np.zeros(len(compared.objects), bool)
    for start, end in itertools.pairwise(bounds.tolist()):
        wanted = objects[start:end]
        free = np.flatnonzero(~taken[wanted])
        chosen = free[_firsts(of_pair[start:end][free])]
        matched[of_pair[start:end][chosen]] = wanted[chosen]
        taken[wanted[chosen]] = True
    return matched


def best_pairs(pairs: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The pair of each detection with the greatest overlap; the first of equal overlaps.

    Args:
      pairs: any pairs.
      count: d, the number of detections.

    Returns:
      the overlap, float64 `[d]`, and the ground-truth box, int64 `[d]`; 0 and -1 without a pair.
    """
    order = np.lexsort((-pairs.overlaps, pairs.found))
    chosen = order[_firsts(pairs.found[order])]
    overlaps, objects = np.zeros(count), np.full(count, -1, np.int64)
    overlaps[pairs.found[chosen]] = pairs.overlaps[chosen]
    objects[pairs.found[chosen]] = pairs.objects[chosen]
    return overlaps, objects


def _firsts(values: np.ndarray) -> np.ndarray:
    """Positions at which runs of equal values begin, int64."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def _counted_up(groups: np.ndarray) -> np.ndarray:
    """The number of earlier items in the group of each item, int64 `[n]`."""
    order = np.argsort(groups, kind="stable")
    firsts = _firsts(groups[order])
    lengths = np.diff(np.append(firsts, len(groups)))
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(firsts, lengths)
    return places


# Overlaps.


def _pairs(
    found: PlacedBoxes, objects: PlacedBoxes, chosen: np.ndarray, least: float, *, by_class: bool
) -> Pairs:
    """The pairs of detections and chosen boxes with an overlap of at least `least` and above 0.

    `by_class` is for crowds: only pairs of the same class, with the share of the detection that
    lies in the box as the overlap.
    """
    keys, object_keys = found.images, objects.images[chosen]
    if by_class:
        count = 1 + max(found.classes.max(initial=0), objects.classes.max(initial=0))
        keys = keys * count + found.classes
        object_keys = object_keys * count + objects.classes[chosen]
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for first, second in _positions_of_pairs(keys, object_keys):
        second = chosen[second]
        values = _overlaps(found.boxes[first], objects.boxes[second], of_first=by_class)
        kept = (values >= least) & (values > 0)
        parts.append((first[kept], second[kept], values[kept]))
    first, second, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Pairs(first, second, values)


def _positions_of_pairs(
    keys: np.ndarray, others: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the positions in `keys` and in `others` of all pairs of equal keys, in parts."""
    order = np.argsort(others, kind="stable")
    starts = np.searchsorted(others[order], keys, side="left")
    counts = np.searchsorted(others[order], keys, side="right") - starts
    with_pairs = np.flatnonzero(counts)
    ends = np.cumsum(counts[with_pairs])
    if not len(ends):
        return
    bounds = np.searchsorted(ends, np.arange(0, ends[-1], _TOGETHER))
    for begin, end in zip(bounds, np.append(bounds[1:], len(ends)), strict=True):
        rows = with_pairs[begin:end]
        lengths = counts[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield np.repeat(rows, lengths), order[np.repeat(starts[rows], lengths) + within]


def _overlaps(first: np.ndarray, second: np.ndarray, *, of_first: bool) -> np.ndarray:
    """IoUs `[n]` of boxes `[n, 4]`, pair by pair, or the shares of the first in the second."""
    x, y, width, height = first.T
    other_x, other_y, other_width, other_height = second.T
    with np.errstate(over="ignore", invalid="ignore"):  # sides of 1e200 have no area
        across = np.minimum(width + x, other_width + other_x) - np.maximum(x, other_x)
        down = np.minimum(height + y, other_height + other_y) - np.maximum(y, other_y)
        common = np.maximum(across, 0.0) * np.maximum(down, 0.0)
        area = width * height
        whole = area if of_first else area + other_width * other_height - common
        exists = (common > 0) & (whole > 0)
        return np.divide(common, whole, out=np.zeros_like(common), where=exists)
