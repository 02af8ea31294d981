"""Correlation between the scores of detections and their localization.

The IoU of a detection is that with the ground-truth box **of its image and class** that it overlaps
most, whether or not another detection has that box too, and 0 where there is none. (Metrics that
give every box to one detection would leave out just those that compete in NMS.) Crowds are no
objects: a detection that overlaps no object by .5 and lies to at least a half in a crowd of its
class is left out, as COCO ignores it. Difficult boxes count like any other.

The rank correlation of Spearman is the headline, since average precision and NMS read nothing of
scores but their order. It is taken over the detections with an IoU of at least .5: with the others
it would mostly say that the background has low scores. IoU-Net (arXiv 1807.11590, figure 2) has
Pearson's over the same detections, which is here besides.
"""

import dataclasses

import numpy as np
from scipy import stats

from ioub_jax.diagnostics.binning import bin_of
from ioub_jax.evaluation.box_arrays import box_arrays, nearest_objects, paired_covered_shares
from ioub_jax.evaluation.coco_input import CheckedInput
from ioub_jax.evaluation.means import mean

#: IoU from which a detection is located.
LOCATED_IOU = 0.5
_DENSITY_BINS, _SHARE_BINS = 20, 10


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """The d detections that count.

    Attributes:
      scores: float64 `[d]`.
      ious: float64 `[d]`, as the module says.
      categories: int64 `[d]`, the data set's own ids.
      in_crowds: how many were left out.
    """

    scores: np.ndarray
    ious: np.ndarray
    categories: np.ndarray
    in_crowds: int


@dataclasses.dataclass(frozen=True)
class ClassCorrelation:
    """The correlation within one class.

    Attributes:
      name: the class's name.
      detections: its detections that count.
      located: those with an IoU of at least .5.
      spearman: over these; None where there are fewer than two, or all equal.
      mean_iou: mean of their IoU; None without any.
    """

    name: str
    detections: int
    located: int
    spearman: float | None
    mean_iou: float | None


@dataclasses.dataclass(frozen=True)
class IouBin:
    """The detections whose IoU lies between two numbers.

    Attributes:
      lower: the lower edge.
      upper: the upper edge, itself in the next bin but for 1.
      detections: how many there are.
      share: of all detections that count; None without any.
      share_of_located: of those with an IoU of at least .5; None for the others and without any.
      score: their mean score; None without any.
    """

    lower: float
    upper: float
    detections: int
    share: float | None
    share_of_located: float | None
    score: float | None


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Correlation of score and IoU.

    Attributes:
      detections: the detections that count.
      in_crowds: those left out because they lie in a crowd.
      located: those with an IoU of at least .5.
      spearman: Spearman's rank correlation over the located; None where undefined.
      pearson: Pearson's over the same.
      spearman_overlapping: Spearman's over all detections with an IoU above 0.
      mean_iou: mean IoU of the located.
      per_class: every category.
      iou_bins: ten bins of IoU.
      density: 20 x 20 counts, `density[i][j]` those with IoU in bin i and score in bin j of 0..1.
    """

    detections: int
    in_crowds: int
    located: int
    spearman: float | None
    pearson: float | None
    spearman_overlapping: float | None
    mean_iou: float | None
    per_class: tuple[ClassCorrelation, ...]
    iou_bins: tuple[IouBin, ...]
    density: list[list[int]]


def overlaps_of(checked: CheckedInput) -> Overlaps:
    """The IoU of every detection with the ground truth of its image and class."""
    objects, found = box_arrays(checked.annotations), box_arrays(checked.detections)
    crowd = np.array([row["iscrowd"] for row in checked.annotations], bool)
    scores = np.array([row["score"] for row in checked.detections], np.float64)
    ious, covered = np.zeros(len(scores)), np.zeros(len(scores))
    for category in checked.categories:
        chosen = np.flatnonzero(found.categories == category["id"])
        of_class = objects.categories == category["id"]
        ious[chosen], _ = nearest_objects(found[chosen], objects[of_class & ~crowd])
        covered[chosen], _ = nearest_objects(
            found[chosen], objects[of_class & crowd], paired_covered_shares
        )
    counts = (ious >= LOCATED_IOU) | (covered < LOCATED_IOU)
    return Overlaps(scores[counts], ious[counts], found.categories[counts], int(np.sum(~counts)))


def correlation_of(checked: CheckedInput) -> Correlation:
    """The correlation of the scores of detections and their IoU with the ground truth."""
    overlaps = overlaps_of(checked)
    scores, ious = overlaps.scores, overlaps.ious
    located, touching = ious >= LOCATED_IOU, ious > 0
    inside = np.clip(scores, 0, 1)
    edges = np.arange(_DENSITY_BINS + 1) / _DENSITY_BINS
    density, _, _ = np.histogram2d(ious, inside, bins=(edges, edges))
    return Correlation(
        detections=len(scores),
        in_crowds=overlaps.in_crowds,
        located=int(located.sum()),
        spearman=spearman(scores[located], ious[located]),
        pearson=pearson(scores[located], ious[located]),
        spearman_overlapping=spearman(scores[touching], ious[touching]),
        mean_iou=mean(ious[located]),
        per_class=tuple(
            _class_correlation(overlaps, category["id"], category["name"])
            for category in checked.categories
        ),
        iou_bins=_iou_bins(scores, ious),
        density=density.astype(int).tolist(),
    )


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None if it is not defined."""
    if len(first) == 0:
        return None
    return pearson(stats.rankdata(first), stats.rankdata(second))


def pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation; None for fewer than two pairs, or if a side has only equal values."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _class_correlation(overlaps: Overlaps, category_id: int, name: str) -> ClassCorrelation:
    chosen = overlaps.categories == category_id
    located = chosen & (overlaps.ious >= LOCATED_IOU)
    return ClassCorrelation(
        name=name,
        detections=int(chosen.sum()),
        located=int(located.sum()),
        spearman=spearman(overlaps.scores[located], overlaps.ious[located]),
        mean_iou=mean(overlaps.ious[located]),
    )


def _iou_bins(scores: np.ndarray, ious: np.ndarray) -> tuple[IouBin, ...]:
    edges = np.arange(_SHARE_BINS + 1) / _SHARE_BINS
    index = bin_of(ious, edges)
    total, located = len(ious), int(np.sum(ious >= LOCATED_IOU))
    result = []
    for number in range(_SHARE_BINS):
        count = int(np.sum(index == number))
        of_located = edges[number] >= LOCATED_IOU and located > 0
        result.append(
            IouBin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                detections=count,
                share=count / total if total else None,
                share_of_located=count / located if of_located else None,
                score=mean(scores[index == number]),
            )
        )
    return tuple(result)
