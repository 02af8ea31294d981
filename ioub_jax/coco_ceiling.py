"""Upper bound of average precision under COCO's limit of 100 detections per class and image."""

import numpy as np


def coco_ceiling(labels: np.ndarray, counts: np.ndarray, counted: int = 100) -> float:
    """COCO's AP of a detector that finds all objects exactly and nothing else.

    A class reaches the recall that its counted detections allow, with a precision of 1. Its AP is
    the mean precision at the recalls 0, .01, ... 1.

    Args:
      labels: int `[k]`, the class of each pair of an image and a class.
      counts: int `[k]`, the number of objects of each pair, without crowds.
      counted: the number of detections per class and image that count (pycocotools' `maxDets`).

    Returns:
      the mean over the classes with objects; 1 if there are none.
    """
    totals = np.bincount(labels, counts)
    found = np.bincount(labels, np.minimum(counts, counted))[totals > 0]
    if not len(found):
        return 1.0
    recalls = found / totals[totals > 0]
    return float((np.linspace(0, 1, 101)[:, None] <= recalls).mean())
