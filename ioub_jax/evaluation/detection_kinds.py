"""Kinds of detections by their errors, after TIDE (Bolya et al., arXiv 2008.08115).

A detection that is neither true nor ignored by COCO's metric has the first of these kinds that
applies. Here t is the smallest IoU of a true detection (the foreground IoU), and b is the largest
IoU of a detection that belongs to no object (the background IoU):

- **misplaced** (TIDE's localization error): with the box of its class that it overlaps most, it has
  b <= IoU < t.
- **confused** (classification error): it overlaps a box of another class by t or more.
- **duplicate**: it overlaps a box of its class by t or more, which a better detection has found.
- **background**: it overlaps no box by more than b.
- **both**: all others; it overlaps a box of another class, but by less than t.

In TIDE an IoU of exactly t is a localization error. Here the detection is a duplicate, since it
would be true if the box were free. Detections that COCO's metric ignores are not errors here, while
TIDE classifies them like all others.
"""

import dataclasses

import numpy as np

from ioub_jax.evaluation.coco_matching import Matches
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, Pairs, best_pairs

#: The kinds of detections; `DetectionKinds.kinds` has positions in this tuple.
KINDS = ("true", "duplicate", "misplaced", "confused", "both", "background", "ignored")
TRUE, DUPLICATE, MISPLACED, CONFUSED, BOTH, BACKGROUND, IGNORED = range(len(KINDS))


@dataclasses.dataclass(frozen=True)
class DetectionKinds:
    """The kind of each of d detections, and whether each of m ground-truth boxes is found.

    Positions of boxes are those in `CheckedInput.annotations`; detections are in the order in which
    they were given.

    Attributes:
      kinds: int8 `[d]`, positions in `KINDS`.
      objects: int64 `[d]`, the ground-truth box that each detection belongs to: the box that it
        finds, duplicates, misplaces or confuses, or, for the kind 'both', the box of another class
        that it overlaps most; -1 for detections of the background and ignored ones.
      ious: float64 `[d]`, the IoU with that box; 0 without a box.
      found_by: int64 `[m]`, the detection that has found each box; -1 for boxes that are not found.
      mended_by: int64 `[m]`, for each box that is not found, the best misplaced or confused
        detection that belongs to it, which would find it if corrected; -1 if there is none.
      crowd: bool `[m]`, whether each box is a crowd or a region to ignore, which is neither found
        nor missed.
    """

    kinds: np.ndarray
    objects: np.ndarray
    ious: np.ndarray
    found_by: np.ndarray
    mended_by: np.ndarray
    crowd: np.ndarray

    @property
    def not_found(self) -> np.ndarray:
        """Mask of the false negatives, the boxes that no detection finds: bool `[m]`."""
        return (self.found_by < 0) & ~self.crowd

    @property
    def missed(self) -> np.ndarray:
        """Mask of the boxes that are missed in TIDE's sense: bool `[m]`.

        They are not found, and correcting detections would not change that.
        """
        return self.not_found & (self.mended_by < 0)


def sort_detections(
    compared: ComparedBoxes, pairs: Pairs, matches: Matches, background_iou: float
) -> DetectionKinds:
    """Determines the kind of every detection.

    Args:
      compared: detections and ground truth.
      pairs: all pairs with an IoU of at least `background_iou`.
      matches: the true detections.
      background_iou: b, at most `matches.iou`.
    """
    count = len(compared.found)
    same = compared.found.classes[pairs.found] == compared.objects.classes[pairs.objects]
    own_iou, own = best_pairs(pairs[same], count)
    other_iou, other = best_pairs(pairs[~same], count)
    near = (own >= 0) & (own_iou >= background_iou)
    rules = {  # the first one that applies
        TRUE: matches.true,
        IGNORED: matches.ignored,
        MISPLACED: near & (own_iou < matches.iou),
        CONFUSED: other_iou >= matches.iou,
        DUPLICATE: near,
        BACKGROUND: other_iou <= background_iou,
    }
    kinds = np.select(list(rules.values()), list(rules), BOTH).astype(np.int8)
    is_own, is_other = np.isin(kinds, (MISPLACED, DUPLICATE)), np.isin(kinds, (CONFUSED, BOTH))
    objects = np.select((matches.true, is_own, is_other), (matches.objects, own, other), -1)
    ious = np.select((matches.true, is_own, is_other), (matches.ious, own_iou, other_iou), 0.0)
    found_by = np.full(len(compared.objects), -1, np.int64)
    found_by[matches.objects[matches.true]] = np.flatnonzero(matches.true)
    mends = compared.best_first[np.isin(kinds[compared.best_first], (MISPLACED, CONFUSED))]
    mends = mends[found_by[objects[mends]] < 0]
    mended_by = np.full(len(compared.objects), -1, np.int64)
    mended_by[objects[mends[::-1]]] = mends[::-1]  # the last assignment is that of the best
    return DetectionKinds(kinds, objects, ious, found_by, mended_by, compared.crowd)
