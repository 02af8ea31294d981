"""Detections above the score thresholds, and the cost of each image with them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.evaluation.coco_matching import MATCHED_IOU
from ioub_jax.evaluation.compared_boxes import ComparedBoxes
from ioub_jax.evaluation.detection_kinds import IGNORED, TRUE, DetectionKinds


@dataclasses.dataclass(frozen=True)
class ScoreCut:
    """Kept ones of d detections, and the found ones of m ground-truth boxes.

    Attributes:
      thresholds: the least score that is kept of each class.
      kept: bool `[d]`; what COCO's metric ignores is not kept.
      found: bool `[m]`.
      missed: bool `[m]`: boxes that are not found; crowds are neither.
    """

    thresholds: tuple[float, ...]
    kept: np.ndarray
    found: np.ndarray
    missed: np.ndarray


@dataclasses.dataclass(frozen=True)
class ImageErrors:
    """Counts of right and wrong boxes in each of I images, in the order of their numbers.

    Attributes:
      boxes: int64 `[I]`, ground-truth boxes, crowds not counted.
      true: int64 `[I]`, detections that have found one.
      false: int64 `[I]`, those that have not.
      missed: int64 `[I]`, boxes that are not found.
      cost: float64 `[I]`: a false detection and a missed box cost 1, a true detection
        `(1 - IoU) / .5`, as in the LRP error.
      error: float64 `[I]`: the LRP error, `cost / (true + false + missed)`; NaN where nothing is
        annotated and nothing found.
    """

    boxes: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missed: np.ndarray
    cost: np.ndarray
    error: np.ndarray


def cut_at(compared: ComparedBoxes, kinds: DetectionKinds, thresholds: Sequence[float]) -> ScoreCut:
    """Keeps the detections with at least the score of their class.

    Args:
      compared: detections and ground truth.
      kinds: what each detection is, at IoU .5.
      thresholds: one a class.
    """
    least = np.array(thresholds, np.float64)[compared.found.classes]
    kept = (compared.scores >= least) & (kinds.kinds != IGNORED)
    # What a detection has found depends on better ones alone, so the others may go.
    found = np.zeros(len(compared.objects), bool)
    found[kinds.objects[kept & (kinds.kinds == TRUE)]] = True
    missed = ~found & ~kinds.crowd
    return ScoreCut(tuple(map(float, thresholds)), kept, found, missed)


def image_errors(
    compared: ComparedBoxes, kinds: DetectionKinds, cut: ScoreCut, images: int
) -> ImageErrors:
    """Counts right and wrong boxes in each image.

    Args:
      compared: detections and ground truth.
      kinds: what each detection is, at IoU .5.
      cut: which detections are kept.
      images: how many there are.
    """
    of_found, of_objects = compared.found.images - 1, compared.objects.images - 1

    def count(images_of: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return np.bincount(images_of[chosen], minlength=images)

    right = cut.kept & (kinds.kinds == TRUE)
    true, false = count(of_found, right), count(of_found, cut.kept & ~right)
    missed = count(of_objects, cut.missed)
    lacks = (1 - kinds.ious[right]) / (1 - MATCHED_IOU)
    cost = false + missed + np.bincount(of_found[right], lacks, minlength=images)
    total = true + false + missed
    error = np.divide(cost, total, out=np.full(images, np.nan), where=total > 0)
    return ImageErrors(count(of_objects, ~kinds.crowd), true, false, missed, cost, error)
