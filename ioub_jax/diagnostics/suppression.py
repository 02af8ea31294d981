"""Effect of non-maximum suppression on how well objects are localized.

NMS keeps the box with the highest score, not the one that fits best. For every object, two boxes of
its class are compared: the one with the highest IoU among all candidates, and the one with the
highest IoU among the kept boxes. The difference between these IoUs is lost: a better localized box
was suppressed by one with a higher score (or exceeded the limit on detections per image). This is
the argument for the IoU-balanced classification loss (arXiv 1908.05641): the better the scores
follow the IoU, the less is lost.
"""

import dataclasses

import numpy as np

from ioub_jax.diagnostics.binning import bin_of
from ioub_jax.evaluation.means import mean

_REACHED_IOU = 0.5
_BINS = 20
#: IoU thresholds at which objects are counted.
_THRESHOLDS = np.arange(50, 100) / 100


@dataclasses.dataclass(frozen=True)
class LossInBin:
    """Losses of the objects whose best candidate has an IoU in a bin.

    Attributes:
      lower: the lower edge.
      upper: the upper edge.
      objects: the number of objects.
      lost: the mean IoU that is lost; None if there are no objects.
    """

    lower: float
    upper: float
    objects: int
    lost: float | None


@dataclasses.dataclass(frozen=True)
class Suppression:
    """Effect of NMS on the localization of objects.

    The means are over the reached objects, which have a candidate with an IoU of at least .5. They
    are None if no object is reached.

    Attributes:
      objects: the number of ground-truth boxes without crowds.
      reached: the number of reached objects.
      candidate_iou: the mean IoU of their best candidate.
      kept_iou: the mean IoU of their best detection after NMS, counted as 0 if none is left.
      lost_iou: the difference between these two means.
      lost_share: the share of the reached objects that lose more than .05.
      thresholds: the IoU thresholds .50, .51, ... .99.
      candidate_recall: for each threshold, the share of all objects with a candidate of at least
        that IoU.
      kept_recall: for each threshold, the share with such a detection after NMS.
      bins: the losses by the IoU of the best candidate, from .5.
    """

    objects: int
    reached: int
    candidate_iou: float | None
    kept_iou: float | None
    lost_iou: float | None
    lost_share: float | None
    thresholds: tuple[float, ...]
    candidate_recall: tuple[float, ...]
    kept_recall: tuple[float, ...]
    bins: tuple[LossInBin, ...]


def suppression_of(candidate_ious: np.ndarray, kept_ious: np.ndarray) -> Suppression:
    """Summarizes the effect of NMS.

    Args:
      candidate_ious: `[n]`, for every object the highest IoU among the candidates of its class.
      kept_ious: `[n]`, the same among the boxes that NMS keeps.
    """
    candidate_ious, kept_ious = (
        np.asarray(values, np.float64) for values in (candidate_ious, kept_ious)
    )
    reached = candidate_ious >= _REACHED_IOU
    lost = candidate_ious - kept_ious
    return Suppression(
        objects=len(candidate_ious),
        reached=int(reached.sum()),
        candidate_iou=mean(candidate_ious[reached]),
        kept_iou=mean(kept_ious[reached]),
        lost_iou=mean(lost[reached]),
        lost_share=mean(lost[reached] > 0.05),
        thresholds=tuple(_THRESHOLDS.tolist()),
        candidate_recall=_recall(candidate_ious),
        kept_recall=_recall(kept_ious),
        bins=tuple(_bins(candidate_ious, lost)),
    )


def _recall(ious: np.ndarray) -> tuple[float, ...]:
    found = ious[None, :] >= _THRESHOLDS[:, None]
    return tuple((found.sum(axis=1) / max(len(ious), 1)).tolist())


def _bins(candidate_ious: np.ndarray, lost: np.ndarray) -> list[LossInBin]:
    edges = np.arange(_BINS // 2, _BINS + 1) / _BINS
    index = bin_of(candidate_ious, edges)
    return [
        LossInBin(
            lower=float(edges[number]),
            upper=float(edges[number + 1]),
            objects=int(np.sum(index == number)),
            lost=mean(lost[index == number]),
        )
        for number in range(len(edges) - 1)
    ]
