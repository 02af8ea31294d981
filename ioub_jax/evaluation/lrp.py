"""Localization Recall Precision: an error in three components (arXiv 1807.01696, 2011.10772).

With N_TP true and N_FP false detections above a score threshold s and N_FN boxes not found,

`LRP(s) = (sum_TP (1 - IoU) / (1 - tau) + N_FP + N_FN) / (N_TP + N_FP + N_FN)`,

where tau is the smallest IoU of a true detection, here .5. The optimal LRP error of a class, oLRP,
is the minimum over all s; that of the detector is the mean over the classes with ground truth. 0 is
perfect, and 1 means that there is no true detection. Matching is that of COCO. As in the authors'
code (kemaloksuz/LRP-Error), a threshold may fall between detections of equal score, and the
components of a class without a true detection do not exist and are left out of their means.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.evaluation.coco_matching import MATCHED_IOU, ClassMatches
from ioub_jax.evaluation.means import mean_of_existing


@dataclasses.dataclass(frozen=True)
class OptimalLrp:
    """The optimal LRP error of a class, or the mean over classes.

    Attributes:
      name: the name of the class; None for the mean.
      error: oLRP in 0..1. Without ground truth it is None, and so are all other numbers.
      localization: oLRP_loc, the mean of 1 - IoU over the true detections above the threshold;
        None without true detections.
      false_positive: oLRP_FP, the share of false detections among those above the threshold; None
        without true detections.
      false_negative: oLRP_FN, the share of boxes that are not found.
      threshold: the score of the last detection above the threshold; None without true detections.
      parts: the contributions of localization, false positives and false negatives to `error`,
        which is their sum.
    """

    name: str | None
    error: float | None
    localization: float | None = None
    false_positive: float | None = None
    false_negative: float | None = None
    threshold: float | None = None
    parts: tuple[float, float, float] | None = None


def lrp_errors(matches: ClassMatches, iou: float = MATCHED_IOU) -> np.ndarray:
    """The LRP error of a class with its first 1, 2, ... d detections: float64 `[d]`.

    Args:
      matches: the matches of a class that has a ground-truth box.
      iou: tau, the smallest IoU of true detections, below 1.
    """
    true = np.cumsum(matches.true)
    false = np.cumsum(~matches.true)
    missed = matches.boxes - true
    inaccuracy = true - np.cumsum(matches.ious)
    errors: np.ndarray = (inaccuracy / (1 - iou) + false + missed) / (true + false + missed)
    return errors


def optimal_lrp(matches: ClassMatches) -> OptimalLrp:
    """The optimal LRP error of one class."""
    if matches.boxes == 0:
        return OptimalLrp(matches.name, None)
    if not matches.true.any():
        return OptimalLrp(matches.name, 1.0, false_negative=1.0, parts=(0.0, 0.0, 1.0))
    true = np.cumsum(matches.true)
    false = np.cumsum(~matches.true)
    missed = matches.boxes - true
    inaccuracy = true - np.cumsum(matches.ious)
    total = true + false + missed
    errors = lrp_errors(matches)
    best = int(np.argmin(errors))
    # The error is 1 before the first true detection. If that is the optimum, all errors are 1 and
    # the first true detection is as good.
    best = best if true[best] else int(np.argmax(matches.true))
    return OptimalLrp(
        name=matches.name,
        error=float(errors[best]),
        localization=float(inaccuracy[best] / true[best]),
        false_positive=float(false[best] / (true[best] + false[best])),
        false_negative=float(missed[best] / matches.boxes),
        threshold=float(matches.scores[best]),
        parts=(
            float(inaccuracy[best] / (1 - MATCHED_IOU) / total[best]),
            float(false[best] / total[best]),
            float(missed[best] / total[best]),
        ),
    )


def mean_optimal_lrp(classes: Sequence[OptimalLrp]) -> OptimalLrp:
    """The mean of each number over the classes for which it exists."""
    existing = [row.parts for row in classes if row.parts is not None]
    parts = tuple(np.mean(existing, axis=0).tolist()) if existing else None
    return OptimalLrp(
        name=None,
        error=mean_of_existing([row.error for row in classes]),
        localization=mean_of_existing([row.localization for row in classes]),
        false_positive=mean_of_existing([row.false_positive for row in classes]),
        false_negative=mean_of_existing([row.false_negative for row in classes]),
        parts=parts,
    )
