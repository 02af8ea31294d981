"""Uncertainty of a metric from the choice of images: COCO's AP on resampled validation images.

Detections are matched once, as in pycocotools. A resampled data set consists of as many images as
the data set has, drawn with replacement; an image that is drawn n times counts n times. The draws
depend only on the number of images and a seed. The i-th resampling of two detectors therefore has
the same images, and their differences are paired.
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

_RECALLS = np.linspace(0.0, 1.0, 101)  # as in COCO; k / 100 differs from them for some k
_TOGETHER = 1 << 19  # number of values that are processed together


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Outcomes of d detections at the T IoUs of `IOUS`.

    Attributes:
      objects: int64 `[T, d]`, the ground-truth box that each detection has found; -1 if it is not
        true.
      ignored: bool `[T, d]`, whether each detection is neither true nor false.
    """

    objects: np.ndarray
    ignored: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClassOutcomes:
    """The n detections of a class, best first, and their outcomes.

    Attributes:
      images: int64 `[n]`, the positions of their images, from 0.
      true: bool `[T, n]`, whether each detection is true.
      ignored: bool `[T, n]`, whether each detection is neither true nor false.
      boxes: int64 `[I]`, the number of boxes to find in each image.
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
      seed: seed of the draws.
      counted: as for `coco_metrics.evaluate_detections`.

    Returns:
      a list of `resamplings` numbers for each metric, which is named `AP@300` and so on if, for
      example, 300 detections are counted. A number is None if no object was drawn.

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
      pairs: all pairs with an IoU of at least .5; further pairs do not matter.
      counted: the number of best detections of a class in an image that count.
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
      compared: detections and ground truth.
      outcomes: the outcomes of all detections.
      images: number of images.
      looked_for: bool `[m]`, whether each box is to be found; None for all boxes except crowds.
    """
    looked_for = ~compared.crowd if looked_for is None else looked_for
    count = compared.class_count
    # Images are numbered from 1.
    cells = compared.objects.classes * images + compared.objects.images - 1
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
    """The number of times each image is drawn: int64 `[resamplings, images]`."""
    generator = np.random.default_rng(seed)
    shares = np.full(images, 1 / max(images, 1))
    draws = [generator.multinomial(images, shares) for _ in range(resamplings)]
    return np.array(draws, np.int64).reshape(resamplings, images)


def average_precisions(classes: Sequence[ClassOutcomes], draws: np.ndarray) -> np.ndarray:
    """Average precision of every class at every IoU in every resampled data set.

    Args:
      classes: the outcomes of the C classes.
      draws: int64 `[R, I]`, as from `draw_images`; ones for the original data set.

    Returns:
      float64 `[R, C, T]`; NaN for classes without a box to find.
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
    """The numbers of `AP_KEYS`, each float64 `[R]`, from average precisions `[R, C, T]`.

    They are means over the classes that have boxes; NaN if no class has boxes.
    """
    exists = ~np.isnan(values)
    count = exists.sum(axis=1)
    total = np.where(exists, values, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    at_ious = {key: mean[:, at] for key, at in AP_AT_IOU.items()}
    return {key: mean.mean(axis=1) if key == "AP" else at_ious[key] for key in AP_KEYS}


def interval_of(values: Sequence[float | None] | np.ndarray) -> tuple[float, float] | None:
    """The percentiles between which a share `CONFIDENCE` of the resampled numbers lies.

    None if fewer than two numbers exist.
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
    """The confidence interval of a number: the percentiles of resampled numbers, shifted to it.

    The repeated images of a resampled data set bias average precision slightly, so only the spread
    of the resampled numbers is used.

    Args:
      value: the number on the original data set; None if it does not exist.
      resampled: the numbers on the resampled data sets.
    """
    interval = interval_of(resampled)
    if value is None or interval is None:
        return None
    numbers = np.asarray(resampled, np.float64)
    moved = value - numbers[np.isfinite(numbers)].mean()
    return float(max(interval[0] + moved, 0.0)), float(min(interval[1] + moved, 1.0))


def _precisions(of_class: ClassOutcomes, draws: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Average precision `[R, T]` of one class with `boxes` `[R]` to find, all above 0."""
    weights = draws.astype(np.int32)[:, of_class.images]
    every = np.cumsum(weights, axis=1, dtype=np.int32)
    needed = _needed(boxes)
    result = np.zeros((len(draws), len(IOUS)))
    for number, (true, ignored) in enumerate(zip(of_class.true, of_class.ignored, strict=True)):
        # Precision falls between two true detections, so it is highest at one of them.
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
        # Interpolation: the highest precision at this or any higher recall.
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result[:, number] = _mean_over_recalls(hits, precision, needed)
    return result


def _mean_over_recalls(hits: np.ndarray, precision: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """The mean precision `[R]` at COCO's recalls; it is 0 at recalls that are not reached.

    Args:
      hits: `[R, n]`, the number of true detections so far.
      precision: `[R, n]`, the interpolated precision.
      needed: int64 `[R, 101]`, the number of hits at which each recall is reached.
    """
    count, length = hits.shape
    # A single search over all rows: offsets make the values of each row larger than those before.
    lift = np.arange(count)[:, None] * (int(needed.max(initial=0)) + int(hits.max(initial=0)) + 1)
    at = np.searchsorted((hits + lift).ravel(), (needed + lift).ravel())
    within = at.reshape(needed.shape) - np.arange(count)[:, None] * length
    padded = np.concatenate([precision, np.zeros((count, 1))], axis=1)
    return np.take_along_axis(padded, within, axis=1).mean(axis=1)


def _needed(boxes: np.ndarray) -> np.ndarray:
    """The smallest number of hits whose share of `boxes` `[R]` reaches each recall: `[R, 101]`."""
    hits = np.floor(_RECALLS * boxes[:, None])
    for _ in range(2):  # the rounded quotient must reach the recall, as in COCO's code
        hits += hits / boxes[:, None] < _RECALLS
    return hits.astype(np.int64)
