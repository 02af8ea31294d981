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
      metrics: of this package's, those of COCO, VOC and LVIS; others check for themselves.
      source: what is evaluated on.

    Raises:
      ConfigError: a class whose mean is asked for is none of the data's, or LVIS's metric is, and
        the data does not say for which classes somebody looked.
      DataError: what it says of that is broken.
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
    # Where nothing is annotated, as in a test set, no metric is computed.
    return isinstance(source, AnnotatedImages) and not len(annotations_of(source).boxes)


def limit_warnings(
    source: Source, metrics: Sequence[Metric], max_detections: int
) -> dict[str, str]:
    """Sentences on what metrics do not count: objects and detections beyond the limits.

    Args:
      source: what is evaluated on; of data that is drawn nothing is said.
      metrics: by which it is.
      max_detections: the most detections of an image.

    Returns:
      of `dense_class` (more objects than COCO's AP counts), `dense_image` (more objects than
      detections) and `few_detections` (fewer than LVIS's metric counts) those that are so, with a
      sentence each.
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
