"""Correlation between the scores of detections and their localization.

The IoU of a detection is its highest IoU with a ground-truth box **of its image and class**, or 0
if there is none, whether or not another detection overlaps the same box. (Metrics that assign every
box to one detection would leave out exactly the detections that compete in NMS.) Crowds are not
objects: a detection is left out, as COCO ignores it, if its IoU with every object is below .5 and
at least half of it is inside a crowd of its class. Difficult boxes count like all others.

The headline is Spearman's rank correlation, because average precision and NMS depend only on the
order of the scores. It covers the detections with an IoU of at least .5: with the others, it would
mainly show that the background has low scores. Pearson's correlation over the same detections is
also given, as in IoU-Net (arXiv 1807.11590, figure 2).
"""

import dataclasses

import numpy as np
from scipy import stats

from ioub_jax.diagnostics.binning import bin_of
from ioub_jax.evaluation.box_arrays import box_arrays, nearest_objects, paired_covered_shares
from ioub_jax.evaluation.coco_input import CheckedInput
from ioub_jax.evaluation.means import mean

#: The minimum IoU of a located detection.
LOCATED_IOU = 0.5
_DENSITY_BINS, _SHARE_BINS = 20, 10


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """The d detections that count.

    Attributes:
      scores: float64 `[d]`.
      ious: float64 `[d]`, as defined in the module.
      categories: int64 `[d]`, the data set's category ids.
      in_crowds: the number of detections that were left out.
    """

    scores: np.ndarray
    ious: np.ndarray
    categories: np.ndarray
    in_crowds: int


@dataclasses.dataclass(frozen=True)
class ClassCorrelation:
    """The correlation within one class.

    Attributes:
      name: the name of the class.
      detections: the number of its detections that count.
      located: the number of detections with an IoU of at least .5.
      spearman: Spearman's correlation over the located detections; None if there are fewer than
        two, or if all values are equal.
      mean_iou: the mean IoU of the located detections; None if there are none.
    """

    name: str
    detections: int
    located: int
    spearman: float | None
    mean_iou: float | None


@dataclasses.dataclass(frozen=True)
class IouBin:
    """The detections whose IoU is in a bin.

    Attributes:
      lower: the lower edge.
      upper: the upper edge, which belongs to the next bin, except 1.
      detections: the number of detections.
      share: their share of all detections that count; None if there are none.
      share_of_located: their share of the located detections; None below an IoU of .5, or if there
        are none.
      score: their mean score; None if there are none.
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
      detections: the number of detections that count.
      in_crowds: the number of detections left out because they are inside a crowd.
      located: the number of detections with an IoU of at least .5.
      spearman: Spearman's rank correlation over the located detections; None if undefined.
      pearson: Pearson's correlation over the located detections.
      spearman_overlapping: Spearman's correlation over all detections with an IoU above 0.
      mean_iou: the mean IoU of the located detections.
      per_class: the correlation within every category.
      iou_bins: ten bins of IoU.
      density: 20 x 20 counts; `density[i][j]` is the number of detections with the IoU in bin i and
        the score in bin j of [0, 1].
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
    """Spearman's rank correlation, with mean ranks for ties; None if it is undefined."""
    if len(first) == 0:
        return None
    return pearson(stats.rankdata(first), stats.rankdata(second))


def pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation; None for fewer than two pairs, or if one side is constant."""
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
