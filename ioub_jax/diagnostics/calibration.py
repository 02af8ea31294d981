"""Calibration of scores as the probability of a true detection, and as its localization.

There are two errors. Both use COCO's matching at IoU .5 and bins of equal width:

- D-ECE (Kueppers et al., arXiv 2004.13546), here by score only: the mean over the detections of
  |precision - mean score| of their bin.
- LaECE (Oksuz et al., arXiv 2307.00934): the mean of |precision * mean IoU of the true detections -
  mean score|, in 25 bins, averaged over the classes. It is small if scores tell how well boxes fit.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.evaluation.coco_matching import ClassMatches
from ioub_jax.evaluation.means import mean, mean_of_existing

_BINS, _LOCALIZATION_AWARE_BINS = 10, 25


@dataclasses.dataclass(frozen=True)
class ScoreBin:
    """The detections whose scores are in a bin.

    Attributes:
      lower: the lower edge of the bin.
      upper: the upper edge, which belongs to the next bin, except 1.
      detections: the number of detections; if it is 0, the following attributes are None.
      score: their mean score.
      precision: the share of true detections.
      mean_iou: the mean IoU of the true detections; None if there are none.
    """

    lower: float
    upper: float
    detections: int
    score: float | None
    precision: float | None
    mean_iou: float | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibration of the scores of a detector.

    Attributes:
      bins: ten bins over all classes.
      d_ece: the detection expected calibration error over these bins; None without detections.
      la_ece: the localization-aware calibration error; None without detections.
      per_class: name and LaECE of every class; the error is None without detections.
    """

    bins: tuple[ScoreBin, ...]
    d_ece: float | None
    la_ece: float | None
    per_class: tuple[tuple[str | None, float | None], ...]


def calibration_of(classes: Sequence[ClassMatches]) -> Calibration:
    """The calibration of a detector; scores outside [0, 1] count in the first or last bin."""
    scores, true, ious = (
        np.concatenate([np.zeros(0), *(getattr(row, name) for row in classes)])
        for name in ("scores", "true", "ious")
    )
    bins = _bins(scores, true.astype(bool), ious, _BINS)
    per_class = [
        _localization_aware_error(_bins(row.scores, row.true, row.ious, _LOCALIZATION_AWARE_BINS))
        for row in classes
    ]
    names = [row.name for row in classes]
    return Calibration(
        bins=bins,
        d_ece=_expected(bins, [row.precision or 0.0 for row in bins]),
        la_ece=mean_of_existing(per_class),
        per_class=tuple(zip(names, per_class, strict=True)),
    )


def _bins(
    scores: np.ndarray, true: np.ndarray, ious: np.ndarray, count: int
) -> tuple[ScoreBin, ...]:
    index = np.clip(np.floor(scores * count), 0, count - 1).astype(int)
    result = []
    for number in range(count):
        inside = index == number
        found = true & inside
        result.append(
            ScoreBin(
                lower=number / count,
                upper=(number + 1) / count,
                detections=int(inside.sum()),
                score=mean(scores[inside]),
                precision=mean(true[inside]),
                mean_iou=mean(ious[found]),
            )
        )
    return tuple(result)


def _localization_aware_error(bins: Sequence[ScoreBin]) -> float | None:
    return _expected(bins, [(row.precision or 0.0) * (row.mean_iou or 0.0) for row in bins])


def _expected(bins: Sequence[ScoreBin], targets: Sequence[float]) -> float | None:
    """Returns the mean over detections of |mean score - target| of their bin."""
    total = sum(row.detections for row in bins)
    if total == 0:
        return None
    return sum(
        row.detections / total * abs(row.score - target)
        for row, target in zip(bins, targets, strict=True)
        if row.score is not None
    )
