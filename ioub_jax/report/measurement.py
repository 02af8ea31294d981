"""All numbers of a report, computed from COCO ground truth and detections; without jax."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_values import id_of
from ioub_jax.diagnostics.coco_matches import PrecisionCurves, curves_of
from ioub_jax.diagnostics.correlation import Correlation, correlation_of
from ioub_jax.diagnostics.suppression import Suppression
from ioub_jax.evaluation import coco_metrics, error_report, resampling
from ioub_jax.evaluation.coco_input import CheckedInput, check_input
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, compared_boxes
from ioub_jax.evaluation.detection_kinds import DetectionKinds
from ioub_jax.printing import printable
from ioub_jax.report.object_groups import Grouping, group_objects
from ioub_jax.report.score_cut import ImageErrors, ScoreCut, cut_at, image_errors
from ioub_jax.report.score_histograms import Scores, scores_of

#: The number of resampled data sets for an interval.
RESAMPLINGS = 200


@dataclasses.dataclass(frozen=True)
class ImageEntry:
    """Ground truth of an image.

    Attributes:
      name: the name of its file without the folder that all files share, or its id if it has no
        file name.
      file_name: the file name in the ground truth; None if there is none.
      size: width and height in the ground truth; None if they are missing.
    """

    name: str
    file_name: str | None
    size: tuple[float, float] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of a set of detections.

    Attributes:
      name: the name of the detections.
      origin: a description of their images and weights; empty if unknown.
      checked: the ground truth and the detections.
      compared: the same as arrays.
      images: the ground truth's entry for each image, in the order of their numbers.
      metrics: COCO's metrics.
      intervals: AP, AP50, ... -> their interval over the images; None if there is none.
      draws: int64 `[R, I]`, the images of the resampled data sets.
      resampled: float64 `[R, C, T]`, the average precisions on these data sets.
      errors: thresholds, confusion matrix and kinds of errors.
      cut: the detections kept and the objects found at the best thresholds by F1.
      image_errors: the resulting counts in each image.
      curves: precision over recall: the mean over the classes, then every class.
      scores: the scores of true and false detections.
      groupings: the average precision of groups of similar objects.
      correlation: the correlation of score and IoU.
      suppression: the losses by NMS; None if unknown.
    """

    name: str
    checked: CheckedInput
    compared: ComparedBoxes
    images: tuple[ImageEntry, ...]
    metrics: coco_metrics.CocoMetrics
    intervals: Mapping[str, tuple[float, float] | None]
    draws: np.ndarray
    resampled: np.ndarray
    errors: error_report.ErrorReport
    cut: ScoreCut
    image_errors: ImageErrors
    curves: tuple[PrecisionCurves, ...]
    scores: Scores
    groupings: tuple[Grouping, ...]
    correlation: Correlation
    suppression: Suppression | None
    origin: str = ""

    @property
    def kinds(self) -> DetectionKinds:
        """The kind of each detection at IoU .5."""
        return self.errors.errors["50"].detections

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(category["name"] for category in self.checked.categories)

    @functools.cached_property
    def classes_of_images(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the classes in each image, among objects and kept detections."""
        compared, count = self.compared, self.compared.class_count
        cells = np.unique(
            np.concatenate(
                [
                    (placed.images[chosen] - 1) * count + placed.classes[chosen]
                    for placed, chosen in (
                        (compared.objects, np.ones(len(compared.objects), bool)),
                        (compared.found, self.cut.kept),
                    )
                ]
            )
        )
        bounds = np.searchsorted(cells, np.arange(1, len(self.images)) * count)
        return tuple(tuple((part % count).tolist()) for part in np.split(cells, bounds))


def measure(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    name: str = "detections",
    *,
    counted: int = coco_metrics.COCO_DETECTIONS,
    resamplings: int = RESAMPLINGS,
    suppression: Suppression | None = None,
    origin: str = "",
) -> Measured:
    """Measures detections.

    Args:
      ground_truth: a data set in COCO's JSON format, as for `coco_metrics.evaluate_detections`. If
        its images have `file_name`, `width` and `height`, these are read as well.
      detections: COCO results.
      name: the name of the detections.
      counted: as in `coco_metrics.evaluate_detections`.
      resamplings: the number of resampled data sets for an interval.
      suppression: the losses by NMS, if known.
      origin: a description of their images and weights.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category.
    """
    checked = check_input(ground_truth, detections)
    compared = compared_boxes(checked)
    images = _image_entries(ground_truth, checked)
    evaluator = coco_metrics.run_evaluator(checked, "faster_coco_eval", counted)
    metrics = coco_metrics.metrics_of(checked, evaluator)
    errors = error_report.error_report(checked, compared, counted)
    kinds = errors.errors["50"].detections
    cut = cut_at(compared, kinds, errors.thresholds.scores())
    outcomes = resampling.outcomes_of(compared, compared.pairs(resampling.IOUS[0]), counted)
    # A single image does not show how much images differ.
    draws = resampling.draw_images(len(images), resamplings if len(images) > 1 else 0)
    classes = resampling.split_by_class(compared, outcomes, len(images))
    resampled = resampling.average_precisions(classes, draws)
    sizes = np.array([entry.size or (np.nan, np.nan) for entry in images]).reshape(-1, 2)
    return Measured(
        name=name,
        origin=origin,
        checked=checked,
        compared=compared,
        images=images,
        metrics=metrics,
        intervals={
            key: resampling.interval_around(metrics.summary[key], values)
            for key, values in resampling.summarized(resampled).items()
        },
        draws=draws,
        resampled=resampled,
        errors=errors,
        cut=cut,
        image_errors=image_errors(compared, kinds, cut, len(images)),
        curves=tuple(curves_of(checked, evaluator)),
        scores=scores_of(compared, kinds),
        groupings=group_objects(compared, outcomes, kinds, cut, sizes, draws),
        correlation=correlation_of(checked),
        suppression=suppression,
    )


def _image_entries(
    ground_truth: Mapping[str, Any], checked: CheckedInput
) -> tuple[ImageEntry, ...]:
    by_id = {id_of(entry["id"]): entry for entry in ground_truth["images"]}
    entries = [_image_entry(written, by_id[id_of(written)]) for written in checked.image_ids]
    start = _common_start([entry.name for entry in entries])
    return tuple(dataclasses.replace(entry, name=entry.name[start:]) for entry in entries)


def _common_start(names: Sequence[str]) -> int:
    """Returns the length of the folder that all files share, which is not shown.

    It carries no information and may be private.
    """
    folders = zip(*(name.split("/")[:-1] for name in names), strict=False)
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, folders)
    return sum(len(parts[0]) + 1 for parts in common)


def _image_entry(written: int | str, entry: Mapping[str, Any]) -> ImageEntry:
    file_name = entry.get("file_name")
    file_name = file_name if isinstance(file_name, str) and file_name else None
    sides = [_side(entry.get(key)) for key in ("width", "height")]
    return ImageEntry(
        name=printable(str(written) if file_name is None else file_name),
        file_name=file_name,
        size=None if None in sides else (sides[0] or 0.0, sides[1] or 0.0),
    )


def _side(value: object) -> float | None:
    """Returns a width or height, or None if the value is not a positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        side = float(value)
    except (ValueError, OverflowError):
        return None
    return side if math.isfinite(side) and side > 0 else None
