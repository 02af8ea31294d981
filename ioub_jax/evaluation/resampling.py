"""Uncertainty of a metric from the choice of images: COCO's AP on resampled validation images.

Detections are matched once, as in pycocotools. A resampled data set draws as many images as the
data set has, with replacement; an image drawn n times counts n times. The draws depend only on the
number of images and a seed, so the i-th resampling of two detectors has the same images, and their
difference is paired.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.coco_matching import COCO_DETECTIONS, match_as_coco
from ioub_jax.evaluation.coco_metrics import AP_AT_IOU, AP_KEYS
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, Pairs, compared_boxes
from ioub_jax.evaluation.dense_objects import named

#: Coverage of the intervals.
CONFIDENCE = 0.95
#: COCO's IoUs, .5, .55, ... .95.
IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())

_RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's; k / 100 is another float for some k
_TOGETHER = 1 << 19  # numbers that are computed with at once


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Outcomes of d detections at the T IoUs of `IOUS`.

    Attributes:
      objects: int64 `[T, d]`, the ground-truth box that each has found; -1 where it is not true.
      ignored: bool `[T, d]`: neither true nor false.
    """

    objects: np.ndarray
    ignored: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClassOutcomes:
    """The n detections of a class, best first, and their outcomes.

    Attributes:
      images: int64 `[n]`, the positions of their images, from 0.
      true: bool `[T, n]`.
      ignored: bool `[T, n]`.
      boxes: int64 `[I]`, how many boxes there are to find in each image.
    """

    images: np.ndarray
    true: np.ndarray
    ignored: np.ndarray
    boxes: np.ndarray


def resampled_ap(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    resamplings: int,
    seed: int = 0,
    counted: int = COCO_DETECTIONS,
) -> dict[str, list[float | None]]:
    """AP, AP50, AP60, AP70, AP75, AP80 and AP90 on resampled images.

    Args:
      ground_truth: a data set in COCO's JSON format.
      detections: COCO results.
      resamplings: number of data sets to draw.
      seed: of the draws.
      counted: as `coco_metrics.evaluate_detections`.

    Returns:
      one list of `resamplings` numbers for each metric, `AP@300` and so on if that many are
      counted; None where no object was drawn.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category.
    """
    checked = check_input(ground_truth, detections)
    compared = compared_boxes(checked)
    outcomes = outcomes_of(compared, compared.pairs(IOUS[0]), counted)
    images = len(checked.images)
    classes = split_by_class(compared, outcomes, images)
    values = average_precisions(classes, draw_images(images, resamplings, seed))
    return {
        named(key, counted): [None if np.isnan(ap) else float(ap) for ap in numbers]
        for key, numbers in summarized(values).items()
    }


def outcomes_of(compared: ComparedBoxes, pairs: Pairs, counted: int) -> Outcomes:
    """Matches detections at all of COCO's IoUs.

    Args:
      compared: detections and ground truth.
      pairs: all pairs with at least an IoU of .5; more do no harm.
      counted: number of detections of a class in an image that count, the best ones.
    """
    matches = [match_as_coco(compared, pairs, iou, counted) for iou in IOUS]
    return Outcomes(
        np.stack([matched.objects for matched in matches]),
        np.stack([matched.ignored for matched in matches]),
    )


def split_by_class(
    compared: ComparedBoxes, outcomes: Outcomes, images: int, looked_for: np.ndarray | None = None
) -> list[ClassOutcomes]:
    """The outcomes of every class, without detections that are ignored at all IoUs.

    Args:
      compared: what was compared.
      outcomes: what was found.
      images: number of images.
      looked_for: bool `[m]`, the boxes to find; None for all except crowds.
    """
    looked_for = ~compared.crowd if looked_for is None else looked_for
    count = compared.class_count
    cells = compared.objects.classes * images + compared.objects.images - 1  # numbered from 1
    boxes = np.bincount(cells[looked_for], minlength=count * images).reshape(count, images)
    order = compared.best_first
    order = order[~np.asarray(outcomes.ignored.all(axis=0))[order]]
    found_classes = compared.found.classes[order]
    by_class = order[np.argsort(found_classes, kind="stable")]
    counts = np.bincount(found_classes, minlength=count)
    ends = np.cumsum(counts)
    true: np.ndarray = (outcomes.objects >= 0) & ~outcomes.ignored
    return [
        ClassOutcomes(
            compared.found.images[chosen] - 1,
            true[:, chosen],
            outcomes.ignored[:, chosen],
            boxes[number],
        )
        for number, (start, end) in enumerate(zip(ends - counts, ends, strict=True))
        for chosen in [by_class[start:end]]
    ]


def draw_images(images: int, resamplings: int, seed: int = 0) -> np.ndarray:
    """Multiplicity of each image in each resampled data set: int64 `[resamplings, images]`."""
    generator = np.random.default_rng(seed)
    shares = np.full(images, 1 / max(images, 1))
    draws = [generator.multinomial(images, shares) for _ in range(resamplings)]
    return np.array(draws, np.int64).reshape(resamplings, images)


def average_precisions(classes: Sequence[ClassOutcomes], draws: np.ndarray) -> np.ndarray:
    """Average precision of every class at every IoU in every resampled data set.

    Args:
      classes: C.
      draws: int64 `[R, I]`, as `draw_images`; ones for the data set as it is.

    Returns:
      float64 `[R, C, T]`; NaN of a class without a box to find.
    """
    values = np.full((len(draws), len(classes), len(IOUS)), np.nan)
    for number, of_class in enumerate(classes):
        boxes = draws @ of_class.boxes
        with_boxes = np.flatnonzero(boxes)
        rows = max(_TOGETHER // max(len(of_class.images), 1), 1)
        for start in range(0, len(with_boxes), rows):
            some = with_boxes[start : start + rows]
            values[some, number] = _precisions(of_class, draws[some], boxes[some])
    return values


def summarized(values: np.ndarray) -> dict[str, np.ndarray]:
    """The keys of `AP_KEYS`, each float64 `[R]`, of average precisions `[R, C, T]`.

    The mean over the classes that have boxes; NaN where none has.
    """
    exists = ~np.isnan(values)
    count = exists.sum(axis=1)
    total = np.where(exists, values, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    at_ious = {key: mean[:, at] for key, at in AP_AT_IOU.items()}
    return {key: mean.mean(axis=1) if key == "AP" else at_ious[key] for key in AP_KEYS}


def interval_of(values: Sequence[float | None] | np.ndarray) -> tuple[float, float] | None:
    """The percentiles between which `CONFIDENCE` of the resampled numbers lie.

    None where fewer than two exist.
    """
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) < 2:
        return None
    low, high = np.percentile(numbers, [50 - 50 * CONFIDENCE, 50 + 50 * CONFIDENCE])
    return float(low), float(high)


def interval_around(
    value: float | None, resampled: Sequence[float | None] | np.ndarray
) -> tuple[float, float] | None:
    """The interval of a measured number: the percentiles of resampled ones, shifted to it.

    Repeated images in a resampled data set change average precision slightly by themselves; only
    its spread is used.

    Args:
      value: the number of the data set as it is; None where it does not exist.
      resampled: that of resampled ones.
    """
    interval = interval_of(resampled)
    if value is None or interval is None:
        return None
    numbers = np.asarray(resampled, np.float64)
    moved = value - numbers[np.isfinite(numbers)].mean()
    return float(max(interval[0] + moved, 0.0)), float(min(interval[1] + moved, 1.0))


def _precisions(of_class: ClassOutcomes, draws: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Average precision `[R, T]` of one class, which has `boxes` `[R]`, all above 0."""
    weights = draws.astype(np.int32)[:, of_class.images]
    every = np.cumsum(weights, axis=1, dtype=np.int32)
    needed = _needed(boxes)
    result = np.zeros((len(draws), len(IOUS)))
    for number, (true, ignored) in enumerate(zip(of_class.true, of_class.ignored, strict=True)):
        # Between two true detections precision falls, so only these can be highest.
        at, left_out = np.flatnonzero(true), np.flatnonzero(ignored)
        if not len(at):
            continue
        hits = np.cumsum(weights[:, at], axis=1, dtype=np.int32)
        counted = every[:, at]
        if len(left_out):
            before = np.cumsum(weights[:, left_out], axis=1, dtype=np.int32)
            before = np.pad(before, ((0, 0), (1, 0)))
            counted = counted - before[:, np.searchsorted(left_out, at)]
        precision = hits / np.maximum(counted, 1)
        # At any recall, the best precision at this or a higher one.
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result[:, number] = _mean_over_recalls(hits, precision, needed)
    return result


def _mean_over_recalls(hits: np.ndarray, precision: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """The mean precision `[R]` at COCO's recalls; 0 counts where one is not reached.

    Args:
      hits: `[R, n]`, the true detections so far.
      precision: `[R, n]`.
      needed: int64 `[R, 101]`, the hits with which each recall is reached.
    """
    count, length = hits.shape
    # All rows in one, each lifted above the one before.
    lift = np.arange(count)[:, None] * (int(needed.max(initial=0)) + int(hits.max(initial=0)) + 1)
    at = np.searchsorted((hits + lift).ravel(), (needed + lift).ravel())
    within = at.reshape(needed.shape) - np.arange(count)[:, None] * length
    padded = np.concatenate([precision, np.zeros((count, 1))], axis=1)
    return np.take_along_axis(padded, within, axis=1).mean(axis=1)


def _needed(boxes: np.ndarray) -> np.ndarray:
    """The least number of hits whose share of `boxes` `[R]` reaches each recall: `[R, 101]`."""
    hits = np.floor(_RECALLS * boxes[:, None])
    for _ in range(2):  # as the quotient of floats is compared, not what is meant by it
        hits += hits / boxes[:, None] < _RECALLS
    return hits.astype(np.int64)
