"""Diagnosis of detections: the measures that explain their average precision."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ioub_jax.diagnostics.calibration import Calibration, calibration_of
from ioub_jax.diagnostics.coco_matches import PrecisionCurves, curves_of, matches_of
from ioub_jax.diagnostics.correlation import Correlation, correlation_of
from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.lrp import OptimalLrp, mean_optimal_lrp, optimal_lrp


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Metrics of detections, and their explanation.

    Attributes:
      metrics: COCO's metrics.
      correlation: the correlation of score and IoU with the ground truth.
      lrp: the optimal LRP error: the mean over the classes, then every class.
      curves: precision over recall: the mean over the classes, then every class.
      calibration: the calibration of the scores.
    """

    metrics: coco_metrics.CocoMetrics
    correlation: Correlation
    lrp: tuple[OptimalLrp, ...]
    curves: tuple[PrecisionCurves, ...]
    calibration: Calibration


def diagnose(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    counted: int = coco_metrics.COCO_DETECTIONS,
) -> Diagnosis:
    """Diagnoses the detections of any detector.

    Args:
      ground_truth: a data set in COCO's JSON format, as for `coco_metrics.evaluate_detections`.
      detections: COCO results.
      counted: as in `coco_metrics.evaluate_detections`.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category.
    """
    checked = check_input(ground_truth, detections)
    evaluator = coco_metrics.run_evaluator(  # it has every match
        checked, "pycocotools", counted
    )
    matches = matches_of(checked, evaluator)
    lrp = [optimal_lrp(of_class) for of_class in matches]
    return Diagnosis(
        metrics=coco_metrics.metrics_of(checked, evaluator),
        correlation=correlation_of(checked),
        lrp=(mean_optimal_lrp(lrp), *lrp),
        curves=tuple(curves_of(checked, evaluator)),
        calibration=calibration_of(matches),
    )


def diagnosis_to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as a dict for JSON, with the names of the attributes as keys."""
    return {
        "metrics": coco_metrics.metrics_to_json(diagnosis.metrics),
        "correlation": dataclasses.asdict(diagnosis.correlation),
        "lrp": [dataclasses.asdict(row) for row in diagnosis.lrp],
        "curves": [dataclasses.asdict(row) for row in diagnosis.curves],
        "calibration": dataclasses.asdict(diagnosis.calibration),
    }
