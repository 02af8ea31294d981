"""Detections above the score thresholds, and the cost of each image with them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.evaluation.coco_matching import MATCHED_IOU
from ioub_jax.evaluation.compared_boxes import ComparedBoxes
from ioub_jax.evaluation.detection_kinds import IGNORED, TRUE, DetectionKinds


@dataclasses.dataclass(frozen=True)
class ScoreCut:
    """The kept ones of d detections, and the found ones of m ground-truth boxes.

    Attributes:
      thresholds: the minimum score of kept detections, for each class.
      kept: bool `[d]`, True for kept detections. Those that COCO's metric ignores are not kept.
      found: bool `[m]`, True for boxes that are found.
      missed: bool `[m]`, True for boxes that are not found. Crowds are neither found nor missed.
    """

    thresholds: tuple[float, ...]
    kept: np.ndarray
    found: np.ndarray
    missed: np.ndarray


@dataclasses.dataclass(frozen=True)
class ImageErrors:
    """Counts of right and wrong boxes in each of I images, in the order of their numbers.

    Attributes:
      boxes: int64 `[I]`, ground-truth boxes without crowds.
      true: int64 `[I]`, detections that have found a box.
      false: int64 `[I]`, detections that have not found one.
      missed: int64 `[I]`, boxes that are not found.
      cost: float64 `[I]`: a false detection and a missed box cost 1, a true detection
        `(1 - IoU) / .5`, as in the LRP error.
      error: float64 `[I]`: the LRP error, `cost / (true + false + missed)`; NaN for an image
        without annotations and detections.
    """

    boxes: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missed: np.ndarray
    cost: np.ndarray
    error: np.ndarray


def cut_at(compared: ComparedBoxes, kinds: DetectionKinds, thresholds: Sequence[float]) -> ScoreCut:
    """Keeps the detections whose score is at least the threshold of their class.

    Args:
      compared: detections and ground truth.
      kinds: the kind of each detection, at IoU .5.
      thresholds: the threshold of each class.
    """
    least = np.array(thresholds, np.float64)[compared.found.classes]
    kept = (compared.scores >= least) & (kinds.kinds != IGNORED)
    # What a detection finds depends only on detections with higher scores, so removing those with
    # lower scores does not change it.
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
      kinds: the kind of each detection, at IoU .5.
      cut: the detections that are kept.
      images: the number of images.
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
