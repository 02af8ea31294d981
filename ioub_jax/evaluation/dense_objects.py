"""Images with more objects of a class than COCO's AP counts detections, and AP with a higher limit.

Metrics that count more than COCO's 100 detections have different names, such as `AP@300`, so that
they are not mistaken for COCO's AP.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_ceiling import coco_ceiling
from ioub_jax.evaluation.coco_matching import COCO_DETECTIONS


def named(key: str, counted: int) -> str:
    """The name of COCO's number `key` if `counted` detections are counted, such as `AP@300`."""
    return key if counted == COCO_DETECTIONS else f"{key}@{counted}"


def base_of(key: str) -> str:
    """COCO's name of a number whose name includes the counted detections: `AP` for `AP@300`."""
    base, _, counted = key.partition("@")
    return base if counted.isdecimal() else key


@dataclasses.dataclass(frozen=True)
class DenseImages:
    """Images with more than 100 objects of a class.

    Attributes:
      images: number of these images.
      most: the largest number of objects of a class in an image.
      counted: the number of detections of a class in an image that are counted.
      ceilings: the highest possible AP, by name: COCO's `AP` and, for example, `AP@300` if 300
        detections are counted.
    """

    images: int
    most: int
    counted: int
    ceilings: Mapping[str, float]

    def sentence(self) -> str:
        """A sentence on the effect of the images on AP, and the configuration key that helps."""
        one = self.images == 1
        told = (
            f"{self.images:,} image{' has' if one else 's have'} more than {COCO_DETECTIONS} "
            f"objects of a class, up to {self.most:,}, and AP counts the {COCO_DETECTIONS} best "
            "detections: a perfect detector has "
            + " and ".join(f"{key} {value:.3f}" for key, value in self.ceilings.items())
        )
        if self.most > self.counted:
            told += f"; evaluation.coco_detections={self.most} counts all, as AP@{self.most}"
        return told


def dense_images(annotations: Sequence[Mapping[str, Any]], counted: int) -> DenseImages | None:
    """Images of checked annotations with more objects than COCO's AP counts; None without any.

    Args:
      annotations: the ground-truth boxes.
      counted: the number of detections of a class in an image that are counted.
    """
    objects = Counter(
        (row["category_id"], row["image_id"]) for row in annotations if not row["iscrowd"]
    )
    dense = {image for (_, image), count in objects.items() if count > COCO_DETECTIONS}
    if not dense:
        return None
    labels = np.array([category for category, _ in objects], np.int64)
    counts = np.array(list(objects.values()), np.int64)
    return DenseImages(
        images=len(dense),
        most=int(counts.max()),
        counted=counted,
        ceilings={
            named("AP", number): coco_ceiling(labels, counts, number)
            for number in dict.fromkeys((COCO_DETECTIONS, counted))
        },
    )
