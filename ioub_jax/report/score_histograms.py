"""Scores of true and false detections, and precision and recall at each threshold."""

import dataclasses

import numpy as np

from ioub_jax.evaluation.compared_boxes import ComparedBoxes
from ioub_jax.evaluation.detection_kinds import IGNORED, TRUE, DetectionKinds

_BINS, _STEPS = 20, 100


@dataclasses.dataclass(frozen=True)
class ScoreHistogram:
    """Histogram of the scores of the detections of a class, or of all classes.

    Attributes:
      true: the number of true detections in each of 20 bins.
      false: the number of false detections in each bin.
    """

    true: tuple[int, ...]
    false: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of all detections that count.

    Attributes:
      edges: the edges of the bins, from 0 to 1, or wider if there are scores outside.
      all_classes: the histogram of all detections.
      per_class: the histogram of each class.
      thresholds: score thresholds from the lowest to the highest edge.
      precision: the precision of the detections of all classes with at least the score of each
        threshold; None if there are no detections.
      recall: the share of the boxes that these detections find; None if there are no boxes.
    """

    edges: tuple[float, ...]
    all_classes: ScoreHistogram
    per_class: tuple[ScoreHistogram, ...]
    thresholds: tuple[float, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]


def scores_of(compared: ComparedBoxes, kinds: DetectionKinds) -> Scores:
    """The scores of true and false detections.

    Args:
      compared: detections and ground truth.
      kinds: the kind of each detection.
    """
    counts = kinds.kinds != IGNORED
    scores, true = compared.scores[counts], kinds.kinds[counts] == TRUE
    classes = compared.found.classes[counts]
    low, high = min(scores.min(initial=0.0), 0.0), max(scores.max(initial=1.0), 1.0)
    edges = np.linspace(low, high, _BINS + 1)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, _BINS - 1)
    cells = np.zeros((compared.class_count, 2, _BINS), np.int64)
    np.add.at(cells, (classes, true.astype(int), bins), 1)
    thresholds = np.linspace(low, high, _STEPS + 1)
    kept, right = (
        len(chosen) - np.searchsorted(np.sort(chosen), thresholds, side="left")
        for chosen in (scores, scores[true])
    )
    boxes = int(compared.boxes_of_class.sum())
    return Scores(
        edges=tuple(edges.tolist()),
        all_classes=_histogram(cells.sum(axis=0)),
        per_class=tuple(map(_histogram, cells)),
        thresholds=tuple(thresholds.tolist()),
        precision=tuple(
            hits / count if count else None
            for hits, count in zip(right.tolist(), kept.tolist(), strict=True)
        ),
        recall=tuple(hits / boxes if boxes else None for hits in right.tolist()),
    )


def _histogram(false_and_true: np.ndarray) -> ScoreHistogram:
    false, true = false_and_true.tolist()
    return ScoreHistogram(tuple(true), tuple(false))
