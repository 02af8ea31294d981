"""What every metric is computed from: COCO ground truth and COCO results, checked entry by entry.

Boxes are COCO's, `[x, y, width, height]` in pixels of the original image.
"""

import dataclasses
import math
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class CheckedInput:
    """Ground truth and detections that a metric can trust.

    Attributes:
        images: The ids of all images.
        categories: `id` and `name` of each category, in the order of the ids.
        annotations: The ground-truth boxes, each with `id` (renumbered from 1), `image_id`,
            `category_id`, `bbox`, `area`, `iscrowd`, `difficult` and `ignored` (0 or 1).
        detections: The detections, each with `id` (from 1), `image_id`, `category_id`, `bbox`,
            `area`, `iscrowd` (0) and `score`.
    """

    images: set[int]
    categories: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    detections: list[dict[str, Any]]


def check_input(
    ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
) -> CheckedInput:
    """Checks what a metric is to be computed from; neither argument is changed.

    Args:
        ground_truth: A data set in COCO's JSON format, with `images` (`id`), `annotations`
            (`image_id`, `category_id`, `bbox`; `iscrowd`, `difficult` and `ignored` are 0 and
            `area` is the box's where they are absent) and `categories` (`id`, `name`).
        detections: COCO results: `image_id`, `category_id`, `bbox` and `score`.

    Returns:
        What the metrics read of it, as new dicts.

    Raises:
        ValueError: A detection or an annotation is malformed or names an unknown image or category.
    """
    _check_ids(ground_truth)
    images = {image["id"] for image in ground_truth["images"]}
    categories = sorted(ground_truth["categories"], key=lambda category: category["id"])
    category_ids = {category["id"] for category in categories}
    return CheckedInput(
        images=images,
        categories=[{"id": category["id"], "name": category["name"]} for category in categories],
        annotations=[
            _annotation(number, annotation, images, category_ids)
            for number, annotation in enumerate(ground_truth["annotations"], start=1)
        ],
        detections=[
            _detection(number, detection, images, category_ids)
            for number, detection in enumerate(detections, start=1)
        ],
    )


def _check_ids(ground_truth: Mapping[str, Any]) -> None:
    for key in ("images", "annotations", "categories"):
        if key not in ground_truth:
            raise ValueError(f"the ground truth has no {key!r}: it is not in COCO's JSON format")
    for key in ("images", "categories"):
        for id_, count in Counter(entry["id"] for entry in ground_truth[key]).items():
            if not isinstance(id_, numbers.Integral):
                raise ValueError(f"the ground truth has id {id_!r} in {key!r}: use an integer")
            if count > 1:
                raise ValueError(f"the ground truth lists id {id_} {count} times in {key!r}")


def _annotation(
    number: int, annotation: Mapping[str, Any], images: set[int], categories: set[int]
) -> dict[str, Any]:
    """What the metrics read of a ground-truth object, with `number` as its id."""
    name = f"annotation {annotation.get('id', f'number {number}')} of the ground truth"
    result = _located_box(name, number, annotation, images, categories)
    width, height = result["bbox"][2:]
    area = float(annotation.get("area", width * height))
    if not math.isfinite(area):
        raise ValueError(f"{name} has area {area}: it must be finite")
    return result | {
        "area": area,
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "difficult": int(annotation.get("difficult", 0)),
        "ignored": int(annotation.get("ignored", 0)),
    }


def _detection(
    number: int, detection: Mapping[str, Any], images: set[int], categories: set[int]
) -> dict[str, Any]:
    """What the metrics read of a detection, with `number` as its id."""
    name = f"detection number {number} (of image_id {detection.get('image_id')!r})"
    result = _located_box(name, number, detection, images, categories)
    try:
        score = float(detection["score"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} has no number as its 'score'") from None
    if not math.isfinite(score):
        raise ValueError(f"{name} has score {score}: it must be finite")
    width, height = result["bbox"][2:]
    return result | {"score": score, "area": width * height, "iscrowd": 0}


def _located_box(
    name: str, number: int, entry: Mapping[str, Any], images: set[int], categories: set[int]
) -> dict[str, Any]:
    """The checked place, class and box of an annotation or a detection."""
    if entry.get("image_id") not in images:
        raise ValueError(
            f"{name} has image_id {entry.get('image_id')!r}, which the ground truth does not list"
        )
    if entry.get("category_id") not in categories:
        raise ValueError(
            f"{name} has category_id {entry.get('category_id')!r}, which is none of the ground"
            " truth's categories: map labels to category ids before evaluating"
        )
    try:
        box = [float(value) for value in entry["bbox"]]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} has no list of numbers as its 'bbox'") from None
    if len(box) != 4:
        raise ValueError(f"{name} has a bbox of {len(box)} numbers: it must be [x, y, w, h]")
    if not all(math.isfinite(value) for value in box):
        raise ValueError(f"{name} has bbox {box}: its numbers must be finite")
    if box[2] < 0 or box[3] < 0:
        raise ValueError(
            f"{name} has bbox {box} of negative size: it must be [x, y, width, height],"
            " not two corners in the wrong order"
        )
    return {
        "id": number,
        "image_id": int(entry["image_id"]),
        "category_id": int(entry["category_id"]),
        "bbox": box,
    }
