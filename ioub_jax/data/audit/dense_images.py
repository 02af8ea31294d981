"""Images with more objects than can be detected, or than a metric counts detections."""

import numpy as np

from ioub_jax.coco_ceiling import coco_ceiling
from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.sources import Source
from ioub_jax.data.sources.annotations import Annotations


def find_dense_images(
    source: Source,
    annotations: Annotations,
    *,
    max_detections: int,
    is_for_coco: bool,
    counted: int = 100,
) -> list[Finding]:
    """Finds images with more objects than can be detected, or than COCO's AP can count.

    Args:
      source: the data set.
      annotations: all of its objects.
      max_detections: the number of detections of an image that are kept, over all classes.
      is_for_coco: whether COCO's AP is computed.
      counted: the number of detections of a class in an image that COCO's AP counts (pycocotools'
        `maxDets`).

    Returns:
      a finding for each of the two limits that an image exceeds.
    """
    images, labels, counts = _count_by_class(annotations, len(source.classes))
    findings = []
    dense = counts > counted
    if is_for_coco and dense.any():
        advice = (
            f"COCO's AP counts the {counted} best detections of a class in an image, so a perfect "
            f"detector would reach {coco_ceiling(labels, counts, counted):.3f} here; "
            f"--config.evaluation.coco_detections={counts.max()} counts enough, as "
            f"AP@{counts.max()}, and VOC's metric has no such limit."
        )
        sentences = tuple(
            f"{source.describe(int(image))}: has {count} objects of class "
            f"{source.classes[label]!r}."
            for image, label, count in zip(images[dense], labels[dense], counts[dense], strict=True)
        )
        found = len(np.unique(images[dense]))
        findings.append(Finding("dense_class", False, found, advice, sentences))
    in_image = np.bincount(images, counts, minlength=len(annotations)).astype(np.int64)
    too_many = np.flatnonzero(in_image > max_detections)
    if len(too_many):
        advice = (
            f"config.evaluation.max_detections is {max_detections}, for all classes together; the "
            f"fullest image needs --config.evaluation.max_detections={in_image.max()}."
        )
        sentences = tuple(
            f"{source.describe(int(image))}: has {in_image[image]} objects." for image in too_many
        )
        findings.append(Finding("dense_image", False, len(too_many), advice, sentences))
    return findings


def _count_by_class(
    annotations: Annotations, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and classes that occur together, and their numbers of objects, each int64 `[k]`.

    Crowds and regions to ignore do not count as objects.
    """
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    objects = ~annotations.crowd & ~annotations.ignored
    pairs, counts = np.unique(
        images[objects] * num_classes + annotations.labels[objects], return_counts=True
    )
    return pairs // num_classes, pairs % num_classes, counts
