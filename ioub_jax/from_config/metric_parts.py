"""Checks that metrics fit a data set, and warnings about objects beyond their limits."""

from collections.abc import Sequence

from ioub_jax.data.audit.dense_images import find_dense_images
from ioub_jax.data.sources import Source
from ioub_jax.data.sources.file_source import AnnotatedImages, annotations_of
from ioub_jax.data.sources.tiles import whole_of
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.chosen_classes import check_names
from ioub_jax.evaluation.coco_metrics import CocoMetric
from ioub_jax.evaluation.federated import LVIS_DETECTIONS
from ioub_jax.evaluation.lvis_metrics import LvisMetric
from ioub_jax.evaluation.metric import Metric
from ioub_jax.evaluation.voc_metrics import VocMetric


def check_fit(metrics: Sequence[Metric], source: Source) -> None:
    """Checks that a data set has the information that metrics need, before any evaluation.

    Args:
      metrics: the metrics. Only those of COCO, VOC and LVIS of this package are checked here.
      source: the data of the evaluation.

    Raises:
      ConfigError: a class in `evaluation.average_classes` is not in the data; or LVIS's metric is
        requested, but the data does not say which classes were verified in each image.
      DataError: the verified classes in the data are broken.
    """
    whole = whole_of(source)
    for metric in metrics:
        if isinstance(metric, CocoMetric | VocMetric | LvisMetric):
            try:
                check_names(metric.average_classes, whole.classes)
            except ValueError as error:
                raise ConfigError(f"evaluation.{error}.") from error
        if isinstance(metric, LvisMetric) and not _says_what_was_looked_for(whole):
            raise ConfigError(
                "evaluation.metrics names 'lvis', which needs the verified classes of each image: "
                f"the data of {whole.describe(0)} has no 'neg_category_ids'. "
                "Evaluate on one JSON in LVIS's format (config.data.source='coco'), or use 'coco'."
            )


def _says_what_was_looked_for(source: Source) -> bool:
    if getattr(source, "federated", None) is not None:
        return True
    # Without annotations, as in a test set, no metric is computed.
    return isinstance(source, AnnotatedImages) and not len(annotations_of(source).boxes)


def limit_warnings(
    source: Source, metrics: Sequence[Metric], max_detections: int
) -> dict[str, str]:
    """Sentences on what metrics do not count: objects and detections beyond the limits.

    Args:
      source: the data of the evaluation. There are no warnings for data that is generated.
      metrics: the metrics of the evaluation.
      max_detections: the maximum number of detections in an image.

    Returns:
      a sentence for each of the kinds that apply: `dense_class` (more objects than COCO's AP
      counts), `dense_image` (more objects than detections) and `few_detections` (fewer detections
      than LVIS's metric counts).
    """
    told = {}
    if max_detections < LVIS_DETECTIONS and any(isinstance(one, LvisMetric) for one in metrics):
        told["few_detections"] = (
            f"Evaluation: LVIS's metric counts the {LVIS_DETECTIONS} best detections of an image, "
            f"and config.evaluation.max_detections is {max_detections}; "
            f"--config.evaluation.max_detections={LVIS_DETECTIONS} keeps that many."
        )
    whole = whole_of(source)
    if not isinstance(whole, AnnotatedImages):
        return told
    counted = [metric.counted for metric in metrics if isinstance(metric, CocoMetric)]
    findings = find_dense_images(
        whole,
        annotations_of(whole),
        max_detections=max_detections,
        is_for_coco=bool(counted),
        counted=max(counted, default=0),
    )
    return told | {
        finding.kind: f"Evaluation: {finding.heading}: {finding.count:,} of {len(whole):,}. "
        f"{finding.advice}"
        for finding in findings
    }
