"""Images with more objects than are detected, or than a metric counts detections."""

import numpy as np

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
    """Finds images whose objects cannot all be found, or not all be counted as found.

    Args:
      source: the data set.
      annotations: all of its objects.
      max_detections: how many detections of an image are kept, of all classes together.
      is_for_coco: whether COCO's AP is computed.
      counted: detections of a class in an image that it counts (pycocotools' `maxDets`).

    Returns:
      a finding for each of the two limits that some image exceeds.
    """
    images, labels, counts = _count_by_class(annotations, len(source.classes))
    findings = []
    dense = counts > counted
    if is_for_coco and dense.any():
        advice = (
            f"COCO's AP counts the {counted} best detections of a class in an image, so "
            f"that of a perfect detector would be {coco_ceiling(labels, counts, counted):.3f} "
            f"here; --config.evaluation.coco_detections={counts.max()} counts enough, and VOC's "
            "metric has no such limit."
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
            f"config.evaluation.max_detections is {max_detections}, of all classes together; for "
            f"the fullest image it has to be --config.evaluation.max_detections={in_image.max()}."
        )
        sentences = tuple(
            f"{source.describe(int(image))}: has {in_image[image]} objects." for image in too_many
        )
        findings.append(Finding("dense_image", False, len(too_many), advice, sentences))
    return findings


def coco_ceiling(labels: np.ndarray, counts: np.ndarray, counted: int = 100) -> float:
    """COCO's AP of a detector that finds all objects, and nothing else, in the right places.

    A class reaches the recall that its counted detections give, at a precision of 1, and its AP is
    the mean precision at the recalls 0, .01, ... 1.

    Args:
      labels: int `[k]`, the class of each pair of an image and a class.
      counts: int `[k]`, the objects of each pair, without crowds.
      counted: as for `find_dense_images`.

    Returns:
      the mean over the classes that have objects; 1 where there are none.
    """
    totals = np.bincount(labels, counts)
    found = np.bincount(labels, np.minimum(counts, counted))[totals > 0]
    if not len(found):
        return 1.0
    recalls = found / totals[totals > 0]
    return float((np.linspace(0, 1, 101)[:, None] <= recalls).mean())


def _count_by_class(
    annotations: Annotations, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 `[k]` each: images and classes that occur together, and how many objects do.

    Crowds and regions to ignore are no objects.
    """
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    objects = ~annotations.crowd & ~annotations.ignored
    pairs, counts = np.unique(
        images[objects] * num_classes + annotations.labels[objects], return_counts=True
    )
    return pairs // num_classes, pairs % num_classes, counts
