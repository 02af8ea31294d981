"""Confusion matrix: the classes that a detector mistakes for each other.

Detections with at least a given score are matched, best first, to the free ground-truth box that
they overlap most, **regardless of its class**. Among equal overlaps they are matched to a box of
their class, then to the last box. Detections without a box and boxes without a detection count as
background. A detection without a box that lies in a crowd of its class does not count; crowds and
regions to ignore are neither found nor missed. The number of detections of an image is not limited.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_values import id_of
from ioub_jax.evaluation.coco_input import CheckedInput, check_input
from ioub_jax.evaluation.coco_matching import HIGHEST_IOU, MATCHED_IOU, check_iou
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, Pairs, compared_boxes, match_greedily


@dataclasses.dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts of pairs of a true class and a detected class.

    Attributes:
      names: the names of the C classes, in the order of the category ids.
      category_ids: the ids of the classes in the ground truth.
      counts: int64 `[C + 1, C + 1]`, the number of boxes of the row's class that were detected as
        the column's class. The last column has the boxes that were not found, the last row the
        detections without a box; the corner is 0.
      thresholds: the smallest score of the detections of each class.
      iou: the smallest IoU of a detection with the box that it has found.
    """

    names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    counts: np.ndarray
    thresholds: tuple[float, ...]
    iou: float

    def confusions(self) -> list[tuple[int, int, int]]:
        """The row, column and count of each confusion, the most frequent first.

        Row or column C is the background.
        """
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        rows, columns = np.nonzero(wrong)
        order = np.argsort(-wrong[rows, columns], kind="stable")
        cells = rows[order], columns[order], wrong[rows, columns][order]
        return list(zip(*(part.tolist() for part in cells), strict=True))


def confusion_matrix(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    score_threshold: float | Mapping[int | str, float],
    iou: float = MATCHED_IOU,
) -> ConfusionMatrix:
    """The number of detections of each class on the objects of each class.

    Args:
      ground_truth: a data set in COCO's JSON format, as for `evaluate_detections`.
      detections: COCO results.
      score_threshold: the smallest score of a detection that counts, or those of the classes by
        category id.
      iou: the smallest IoU of a detection with the box that it has found.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category; a
        threshold is missing, not a number, or for an unknown class; or the IoU is invalid.
    """
    check_iou(iou)
    checked = check_input(ground_truth, detections)
    compared = compared_boxes(checked)
    thresholds = _by_class(checked, score_threshold)
    return confusion_of(checked, compared, compared.pairs(iou), thresholds, iou)


def confusion_of(
    checked: CheckedInput,
    compared: ComparedBoxes,
    pairs: Pairs,
    thresholds: Sequence[float],
    iou: float,
) -> ConfusionMatrix:
    """The confusion matrix of checked input.

    Args:
      checked: the input of the evaluation.
      compared: the same input in arrays.
      pairs: all pairs with an IoU of at least `iou`; further pairs do not matter.
      thresholds: the score thresholds of the C classes, in their order.
      iou: the smallest IoU of a detection with the box that it has found.
    """
    found, objects, count = compared.found, compared.objects, compared.class_count
    kept = compared.scores >= np.array(thresholds, np.float64)[found.classes]
    least = min(iou, HIGHEST_IOU)
    pairs = pairs[(pairs.overlaps >= least) & kept[pairs.found]]
    own = found.classes[pairs.found] == objects.classes[pairs.objects]
    matched = match_greedily(pairs, compared, found.images, own.astype(float))
    in_crowds = compared.pairs_in_crowds(least).found
    kept[in_crowds] &= matched[in_crowds] >= 0
    # The background is class C. It is appended as the class of a further box, which the position -1
    # of detections without a box refers to.
    classes_of_boxes = np.append(objects.classes, count)
    missed = ~compared.crowd
    missed[matched[matched >= 0]] = False
    counts = np.zeros((count + 1, count + 1), np.int64)
    np.add.at(counts, (classes_of_boxes[matched[kept]], found.classes[kept]), 1)
    np.add.at(counts, (objects.classes[missed], count), 1)
    return ConfusionMatrix(
        names=tuple(category["name"] for category in checked.categories),
        category_ids=tuple(category["written_id"] for category in checked.categories),
        counts=counts,
        thresholds=tuple(map(float, thresholds)),
        iou=iou,
    )


def _by_class(
    checked: CheckedInput, score_threshold: float | Mapping[int | str, float]
) -> list[float]:
    """The threshold of each class, in the order of the classes."""
    ids = [id_of(category["written_id"]) for category in checked.categories]
    if isinstance(score_threshold, Mapping):
        given = {id_of(key): value for key, value in score_threshold.items()}
        for id_ in ids:
            if id_ not in given:
                raise ValueError(
                    f"score_threshold has none for category {id_!r}: give one for each"
                )
        for id_ in given:
            if id_ not in ids:
                raise ValueError(
                    f"score_threshold has one for category {id_!r}, which is not one of the "
                    "ground truth's: leave it out"
                )
    else:
        given = dict.fromkeys(ids, score_threshold)
    for id_, value in given.items():
        if isinstance(value, str | bool) or not value == value:
            raise ValueError(f"score_threshold of category {id_!r} is {value!r}: give a number")
    return [float(given[id_]) for id_ in ids]
