"""Numbers of an annotation file as written, before a data source interprets them."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np

from ioub_jax.coco_values import id_of
from ioub_jax.data.audit.progress import progress
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco_document import Document, read_document
from ioub_jax.data.sources.text_files import read_text


@dataclasses.dataclass(frozen=True)
class WrittenBoxes:
    """Boxes as written; those that are not four finite numbers in a known image are left out.

    Attributes:
      layout: the meaning of the four numbers in their format: 'xywh' (COCO), 'xyxy' (VOC) or
        'cxcywh' (YOLO).
      boxes: float64 `[m, 4]`.
      sizes: float64 `[m, 2]`, height and width of the image of each box.
      used_categories: the category ids of the annotations; empty for formats other than COCO.
      listed_categories: the ids in the list of categories; empty for formats other than COCO.
    """

    layout: str
    boxes: np.ndarray
    sizes: np.ndarray
    used_categories: frozenset[int] = frozenset()
    listed_categories: frozenset[int] = frozenset()


def read_coco_boxes(path: pathlib.Path) -> WrittenBoxes:
    """Reads the boxes of an instances JSON that a `CocoSource` has opened before.

    Args:
      path: the JSON file.

    Returns:
      the boxes as written.
    """
    return read_document(path, lambda: json.loads(path.read_bytes()), _read_boxes)


class _Annotation(msgspec.Struct, gc=False):
    """The relevant fields of an annotation, if they have their usual types."""

    bbox: tuple[float, float, float, float]
    image_id: int | float | str | None = None
    category_id: int | float | str | None = None


_PLAIN = msgspec.json.Decoder(list[_Annotation])


def _read_boxes(document: Document) -> WrittenBoxes:
    sizes = {
        id_of(image.get("id")): (image.get("height"), image.get("width"))
        for piece in document.pieces("images")
        for image in _dictionaries(piece.entries())
    }
    found = []
    used: set[Any] = set()
    for piece in document.pieces("annotations"):
        annotations = piece.decode(_PLAIN)
        if annotations is None:
            entries = _dictionaries(piece.entries())
            pairs = [(one.get("bbox"), sizes.get(id_of(one.get("image_id")))) for one in entries]
            used.update(id_of(one.get("category_id")) for one in entries)
        else:
            # Each image is looked up once, since it may have several boxes; `id_of` makes 1.0 the
            # same id as 1.
            size_of = {
                written: sizes.get(id_of(written))
                for written in {one.image_id for one in annotations}
            }
            pairs = [(one.bbox, size_of[one.image_id]) for one in annotations]
            used.update(map(id_of, {one.category_id for one in annotations}))
        found.append(_stack(pairs))
    listed = _dictionaries(document.head.get("categories", ()))
    boxes, box_sizes = zip(_stack([]), *found, strict=True)
    return WrittenBoxes(
        "xywh",
        np.concatenate(boxes),
        np.concatenate(box_sizes),
        _ids(used),
        _ids(id_of(category.get("id")) for category in listed),
    )


def read_voc_boxes(xmls: Sequence[pathlib.Path | None], sizes: np.ndarray) -> WrittenBoxes:
    """Reads the boxes of the XMLs that a `VocSource` has opened before.

    Args:
      xmls: the file of each image, or None; files that cannot be read are left out.
      sizes: int64 `[n, 2]`, height and width of each image, since not every XML states them.

    Returns:
      the boxes as written.
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


def read_yolo_boxes(label_files: Sequence[pathlib.Path | None], sizes: np.ndarray) -> WrittenBoxes:
    """Reads the boxes, not the polygons, of label files that a `YoloSource` has opened before.

    Args:
      label_files: the file of each image, or None; files that cannot be read are left out.
      sizes: int64 `[n, 2]`, height and width of each image.

    Returns:
      the boxes as written, in shares of the images' sides.
    """
    pairs = []
    files = zip(label_files, sizes, strict=True)
    for path, size in progress(files, "Reading boxes as written", len(label_files)):
        if path is None:
            continue
        try:
            text = read_text(path, "")
        except DataError:
            continue
        rows = (line.split() for line in text.splitlines())
        pairs += [(row[1:5], size) for row in rows if len(row) in (5, 6)]
    return WrittenBoxes("cxcywh", *_stack(pairs))


def _dictionaries(entries: Iterable[Any]) -> list[dict]:
    return [entry for entry in entries if isinstance(entry, dict)]


def _ids(values: Iterable[object]) -> frozenset[int]:
    return frozenset(identity for identity in values if isinstance(identity, int))


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
