"""Evaluation of detections and analysis of their errors, in plain arrays and dicts, without jax."""

from ioub_jax.evaluation.coco_format import (
    DetectionCollector,
    to_coco_ground_truth,
    to_coco_results,
)
from ioub_jax.evaluation.coco_metrics import (
    ClassMetrics,
    CocoMetric,
    CocoMetrics,
    evaluate_detections,
    format_table,
    metrics_to_json,
)
from ioub_jax.evaluation.confusion import ConfusionMatrix, confusion_matrix
from ioub_jax.evaluation.detection_kinds import KINDS, DetectionKinds
from ioub_jax.evaluation.error_kinds import ClassErrors, ErrorKinds, evaluate_errors
from ioub_jax.evaluation.error_report import (
    ErrorReport,
    error_report_to_json,
    explain_errors,
    format_error_report,
)
from ioub_jax.evaluation.lvis_metrics import (
    LvisClassMetrics,
    LvisMetric,
    LvisMetrics,
    evaluate_lvis,
    format_lvis_table,
    lvis_metrics_to_json,
)
from ioub_jax.evaluation.metric import Metric, Report
from ioub_jax.evaluation.thresholds import (
    ClassThresholds,
    OperatingPoint,
    ScoreThresholds,
    best_thresholds,
)
from ioub_jax.evaluation.voc_metrics import (
    VocClassMetrics,
    VocMetric,
    VocMetrics,
    evaluate_voc,
    format_voc_table,
    voc_metrics_to_json,
)

__all__ = [
    "KINDS",
    "ClassErrors",
    "ClassMetrics",
    "ClassThresholds",
    "CocoMetric",
    "CocoMetrics",
    "ConfusionMatrix",
    "DetectionCollector",
    "DetectionKinds",
    "ErrorKinds",
    "ErrorReport",
    "LvisClassMetrics",
    "LvisMetric",
    "LvisMetrics",
    "Metric",
    "OperatingPoint",
    "Report",
    "ScoreThresholds",
    "VocClassMetrics",
    "VocMetric",
    "VocMetrics",
    "best_thresholds",
    "confusion_matrix",
    "error_report_to_json",
    "evaluate_detections",
    "evaluate_errors",
    "evaluate_lvis",
    "evaluate_voc",
    "explain_errors",
    "format_error_report",
    "format_lvis_table",
    "format_table",
    "format_voc_table",
    "lvis_metrics_to_json",
    "metrics_to_json",
    "to_coco_ground_truth",
    "to_coco_results",
    "voc_metrics_to_json",
]
