"""True and false detections by COCO's metric at one IoU, in arrays.

The rules are pycocotools': the best detections of a class in an image, 100 by default, are each
matched to the free ground-truth box of their class that they overlap most, the last of equals; a
detection without a match that lies in a crowd of its class is neither true nor false.
"""

import dataclasses

import numpy as np

from ioub_jax.evaluation.compared_boxes import ComparedBoxes, Pairs, match_greedily

#: IoU from which a detection is true where nothing else is said.
MATCHED_IOU = 0.5
#: How many detections of a class in an image count in COCO's own metrics, the best.
COCO_DETECTIONS = 100
#: What is asked for at most: as in pycocotools, an IoU of 1 is reached in spite of rounding.
HIGHEST_IOU = 1 - 1e-10


@dataclasses.dataclass(frozen=True)
class Matches:
    """Matches between d detections and m ground-truth boxes.

    Attributes:
      iou: least IoU of a true detection.
      objects: int64 `[d]`, the box that each has found; -1 where it is not true.
      ious: float64 `[d]`, the IoU with it; 0 where not true.
      ignored: bool `[d]`: neither true nor false: in a crowd, or beyond the counted ones.
    """

    iou: float
    objects: np.ndarray
    ious: np.ndarray
    ignored: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """True where a detection is true, bool `[d]`."""
        return self.objects >= 0


@dataclasses.dataclass(frozen=True)
class ClassMatches:
    """The d detections of a class, best first, each true or false.

    Attributes:
      name: the class's name; None of all classes together.
      boxes: its ground-truth boxes, crowds not counted.
      scores: float64 `[d]`, descending.
      true: bool `[d]`: COCO has matched the detection to a ground-truth box of its own. Detections
        that COCO ignores (in crowds) are left out.
      ious: float64 `[d]`, the IoU with that box; 0 where not true.
    """

    name: str | None
    boxes: int
    scores: np.ndarray
    true: np.ndarray
    ious: np.ndarray


def check_iou(iou: float, name: str = "iou") -> None:
    """Checks a least IoU of true detections.

    Raises:
      ValueError: it is not above 0 and at most 1.
    """
    if isinstance(iou, str | bool) or not 0 < iou <= 1:
        raise ValueError(f"{name} is {iou!r}: it must be above 0 and at most 1, such as 0.5")


def match_as_coco(
    compared: ComparedBoxes, pairs: Pairs, iou: float, counted: int = COCO_DETECTIONS
) -> Matches:
    """Matches detections with ground truth as COCO's metric does, of all sizes.

    Args:
      compared: both.
      pairs: all pairs with at least that IoU; more do no harm.
      iou: least IoU of a true detection.
      counted: number of detections of a class in an image that count, the best ones.
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
      compared: what was compared.
      matches: what was found.
      names: of the classes.
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
