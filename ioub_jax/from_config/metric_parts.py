"""What the metrics of an evaluation cannot count in a data set."""

from collections.abc import Sequence

from ioub_jax.data.audit.dense_images import find_dense_images
from ioub_jax.data.sources import Source
from ioub_jax.data.sources.file_source import AnnotatedImages, annotations_of
from ioub_jax.data.sources.tiles import whole_of
from ioub_jax.evaluation.coco_metrics import CocoMetric
from ioub_jax.evaluation.metric import Metric


def dense_warnings(
    source: Source, metrics: Sequence[Metric], max_detections: int
) -> dict[str, str]:
    """Sentences on images with more objects than are detected, or than COCO's AP counts.

    Args:
      source: what is evaluated on; of data that is drawn nothing is said.
      metrics: by which it is.
      max_detections: the most detections of an image.

    Returns:
      `dense_class` -> a sentence, and `dense_image` -> one, where some image exceeds the limit.
    """
    whole = whole_of(source)
    if not isinstance(whole, AnnotatedImages):
        return {}
    counted = [metric.counted for metric in metrics if isinstance(metric, CocoMetric)]
    findings = find_dense_images(
        whole,
        annotations_of(whole),
        max_detections=max_detections,
        is_for_coco=bool(counted),
        counted=max(counted, default=0),
    )
    return {
        finding.kind: f"Evaluation: {finding.heading}: {finding.count:,} of {len(whole):,}. "
        f"{finding.advice}"
        for finding in findings
    }
