"""How good detections are: COCO's metrics, from plain arrays and dicts, without jax."""

from ioub_jax.evaluation.coco import (
    ClassMetrics,
    CocoMetrics,
    evaluate_detections,
    format_table,
    metrics_to_json,
)
from ioub_jax.evaluation.coco_format import (
    DetectionCollector,
    to_coco_ground_truth,
    to_coco_results,
)

__all__ = [
    "ClassMetrics",
    "CocoMetrics",
    "DetectionCollector",
    "evaluate_detections",
    "format_table",
    "metrics_to_json",
    "to_coco_ground_truth",
    "to_coco_results",
]
