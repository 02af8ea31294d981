"""How good detections are: COCO's metrics and VOC's, from plain arrays and dicts, without jax."""

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
from ioub_jax.evaluation.metric import Metric, Report
from ioub_jax.evaluation.voc_metrics import (
    VocClassMetrics,
    VocMetric,
    VocMetrics,
    evaluate_voc,
    format_voc_table,
    voc_metrics_to_json,
)

__all__ = [
    "ClassMetrics",
    "CocoMetric",
    "CocoMetrics",
    "DetectionCollector",
    "Metric",
    "Report",
    "VocClassMetrics",
    "VocMetric",
    "VocMetrics",
    "evaluate_detections",
    "evaluate_voc",
    "format_table",
    "format_voc_table",
    "metrics_to_json",
    "to_coco_ground_truth",
    "to_coco_results",
    "voc_metrics_to_json",
]
