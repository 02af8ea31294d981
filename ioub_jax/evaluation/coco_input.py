"""Input of every metric: COCO ground truth and COCO results, checked entry by entry.

Boxes have COCO's form, `[x, y, width, height]` in pixels of the original image. Ids, flags and
areas have the same meaning as in `data.sources.CocoSource` (`coco_values`).
"""

import collections
import contextlib
import dataclasses
import gc
import logging
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_outlines import box_around, has_no_box
from ioub_jax.coco_values import (
    area_of,
    describe_fault,
    flag_of,
    id_of,
    is_told_to_ignore,
    rotation_of,
    upright_corners,
)

# The meaning of an id (`id_of`) -> the number that stands for it.
_Numbers = Mapping[int | str | None, int]

_FLAGS = ("iscrowd", "difficult", "ignored")
_OBJECTS = (dict, Mapping)  # JSON objects; the check for dict is the fastest and comes first


@dataclasses.dataclass(frozen=True)
class CheckedInput:
    """Ground truth and detections that have been checked for a metric.

    Attributes:
      images: the number of every image, from 1 in the order of the ids.
      categories: `id` (a number from 1 in the order of the ids), `written_id` (the id in the ground
        truth) and `name` of each category, in the order of the ids.
      annotations: the ground-truth boxes, each with `id` (renumbered from 1), `image_id`,
        `category_id`, `bbox`, `area`, `iscrowd`, `difficult` and `ignored` (0 or 1).
      detections: the detections, each with `id` (from 1), `image_id`, `category_id`, `bbox`,
        `area`, `iscrowd` (0) and `score`.
      image_ids: the id of every image in the ground truth, in the order of the numbers.
    """

    images: set[int]
    categories: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    detections: list[dict[str, Any]]
    image_ids: tuple[int | str, ...] = ()


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Context in which the garbage collector for cycles is off.

    It would otherwise run repeatedly while many dicts are created. These dicts have no cycles, and
    the search for cycles takes longer than the creation.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@without_collection()
def check_input(
    ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
) -> CheckedInput:
    """Checks the input of a metric; neither argument is changed.

    A ground-truth object without a box gets the box around its polygons, mask or keypoints. Swapped
    corners of a box are put in order, a box with CVAT's `rotation` becomes the upright box around
    it, and an annotation that is listed again with the same id counts once. The numbers of these
    corrections are logged. Equal boxes of the same image and class with different ids all count, as
    in pycocotools.

    Args:
      ground_truth: a data set in COCO's JSON format, with `images` (`id`), `annotations`
        (`image_id`, `category_id`, `bbox`) and `categories` (`id`, `name`). If the keys `iscrowd`,
        `difficult` and `ignored` of an annotation are absent or null they are 0, and `area` is then
        the area of the box. An id may also be a string, and 1.0 and '1' are the id 1.
      detections: COCO results: `image_id`, `category_id`, `bbox` and `score`.

    Returns:
      the fields that the metrics read, as new dicts.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(ground_truth, Mapping) or key not in ground_truth:
            raise ValueError(f"the ground truth has no {key!r}: it is not in COCO's JSON format")
        _check_entries(f"{key!r} of the ground truth", ground_truth[key])
    _check_entries("the detections", detections)
    images = number_ids(ground_truth, "images")
    categories = number_ids(ground_truth, "categories")
    return CheckedInput(
        images=set(images.values()),
        categories=sorted(
            (
                {
                    "id": categories[id_of(entry["id"])],
                    "written_id": _plain_id(entry["id"]),
                    "name": _name(entry),
                }
                for entry in ground_truth["categories"]
            ),
            key=lambda category: category["id"],
        ),
        annotations=_read_annotations(ground_truth["annotations"], images, categories),
        detections=_read_detections(detections, images, categories),
        image_ids=tuple(
            sorted(
                (_plain_id(entry["id"]) for entry in ground_truth["images"]),
                key=lambda written: images[id_of(written)],
            )
        ),
    )


def _check_entries(name: str, entries: object) -> None:
    """Checks that a value is a list of JSON objects."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ValueError(f"{name} must be a list of objects, not a {type(entries).__name__}")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, _OBJECTS):
            raise ValueError(
                f"{name} must be a list of objects, but number {number} is a {type(entry).__name__}"
            )


def _name(category: Mapping[str, Any]) -> str:
    """The name of a category; raises ValueError if it has none."""
    if not isinstance(name := category.get("name"), str):
        raise ValueError(
            "the ground truth has no name, or none that is text, of category "
            f"{reprlib.repr(category['id'])}"
        )
    return name


def number_ids(ground_truth: Mapping[str, Any], key: str) -> _Numbers:
    """The position of every id in ascending order, from 1; names come after integers.

    The evaluators get these positions as ids, because they confuse some integers, such as two
    integers above 2**53 that are the same float64.
    """
    entries = ground_truth[key]
    identities = [id_of(entry.get("id")) for entry in entries]
    for entry, identity in zip(entries, identities, strict=True):
        if identity is None:
            raise ValueError(
                f"the ground truth has id {reprlib.repr(entry.get('id'))} in {key!r}: use an "
                "integer or a name"
            )
    for identity, count in collections.Counter(identities).items():
        if count > 1:
            raise ValueError(
                f"the ground truth lists id {reprlib.repr(identity)} {count} times in {key!r}"
            )
    by_meaning = sorted(identities, key=lambda identity: (isinstance(identity, str), identity))
    return {identity: number for number, identity in enumerate(by_meaning, start=1)}


def _plain_id(written: object) -> Any:
    """An id as its file writes it, as a plain Python value."""
    return written if isinstance(written, str) else id_of(written)


def _read_annotations(
    entries: Sequence[Mapping[str, Any]], images: _Numbers, categories: _Numbers
) -> list[dict[str, Any]]:
    """The fields of the ground-truth objects that metrics read, without repeated objects."""
    changes: collections.Counter[str] = collections.Counter()
    annotations: list[dict[str, Any]] = []
    seen = set()
    for number, entry in enumerate(entries, start=1):
        annotation = _annotation(number, entry, images, categories, changes)
        identity = id_of(entry.get("id"))
        values = {key: value for key, value in annotation.items() if key not in ("id", "bbox")}
        same = (identity, *annotation["bbox"], *values.values())
        if identity is not None and same in seen:
            changes["annotations listed again with the same id, counted once"] += 1
            continue
        seen.add(same)
        annotations.append(annotation | {"id": len(annotations) + 1})
    if changes:
        told = "; ".join(f"{count} {change}" for change, count in changes.items())
        logging.getLogger(__name__).warning("The ground truth has %s.", told)
    return annotations


def _annotation(
    number: int,
    annotation: Mapping[str, Any],
    images: _Numbers,
    categories: _Numbers,
    changes: collections.Counter[str],
) -> dict[str, Any]:
    """The fields of a ground-truth object that metrics read, with `number` as its id."""
    name = f"annotation {annotation.get('id', f'number {number}')} of the ground truth"
    if has_no_box(annotation.get("bbox")) and (around := box_around(annotation)) is not None:
        changes[
            "annotations without a box, read as the box around their mask, polygon or keypoints"
        ] += 1
        turned = {"rotation": 0, "bbox": around}  # a polygon is already rotated
        annotation = {**annotation, **turned}
    result = _located_box(name, number, annotation, images, categories)
    box = result["bbox"]
    if box[2] < 0 or box[3] < 0:
        changes["boxes with swapped corners, put in order"] += 1
        box = [box[0] + min(box[2], 0.0), box[1] + min(box[3], 0.0), abs(box[2]), abs(box[3])]
    if degrees := rotation_of(annotation):
        changes["rotated boxes, read as the upright box around them"] += 1
        corners = np.array([[box[0], box[1], box[0] + box[2], box[1] + box[3]]])
        left, top, right, bottom = upright_corners(corners, np.array([degrees]))[0].tolist()
        box = [left, top, right - left, bottom - top]
    area = _read(name, annotation, "area", area_of)
    flags = {key: int(_read(name, annotation, key, flag_of) or 0) for key in _FLAGS}
    if is_told_to_ignore(annotation.get("ignore")) and not (flags["iscrowd"] or flags["ignored"]):
        changes[
            'objects with "ignore": 1, which COCO\'s metrics count as any other: "ignored": 1 or '
            '"iscrowd": 1 leaves them out'
        ] += 1
    # COCO's metric knows only crowds, so a region to ignore must be a crowd to be ignored there.
    flags["iscrowd"] |= flags["ignored"]
    return result | {"bbox": box, "area": box[2] * box[3] if area is None else area} | flags


def _read(
    name: str, entry: Mapping[str, Any], key: str, read: Callable[[Any], float | None]
) -> float | None:
    """The value of a key, converted by `read`; raises ValueError with the entry's name."""
    try:
        return read(entry.get(key))
    except ValueError as error:
        raise ValueError(f"{name} {describe_fault(key, entry.get(key), error)}") from None


def _read_detections(
    detections: Sequence[Mapping[str, Any]], images: _Numbers, categories: _Numbers
) -> list[dict[str, Any]]:
    """The fields of the detections that metrics read."""
    plain = _plain_detections(detections, images, categories)
    if plain is not None:
        return plain
    return [
        _detection(number, detection, images, categories)
        for number, detection in enumerate(detections, start=1)
    ]


def _plain_detections(
    detections: Sequence[Mapping[str, Any]], images: _Numbers, categories: _Numbers
) -> list[dict[str, Any]] | None:
    """The results of `_detection` for all detections at once, in a fifth of the time.

    None if any detection has other types than integer ids and floats, which this library writes, or
    is invalid. Each detection must then be checked by itself.
    """
    try:
        rows = [
            (entry["image_id"], entry["category_id"], entry["score"], *entry["bbox"])
            for entry in detections
        ]
        image, category, score, *box = zip(*rows, strict=True)
        kinds = [set(map(type, column)) for column in (image, category, score, *box)]
        numbers = np.array([score, *box], np.float64).T
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if len(box) != 4 or any(kind != {int} for kind in kinds[:2]):
        return None
    if any(kind != {float} for kind in kinds[2:]) or not np.isfinite(numbers).all():
        return None
    of_images, of_categories = list(map(images.get, image)), list(map(categories.get, category))
    if None in of_images or None in of_categories or np.any(numbers[:, 3:] < 0):
        return None
    areas = (numbers[:, 3] * numbers[:, 4]).tolist()
    return [
        {
            "id": number,
            "image_id": image_number,
            "category_id": category_number,
            "bbox": box,
            "score": score,
            "area": area,
            "iscrowd": 0,
        }
        for number, (image_number, category_number, box, score, area) in enumerate(
            zip(of_images, of_categories, numbers[:, 1:].tolist(), score, areas, strict=True),
            start=1,
        )
    ]


def _detection(
    number: int, detection: Mapping[str, Any], images: _Numbers, categories: _Numbers
) -> dict[str, Any]:
    """The fields of a detection that metrics read, with `number` as its id."""
    name = f"detection number {number} (of image_id {reprlib.repr(detection.get('image_id'))})"
    result = _located_box(name, number, detection, images, categories)
    width, height = result["bbox"][2:]
    if width < 0 or height < 0:
        raise ValueError(
            f"{name} has bbox {result['bbox']} of negative size: it must be [x, y, width, height],"
            " not two corners in the wrong order"
        )
    try:
        score = float(detection["score"])
    except (KeyError, OverflowError, TypeError, ValueError):
        raise ValueError(f"{name} has no 'score' that is a number") from None
    if not math.isfinite(score):
        raise ValueError(f"{name} has score {score}: it must be finite")
    return result | {"score": score, "area": width * height, "iscrowd": 0}


def _located_box(
    name: str, number: int, entry: Mapping[str, Any], images: _Numbers, categories: _Numbers
) -> dict[str, Any]:
    """The checked image, category and box of an annotation or a detection."""
    image = images.get(id_of(entry.get("image_id")))
    category = categories.get(id_of(entry.get("category_id")))
    if image is None:
        raise ValueError(
            f"{name} has image_id {reprlib.repr(entry.get('image_id'))}, which the ground truth "
            "does not list"
        )
    if category is None:
        raise ValueError(
            f"{name} has category_id {reprlib.repr(entry.get('category_id'))}, which is not one of "
            "the ground truth's categories: map labels to category ids before evaluating"
        )
    try:
        values = list(entry["bbox"])
        if any(isinstance(value, str | bool) for value in values):
            raise TypeError
        box = [float(value) for value in values]
    except (KeyError, OverflowError, TypeError, ValueError):
        raise ValueError(f"{name} has no 'bbox' that is a list of numbers") from None
    if not box:
        raise ValueError(
            f"{name} has the bbox [] and no polygon, mask or keypoints to make one of: give it a "
            "box or delete it"
        )
    if len(box) != 4:
        raise ValueError(f"{name} has a bbox of {len(box)} numbers: it must be [x, y, w, h]")
    if not all(math.isfinite(value) for value in box):
        raise ValueError(f"{name} has bbox {box}: its numbers must be finite")
    return {"id": number, "image_id": image, "category_id": category, "bbox": box}
