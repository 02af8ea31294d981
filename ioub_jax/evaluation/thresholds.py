"""The best score thresholds of a detector, for every class and for all classes.

Two measures define the best threshold. Both apply to the detections with at least that score,
matched as in COCO's metric at one IoU, by default .5:

- F1, the harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`; greater is better.
- LRP (`lrp`), which also depends on the IoUs of the true detections; smaller is better.

Detections with equal scores are kept or removed together. A threshold lies midway between the last
kept score and the next one. The result on this data set is the same anywhere between the two, and a
threshold midway is least likely to remove a true detection in other images. The threshold for all
classes is the best one for the detections of all classes together; detections of a class without
ground truth are false.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.coco_matching import (
    COCO_DETECTIONS,
    MATCHED_IOU,
    ClassMatches,
    check_iou,
    match_as_coco,
    matches_by_class,
)
from ioub_jax.evaluation.compared_boxes import compared_boxes
from ioub_jax.evaluation.lrp import lrp_errors

#: The threshold if none can be measured.
UNMEASURED = 0.4
#: The smallest number of ground-truth boxes of a class whose threshold is used; fewer boxes are not
#: representative.
LEAST_BOXES = 10


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and the quality of the detections with at least that score.

    Attributes:
      threshold: midway between the last kept score and the next one; the last kept score if there
        is no next one.
      precision: the share of true detections among the kept detections.
      recall: the share of the ground-truth boxes that they find.
      f1: the F1 of precision and recall.
      lrp: the LRP error of the kept detections; None at an IoU of 1.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    lrp: float | None


@dataclasses.dataclass(frozen=True)
class ClassThresholds:
    """The best thresholds of a class.

    Attributes:
      name: the name of the class in the ground truth; None for all classes.
      category_id: the id of the class in the ground truth; None for all classes.
      boxes: the number of its ground-truth boxes without crowds.
      by_f1: the threshold with the greatest F1, and the highest of several; None if no detection is
        true.
      by_lrp: the threshold with the smallest LRP error, and the highest of several; None if no
        detection is true, or at an IoU of 1.
    """

    name: str | None
    category_id: int | str | None
    boxes: int
    by_f1: OperatingPoint | None
    by_lrp: OperatingPoint | None


@dataclasses.dataclass(frozen=True)
class ScoreThresholds:
    """The best thresholds of a detector.

    Attributes:
      iou: the smallest IoU of a true detection.
      all_classes: the thresholds for all classes.
      per_class: an entry for each category, in the order of the category ids.
    """

    iou: float
    all_classes: ClassThresholds
    per_class: tuple[ClassThresholds, ...]

    def scores(self) -> tuple[float, ...]:
        """The threshold of each class.

        It is the best threshold by F1. If the class has none, or fewer than `LEAST_BOXES` boxes, it
        is that for all classes. If that does not exist either, it is `UNMEASURED`.
        """
        general = self.all_classes.by_f1
        points = [
            row.by_f1 if row.by_f1 and row.boxes >= LEAST_BOXES else general
            for row in self.per_class
        ]
        return tuple(UNMEASURED if point is None else point.threshold for point in points)


def best_thresholds(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    iou: float = MATCHED_IOU,
    *,
    counted: int = COCO_DETECTIONS,
) -> ScoreThresholds:
    """The best score thresholds on a data set.

    Args:
      ground_truth: a data set in COCO's JSON format, as for `evaluate_detections`.
      detections: COCO results.
      iou: the smallest IoU of a true detection.
      counted: as for `evaluate_detections`.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category,
        or the IoU is invalid.
    """
    check_iou(iou)
    checked = check_input(ground_truth, detections)
    compared = compared_boxes(checked)
    matches = match_as_coco(compared, compared.pairs(iou), iou, counted)
    names = [category["name"] for category in checked.categories]
    ids = [category["written_id"] for category in checked.categories]
    return thresholds_of(matches_by_class(compared, matches, names), ids, iou)


def thresholds_of(
    matches: Sequence[ClassMatches], category_ids: Sequence[int | str], iou: float
) -> ScoreThresholds:
    """The best score thresholds of detections that are already matched.

    Args:
      matches: the matches of every class.
      category_ids: the ids of the classes in the ground truth.
      iou: the IoU at which the detections are matched.
    """
    scores, true, ious = (
        np.concatenate([np.zeros(0), *(getattr(row, name) for row in matches)])
        for name in ("scores", "true", "ious")
    )
    order = np.argsort(-scores, kind="stable")
    boxes = sum(row.boxes for row in matches)
    together = ClassMatches(None, boxes, scores[order], true[order].astype(bool), ious[order])
    return ScoreThresholds(
        iou=iou,
        all_classes=_class_thresholds(together, None, iou),
        per_class=tuple(
            _class_thresholds(row, id_, iou) for row, id_ in zip(matches, category_ids, strict=True)
        ),
    )


def _class_thresholds(
    matches: ClassMatches, category_id: int | str | None, iou: float
) -> ClassThresholds:
    by_f1 = by_lrp = None
    if matches.true.any():
        true = np.cumsum(matches.true)
        kept = np.arange(1, len(true) + 1)
        f1 = 2 * true / (kept + matches.boxes)
        errors = lrp_errors(matches, iou) if iou < 1 else None
        # Detections of equal score are kept together, so only the last one of them can be a cut.
        last = np.flatnonzero(np.append(matches.scores[:-1] > matches.scores[1:], True))

        def point(at: int) -> OperatingPoint:
            return OperatingPoint(
                threshold=_midway(*matches.scores[at : at + 2].tolist()),
                precision=float(true[at] / kept[at]),
                recall=float(true[at] / matches.boxes),
                f1=float(f1[at]),
                lrp=None if errors is None else float(errors[at]),
            )

        by_f1 = point(last[np.argmax(f1[last])])
        if errors is not None:
            # Without true detections the error is 1, which must not win against an equal error.
            some = last[true[last] > 0]
            by_lrp = point(some[np.argmin(errors[some])])
    return ClassThresholds(matches.name, category_id, matches.boxes, by_f1, by_lrp)


def _midway(kept: float, left_out: float | None = None) -> float:
    """The threshold midway between two scores, which keeps only the first one."""
    if left_out is None:
        return kept
    middle = left_out + (kept - left_out) / 2
    return middle if middle > left_out else kept
