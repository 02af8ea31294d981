"""Score of the detections of a single image, to find images with poor detections."""

from typing import NamedTuple

import numpy as np

from ioub_jax.evaluation.box_arrays import paired_covered_shares, paired_ious


class ImageScore(NamedTuple):
    """Counts of found, wrong and missed objects of an image.

    Attributes:
      found: number of objects that a detection belongs to.
      wrong: number of detections that belong to no object.
      missed: number of objects that no detection belongs to.
    """

    found: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """2 found / (2 found + wrong + missed); 1 without objects and detections."""
        errors = self.wrong + self.missed
        return 2 * self.found / (2 * self.found + errors) if self.found + errors else 1.0


def score_image(
    boxes: np.ndarray,
    labels: np.ndarray,
    found_boxes: np.ndarray,
    found_labels: np.ndarray,
    scores: np.ndarray,
    *,
    crowd: np.ndarray | None = None,
    iou: float = 0.5,
) -> ImageScore:
    """Counts the objects that the detections of an image find.

    In order of descending score, a detection belongs to the remaining object of its class that it
    overlaps most, if the IoU is at least `iou`. A detection that belongs to no object does not
    count if at least a share `iou` of it lies in a crowd of its class.

    Args:
      boxes: `[n, 4]` xyxy, the boxes of the objects.
      labels: `[n]`, the labels of the objects; a crowd with the label -1 is one of every class.
      found_boxes: `[k, 4]`, the boxes of the detections that count.
      found_labels: `[k]`, the labels of the detections.
      scores: `[k]`, the scores of the detections.
      crowd: bool `[n]`, True for crowds and regions to ignore; None if there are none.
      iou: the smallest IoU of a detection with the object that it belongs to.
    """
    boxes, found_boxes = (np.asarray(b, np.float64).reshape(-1, 4) for b in (boxes, found_boxes))
    labels, found_labels = np.asarray(labels).reshape(-1), np.asarray(found_labels).reshape(-1)
    is_crowd = np.zeros(len(labels), bool) if crowd is None else np.asarray(crowd, bool)
    left = ~is_crowd
    found = wrong = 0
    for index in np.argsort(-np.asarray(scores).reshape(-1), kind="stable"):
        box = np.broadcast_to(found_boxes[index], boxes.shape)
        label = found_labels[index]
        overlap = np.where(left & (labels == label), paired_ious(box, boxes), 0.0)
        if len(boxes) and overlap.max() >= iou:
            left[overlap.argmax()] = False
            found += 1
            continue
        of_class = is_crowd & ((labels == label) | (labels < 0))
        wrong += not (of_class & (paired_covered_shares(box, boxes) >= iou)).any()
    return ImageScore(found, wrong, int(left.sum()))
