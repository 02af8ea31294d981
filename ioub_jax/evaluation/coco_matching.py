"""True and false detections by COCO's metric at one IoU, in arrays.

The rules are those of pycocotools. The best detections of a class in an image, 100 by default, are
each matched to the free ground-truth box of their class that they overlap most, and to the last one
of equal overlaps. A detection without a match that lies in a crowd of its class is neither true nor
false.
"""

import dataclasses

import numpy as np

from ioub_jax.evaluation.compared_boxes import ComparedBoxes, Pairs, match_greedily

#: The default for the smallest IoU of a true detection.
MATCHED_IOU = 0.5
#: The number of best detections of a class in an image that count in COCO's metrics.
COCO_DETECTIONS = 100
#: The largest IoU that can be required. As in pycocotools it is slightly below 1, so that equal
#: boxes reach it in spite of rounding.
HIGHEST_IOU = 1 - 1e-10


@dataclasses.dataclass(frozen=True)
class Matches:
    """Matches between d detections and m ground-truth boxes.

    Attributes:
      iou: the smallest IoU of a true detection.
      objects: int64 `[d]`, the box that each detection has found; -1 if the detection is not true.
      ious: float64 `[d]`, the IoU with that box; 0 if the detection is not true.
      ignored: bool `[d]`, whether each detection is neither true nor false, because it lies in a
        crowd or is not among those that count.
    """

    iou: float
    objects: np.ndarray
    ious: np.ndarray
    ignored: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """Mask of the true detections, bool `[d]`."""
        return self.objects >= 0


@dataclasses.dataclass(frozen=True)
class ClassMatches:
    """The d detections of a class, best first, each of them true or false.

    Detections that COCO ignores are left out.

    Attributes:
      name: the name of the class; None for all classes together.
      boxes: the number of its ground-truth boxes without crowds.
      scores: float64 `[d]`, descending.
      true: bool `[d]`, whether COCO's rules match the detection to a ground-truth box.
      ious: float64 `[d]`, the IoU with that box; 0 if the detection is not true.
    """

    name: str | None
    boxes: int
    scores: np.ndarray
    true: np.ndarray
    ious: np.ndarray


def check_iou(iou: float, name: str = "iou") -> None:
    """Checks the smallest IoU of true detections.

    Raises:
      ValueError: the IoU is not above 0 and at most 1.
    """
    if isinstance(iou, str | bool) or not 0 < iou <= 1:
        raise ValueError(f"{name} is {iou!r}: it must be above 0 and at most 1, such as 0.5")


def match_as_coco(
    compared: ComparedBoxes, pairs: Pairs, iou: float, counted: int = COCO_DETECTIONS
) -> Matches:
    """Matches detections to ground truth as COCO's metric does for objects of all sizes.

    Args:
      compared: detections and ground truth.
      pairs: all pairs with an IoU of at least `iou`; further pairs do not matter.
      iou: the smallest IoU of a true detection.
      counted: the number of best detections of a class in an image that count.
    """
    least = min(iou, HIGHEST_IOU)
    found, objects = compared.found, compared.objects
    beyond = compared.places_in_class() >= counted
    allowed = found.classes[pairs.found] == objects.classes[pairs.objects]
    allowed &= (pairs.overlaps >= least) & ~beyond[pairs.found]
    pairs = pairs[allowed]
    matched = match_greedily(pairs, compared, found.images * compared.class_count + found.classes)
    ious = np.zeros(len(found))
    of_match = matched[pairs.found] == pairs.objects
    ious[pairs.found[of_match]] = pairs.overlaps[of_match]
    ignored = beyond.copy()
    ignored[compared.pairs_in_crowds(least).found] = True
    return Matches(iou, matched, ious, ignored & (matched < 0))


def matches_by_class(
    compared: ComparedBoxes, matches: Matches, names: list[str]
) -> list[ClassMatches]:
    """The matches of every class.

    Args:
      compared: detections and ground truth.
      matches: the matches of all detections.
      names: the names of the classes.
    """
    counted = compared.best_first[~matches.ignored[compared.best_first]]
    classes = compared.found.classes[counted]
    by_class = counted[np.argsort(classes, kind="stable")]
    counts = np.bincount(classes, minlength=compared.class_count)
    ends = np.cumsum(counts)
    return [
        ClassMatches(
            name,
            int(boxes),
            compared.scores[of_class],
            matches.true[of_class],
            matches.ious[of_class],
        )
        for name, boxes, start, end in zip(
            names, compared.boxes_of_class, ends - counts, ends, strict=True
        )
        for of_class in [by_class[start:end]]
    ]
