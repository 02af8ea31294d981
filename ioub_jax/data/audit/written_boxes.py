"""The numbers of an annotation file as they are written, before a source makes sense of them."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ioub_jax.coco_values import id_of
from ioub_jax.data.audit.progress import progress


@dataclasses.dataclass(frozen=True)
class WrittenBoxes:
    """Boxes as written; those that are not four finite numbers in a known image are left out.

    Attributes:
        layout: What their format says the four numbers are: 'xywh' (COCO) or 'xyxy' (VOC).
        boxes: float64 `[m, 4]`.
        sizes: float64 `[m, 2]`, height and width that the file gives the image of each box.
        used_categories: Category ids of the annotations.
        listed_categories: Category ids of the list of categories; both are empty for VOC.
    """

    layout: str
    boxes: np.ndarray
    sizes: np.ndarray
    used_categories: frozenset[int] = frozenset()
    listed_categories: frozenset[int] = frozenset()


def read_coco_boxes(path: pathlib.Path) -> WrittenBoxes:
    """Reads the boxes of an instances JSON that a `CocoSource` has opened before.

    Args:
        path: The JSON.

    Returns:
        Its boxes.
    """
    content = json.loads(path.read_bytes(), object_hook=_what_counts)
    sizes = {
        id_of(image.get("id")): (image.get("height"), image.get("width"))
        for image in _dictionaries(content.get("images", ()))
    }
    annotations = _dictionaries(content.get("annotations", ()))
    pairs = (
        (annotation.get("bbox"), sizes.get(id_of(annotation.get("image_id"))))
        for annotation in annotations
    )
    boxes, box_sizes = _stack(pairs)
    return WrittenBoxes(
        "xywh",
        boxes,
        box_sizes,
        _ids(annotation.get("category_id") for annotation in annotations),
        _ids(category.get("id") for category in _dictionaries(content.get("categories", ()))),
    )


def read_voc_boxes(xmls: Sequence[pathlib.Path | None], sizes: np.ndarray) -> WrittenBoxes:
    """Reads the boxes of the XMLs that a `VocSource` has opened before.

    Args:
        xmls: The file of each image, if it has one; one that cannot be read is left out.
        sizes: int64 `[n, 2]`, height and width of each image: not every XML says it.

    Returns:
        Their boxes.
    """
    pairs = []
    files = zip(xmls, sizes, strict=True)
    for path, size in progress(files, "Reading boxes as written", len(xmls)):
        if path is None:
            continue
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError, ValueError, LookupError):
            continue
        for box in root.iterfind("object/bndbox"):
            corners = [box.findtext(name) for name in ("xmin", "ymin", "xmax", "ymax")]
            pairs.append((corners, size))
    return WrittenBoxes("xyxy", *_stack(pairs))


def _what_counts(entry: dict) -> dict:
    """Drops what takes nine tenths of the memory as soon as an annotation is parsed."""
    entry.pop("segmentation", None)
    return entry


def _dictionaries(entries: Iterable[Any]) -> list[dict]:
    return [entry for entry in entries if isinstance(entry, dict)]


def _ids(values: Iterable[object]) -> frozenset[int]:
    return frozenset(identity for identity in map(id_of, values) if isinstance(identity, int))


def _stack(pairs: Iterable[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes `[m, 4]` and sizes `[m, 2]`, without the pairs that are not six finite numbers."""
    rows = []
    for box, size in pairs:
        try:
            row = [float(number) for number in (*box, *size)]
        except (TypeError, ValueError, OverflowError):
            continue
        if len(row) == 6:
            rows.append(row)
    numbers = np.array(rows, np.float64).reshape(-1, 6)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    return numbers[:, :4], numbers[:, 4:]
