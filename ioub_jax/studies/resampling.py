"""How much of a metric is chance of the images: COCO's AP on resampled validation images.

The matches are pycocotools' own and made once. A resampled data set draws as many images as there
are, with replacement; an image drawn n times counts n-fold. The draws depend on the ids of the
images and a seed alone, so the i-th resampling of two detectors has the same images, and their
difference is paired.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.coco_metrics import AP_KEYS
from ioub_jax.evaluation.dense_objects import named


@dataclasses.dataclass(frozen=True)
class _ClassMatches:
    """The detections of one class, best first, and how they matched.

    Attributes:
      image: position of each detection's image `[D]`.
      counts: whether a detection counts at each IoU threshold `[T, D]`; in a crowd it does not.
      found: whether it found an object `[T, D]`.
      boxes: objects of the class in each image `[I]`, crowds not counted.
    """

    image: np.ndarray
    counts: np.ndarray
    found: np.ndarray
    boxes: np.ndarray


def resampled_ap(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    resamplings: int,
    seed: int = 0,
    counted: int = coco_metrics.COCO_DETECTIONS,
) -> dict[str, list[float | None]]:
    """AP, AP50, AP60, AP70, AP75, AP80 and AP90 on resampled images.

    Args:
      ground_truth: a data set in COCO's JSON format.
      detections: COCO results.
      resamplings: how many data sets are drawn.
      seed: of the draws.
      counted: as `coco_metrics.evaluate_detections`.

    Returns:
      one list of `resamplings` numbers a metric, `AP@300` and so on where so many are counted;
      None where no object was drawn.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category.
    """
    checked = check_input(ground_truth, detections)
    evaluator = coco_metrics.run_evaluator(checked, "pycocotools", counted)
    matches = [_class_matches(of_images) for of_images in coco_metrics.matches_by_class(evaluator)]
    images = len(evaluator.params.imgIds)
    generator = np.random.default_rng(seed)
    values: dict[str, list[float | None]] = {key: [] for key in AP_KEYS}
    for _ in range(resamplings):
        drawn = generator.multinomial(images, np.full(images, 1 / images))
        of_classes = [_precisions(one, drawn) for one in matches if drawn @ one.boxes]
        mean = np.mean(of_classes, axis=0) if of_classes else None  # at each IoU threshold
        for key in AP_KEYS:
            at = coco_metrics.AP_AT_IOU.get(key, slice(None))
            values[key].append(None if mean is None else float(mean[at].mean()))
    return {named(key, counted): numbers for key, numbers in values.items()}


def _class_matches(of_images: Sequence[Mapping[str, Any] | None]) -> _ClassMatches:
    """Joins the matches of one class in all images; None is an image without any box of it."""
    present = [(number, entry) for number, entry in enumerate(of_images) if entry is not None]
    boxes = np.zeros(len(of_images), np.int64)
    for number, entry in present:
        boxes[number] = coco_metrics.counted_boxes(entry)
    if not present:
        nothing = np.zeros((10, 0), bool)
        return _ClassMatches(np.zeros(0, np.int64), nothing, nothing, boxes)
    scores = np.concatenate([entry["dtScores"] for _, entry in present])
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools sorts
    image = np.repeat(
        *map(np.array, zip(*((n, len(e["dtScores"])) for n, e in present), strict=True))
    )
    found = np.concatenate([entry["dtMatches"] for _, entry in present], axis=1) > 0
    ignored = np.concatenate([entry["dtIgnore"] for _, entry in present], axis=1).astype(bool)
    return _ClassMatches(
        image[order].astype(np.int64), ~ignored[:, order], (found & ~ignored)[:, order], boxes
    )


def _precisions(matches: _ClassMatches, drawn: np.ndarray) -> np.ndarray:
    """Average precision of one class at each IoU threshold `[T]`, at 101 points of recall."""
    weight = drawn[matches.image]
    true = np.cumsum(matches.found * weight, axis=1)
    counted = np.cumsum(matches.counts * weight, axis=1)
    recall = true / (drawn @ matches.boxes)
    precision = true / np.maximum(counted, 1)
    # At any recall, the best precision at this or a higher one.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.linspace(0.0, 1.0, 101)
    result = np.zeros(len(recall))
    for threshold, (recalls, precisions) in enumerate(zip(recall, precision, strict=True)):
        at = np.searchsorted(recalls, points, side="left")
        reached = at < len(recalls)
        result[threshold] = precisions[at[reached]].sum() / len(points)
    return result
