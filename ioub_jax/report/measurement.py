"""All numbers of a report, from ground truth and detections in COCO's format; without jax."""

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

#: How many data sets are drawn for an interval.
RESAMPLINGS = 200


@dataclasses.dataclass(frozen=True)
class ImageEntry:
    """Ground truth of an image.

    Attributes:
      name: of its file, without the folder that all are in, or its id where it has none.
      file_name: as the ground truth has it; None where it has none.
      size: width and height; None where it does not say.
    """

    name: str
    file_name: str | None
    size: tuple[float, float] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of a set of detections.

    Attributes:
      name: what the detections are called.
      origin: what they are of, in words; empty where nobody has said.
      checked: what was measured.
      compared: the same in arrays.
      images: what the ground truth says of each image, in the order of their numbers.
      metrics: COCO's.
      intervals: AP, AP50, ... -> their interval over the images; None where there is none.
      draws: int64 `[R, I]`, the images of the resampled data sets.
      resampled: float64 `[R, C, T]`, average precisions of these.
      errors: thresholds, confusion matrix and error kinds.
      cut: what is kept and found at the best thresholds by F1.
      image_errors: what that gives in each image.
      curves: precision over recall: the mean over the classes, then every class.
      scores: of true and false detections.
      groupings: average precision of objects that are alike.
      correlation: of score and IoU.
      suppression: what NMS has lost; None where it is not known.
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
        """The numbers of each image's classes, among objects and kept detections."""
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
      ground_truth: a data set in COCO's JSON format, as `coco_metrics.evaluate_detections` takes
        it; of its images `file_name`, `width` and `height` are read, too, where they are there.
      detections: COCO results.
      name: what the detections are called.
      counted: as `coco_metrics.evaluate_detections`.
      resamplings: how many data sets are drawn for an interval.
      suppression: what NMS has lost, where it is known.
      origin: what they are of, in words.

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
    # One image alone does not say how much images differ.
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
    """Length of the folder that all files share: it carries no information, and may be private."""
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
    """A width or height, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        side = float(value)
    except (ValueError, OverflowError):
        return None
    return side if math.isfinite(side) and side > 0 else None
