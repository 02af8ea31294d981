"""Explanation of a detector's AP: score thresholds, confused classes, error kinds."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ioub_jax.evaluation.coco_input import CheckedInput, check_input
from ioub_jax.evaluation.coco_matching import (
    COCO_DETECTIONS,
    MATCHED_IOU,
    match_as_coco,
    matches_by_class,
)
from ioub_jax.evaluation.compared_boxes import ComparedBoxes, compared_boxes
from ioub_jax.evaluation.confusion import ConfusionMatrix, confusion_of
from ioub_jax.evaluation.error_kinds import (
    BACKGROUND_IOU,
    ERRORS,
    ClassErrors,
    ErrorKinds,
    errors_of,
)
from ioub_jax.evaluation.thresholds import (
    ClassThresholds,
    OperatingPoint,
    ScoreThresholds,
    thresholds_of,
)
from ioub_jax.printing import printable

#: Name in a report -> IoU at which errors are classified.
IOUS = {"50": 0.5, "75": 0.75}
_WIDEST_MATRIX = 10  # largest number of classes of a matrix on a terminal
_SHOWN_CONFUSIONS = 10
_BACKGROUND = "background"


@dataclasses.dataclass(frozen=True)
class ErrorReport:
    """The errors of a set of detections.

    Attributes:
      thresholds: the best score thresholds, at IoU .5.
      confusion: the confusion matrix at the best thresholds by F1 and IoU .5.
      errors: the kinds of errors, at IoU .5 ('50') and .75 ('75').
    """

    thresholds: ScoreThresholds
    confusion: ConfusionMatrix
    errors: Mapping[str, ErrorKinds]


def explain_errors(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    counted: int = COCO_DETECTIONS,
) -> ErrorReport:
    """The errors, score thresholds and confusions of a set of detections.

    Args:
      ground_truth: a data set in COCO's JSON format, as for `evaluate_detections`.
      detections: COCO results.
      counted: as for `evaluate_detections`.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category.
    """
    checked = check_input(ground_truth, detections)
    return error_report(checked, compared_boxes(checked), counted)


def error_report(
    checked: CheckedInput, compared: ComparedBoxes, counted: int = COCO_DETECTIONS
) -> ErrorReport:
    """The errors of checked input.

    Args:
      checked: the input of the evaluation.
      compared: the same input in arrays.
      counted: as for `evaluate_detections`.
    """
    pairs = compared.pairs(BACKGROUND_IOU)
    matches = {key: match_as_coco(compared, pairs, iou, counted) for key, iou in IOUS.items()}
    by_class = matches_by_class(
        compared, matches["50"], [category["name"] for category in checked.categories]
    )
    ids = [category["written_id"] for category in checked.categories]
    thresholds = thresholds_of(by_class, ids, MATCHED_IOU)
    return ErrorReport(
        thresholds=thresholds,
        confusion=confusion_of(checked, compared, pairs, thresholds.scores(), MATCHED_IOU),
        errors={
            key: errors_of(checked, compared, pairs, matched) for key, matched in matches.items()
        },
    )


# As JSON.


def error_report_to_json(report: ErrorReport) -> dict[str, Any]:
    """The report as a dict for `json`, with `thresholds`, `confusion` and `errors`.

    The `cells` of the confusion matrix are its counts above 0, each as [row, column, count].
    """
    confusion = report.confusion
    cells = [[row, row, int(count)] for row, count in enumerate(confusion.counts.diagonal())]
    cells = [cell for cell in cells if cell[2]] + [list(cell) for cell in confusion.confusions()]
    return {
        "thresholds": {
            "iou": report.thresholds.iou,
            "all_classes": dataclasses.asdict(report.thresholds.all_classes),
            "per_class": [dataclasses.asdict(row) for row in report.thresholds.per_class],
        },
        "confusion": {
            "iou": confusion.iou,
            "classes": [
                {"name": name, "category_id": id_, "threshold": threshold}
                for name, id_, threshold in zip(
                    confusion.names, confusion.category_ids, confusion.thresholds, strict=True
                )
            ],
            "cells": sorted(cells),
        },
        "errors": {
            key: {
                "iou": errors.iou,
                "background_iou": errors.background_iou,
                "all_classes": dataclasses.asdict(errors.all_classes),
                "per_class": [dataclasses.asdict(row) for row in errors.per_class],
            }
            for key, errors in report.errors.items()
        },
    }


# As text.


def format_error_report(report: ErrorReport) -> str:
    """The report as text for a terminal: error kinds, score thresholds and confusions."""
    parts = _error_lines(report), _threshold_lines(report.thresholds), _confusion_lines(report)
    return "\n\n".join("\n".join(lines) for lines in parts)


def _error_lines(report: ErrorReport) -> Iterator[str]:
    yield "Errors: the gain in AP at one IoU if all of a kind are corrected, and their numbers"
    titles = [f"{title}{key}" for title in ("dAP", "at ") for key in report.errors]
    yield "".join(f"{title:>8}" for title in titles) + "  error"
    for error in ERRORS:
        rows: list[ClassErrors] = [errors.all_classes for errors in report.errors.values()]
        gains = _decimals(row.dAP[error] for row in rows)
        counts = "".join(f"{row.counts[error]:>8}" for row in rows)
        yield f"{gains}{counts}  {error.replace('_', ' ')}"


def _threshold_lines(thresholds: ScoreThresholds) -> Iterator[str]:
    yield "Best score thresholds: by F1, then by LRP (the least error), each with its value"
    titles = [title for last in ("F1", "LRP") for title in ("score", "prec.", "recall", last)]
    yield "".join(f"{title:>8}" for title in titles) + "  class"
    for row in (thresholds.all_classes, *thresholds.per_class):
        yield _threshold_line(row)


def _threshold_line(row: ClassThresholds) -> str:
    def numbers(point: OperatingPoint | None, measure: str) -> str:
        names = ("threshold", "precision", "recall", measure)
        return _decimals(None if point is None else getattr(point, name) for name in names)

    name = "all classes" if row.name is None else printable(row.name)
    return f"{numbers(row.by_f1, 'f1')}{numbers(row.by_lrp, 'lrp')}  {name}"


def _confusion_lines(report: ErrorReport) -> Iterator[str]:
    confusion = report.confusion
    names = [*map(printable, confusion.names), _BACKGROUND]
    if len(confusion.names) <= _WIDEST_MATRIX:
        yield "Confusion at the thresholds by F1: ground truth in rows, detections in columns"
        yield "".join(f"{number:>8}" for number in (*range(1, len(names)), "-"))
        for number, (row, name) in enumerate(zip(confusion.counts, names, strict=True), start=1):
            label = "-" if number == len(names) else number
            yield "".join(f"{count:>8}" for count in row) + f"{label:>4}  {name}"
        return
    between = [cell for cell in confusion.confusions() if len(confusion.names) not in cell[:2]]
    yield (
        f"Confusion at the thresholds by F1: {confusion.counts.trace()} boxes found, "
        f"{confusion.counts[:-1, -1].sum()} not found, {confusion.counts[-1].sum()} detections of "
        f"the background, {sum(cell[2] for cell in between)} of another class, most often"
    )
    for row, column, count in between[:_SHOWN_CONFUSIONS]:
        yield f"{count:>8}  {names[row]} taken for {names[column]}"


def _decimals(values: Iterable[float | None]) -> str:
    return "".join(f"{'-' if value is None else f'{value:.3f}':>8}" for value in values)
