"""LVIS's federated ground truth as COCO ground truth: the detections of an image that count.

In LVIS (Gupta et al., arXiv 1908.03195) not every class is verified in every image. For each image
three sets of classes are known: those that are present, which have annotations; those that are
absent (`neg_category_ids`); and those of which not all objects are annotated
(`not_exhaustive_category_ids`). The rules are those of lvis-api:

- The 300 detections of an image with the best scores count, over all classes.
- A detection is left out if its class is not verified, that is, neither annotated in the image nor
  known to be absent.
- A detection that matches no object does not count if its class is not annotated exhaustively.
- There are no crowds, and detections and objects without area are left out.

The third rule corresponds to that of COCO's crowds: unmatched detections that lie in a crowd are
neither true nor false. With crowds around such detections, COCO's evaluators compute LVIS's
numbers.
"""

import collections
import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_values import id_of
from ioub_jax.evaluation.coco_input import CheckedInput, number_ids

#: The number of detections of an image that count, over all classes.
LVIS_DETECTIONS = 300
#: The frequencies of classes: rare (in 1 to 10 training images), common (in 11 to 100), frequent.
FREQUENCIES = ("r", "c", "f")

_NEGATIVE, _PARTIAL = "neg_category_ids", "not_exhaustive_category_ids"


@dataclasses.dataclass(frozen=True)
class Verified:
    """Verified classes of the images, by the numbers of `CheckedInput`.

    Attributes:
      absent: the pairs of an image and a class that is absent from it.
      partial: the pairs of an image and a class of which not every object is annotated in it.
      frequencies: 'r', 'c', 'f' or None for each category.
    """

    absent: frozenset[tuple[int, int]]
    partial: frozenset[tuple[int, int]]
    frequencies: tuple[str | None, ...]


def read_verified(ground_truth: Mapping[str, Any]) -> Verified:
    """Reads which classes are verified in the images of a ground truth in LVIS's format.

    Args:
      ground_truth: a ground truth as for `coco_input.check_input`, which has checked it. Each image
        has `neg_category_ids` and, if a class is not annotated exhaustively in it,
        `not_exhaustive_category_ids`; each category may have a `frequency`.

    Raises:
      ValueError: an image has no `neg_category_ids` or names an unknown class, or a frequency is
        unknown.
    """
    images, categories = (number_ids(ground_truth, key) for key in ("images", "categories"))
    pairs: dict[str, set[tuple[int, int]]] = {_NEGATIVE: set(), _PARTIAL: set()}
    for entry in ground_truth["images"]:
        if entry.get(_NEGATIVE) is None:
            raise ValueError(
                f"image {reprlib.repr(entry['id'])} of the ground truth has no {_NEGATIVE!r}: "
                "LVIS's metric needs a ground truth in LVIS's format; use COCO's ('coco') for one "
                "of COCO's"
            )
        for key, found in pairs.items():
            for written in entry.get(key) or ():
                number = categories.get(id_of(written))
                if number is None:
                    raise ValueError(
                        f"image {reprlib.repr(entry['id'])} of the ground truth has "
                        f"{reprlib.repr(written)} among its {key!r}, which is not one of the "
                        "ground truth's categories"
                    )
                found.add((images[id_of(entry["id"])], number))
    by_number = {categories[id_of(entry["id"])]: entry for entry in ground_truth["categories"]}
    return Verified(
        frozenset(pairs[_NEGATIVE]),
        frozenset(pairs[_PARTIAL]),
        tuple(_frequency(by_number[number]) for number in sorted(by_number)),
    )


def _frequency(category: Mapping[str, Any]) -> str | None:
    frequency = category.get("frequency")
    if frequency is not None and frequency not in FREQUENCIES:
        raise ValueError(
            f"the ground truth's category {reprlib.repr(category['name'])} has the frequency "
            f"{reprlib.repr(frequency)}, which is not one of 'r', 'c' and 'f'"
        )
    return frequency


def counting_as_lvis(checked: CheckedInput, verified: Verified) -> CheckedInput:
    """Input from which COCO's evaluators compute LVIS's numbers.

    Args:
      checked: ground truth and detections.
      verified: the verified classes of the ground truth.

    Returns:
      the input without the detections and objects that do not count, and with crowds of the classes
      that are not annotated exhaustively.
    """
    objects = [row for row in checked.annotations if row["area"] > 0]
    known = verified.absent | {
        (row["image_id"], row["category_id"]) for row in objects if not row["ignored"]
    }
    found = [
        row
        for row in _best_of_images(checked.detections)
        if (row["image_id"], row["category_id"]) in known and row["area"] > 0
    ]
    crowds = _crowds_around(
        [row for row in found if (row["image_id"], row["category_id"]) in verified.partial]
    )
    rows = [*objects, *crowds]
    return dataclasses.replace(
        checked,
        annotations=[row | {"id": number} for number, row in enumerate(rows, start=1)],
        detections=[row | {"id": number} for number, row in enumerate(found, start=1)],
    )


def _best_of_images(detections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The detections of each image with the best scores, in their order; ties go to the first."""
    images = np.array([row["image_id"] for row in detections], np.int64)
    scores = np.array([row["score"] for row in detections], np.float64)
    by_image = np.lexsort((-scores, images))  # a stable sort
    firsts = np.searchsorted(images[by_image], images[by_image], side="left")
    kept = by_image[np.arange(len(by_image)) - firsts < LVIS_DETECTIONS]
    return [detections[position] for position in np.sort(kept)]


def _crowds_around(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A crowd for each image and class of the detections, which contains all of them."""
    corners: dict[tuple[int, int], list[tuple[float, float, float, float]]]
    corners = collections.defaultdict(list)
    for row in found:
        x, y, width, height = row["bbox"]
        corners[row["image_id"], row["category_id"]].append((x, y, x + width, y + height))
    crowds = []
    for (image, category), boxes in corners.items():
        low, high = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
        box = [*low.tolist(), *(high - low).tolist()]
        crowds.append(
            {
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 1,
                "difficult": 0,
                "ignored": 1,
            }
        )
    return crowds
