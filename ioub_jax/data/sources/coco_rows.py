"""Values of annotations in COCO's JSON, read a few thousand at once."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from ioub_jax.coco_outlines import box_around, has_no_box
from ioub_jax.coco_values import (
    area_of,
    describe_fault,
    flag_of,
    is_told_to_ignore,
    rotation_of,
)
from ioub_jax.data.sources.coco_document import Piece
from ioub_jax.data.sources.coco_ids import Ids

# No coordinate and no area is larger. Comparisons with it are also False for NaN.
_HUGE = 1e15
FLAGS = ("iscrowd", "difficult", "ignored")


@dataclasses.dataclass(frozen=True)
class Rows:
    """The values of n annotations, as they are written.

    Attributes:
      image_ids: the image id of each annotation.
      category_ids: the category id of each annotation.
      ids: the id of each annotation.
      boxes: float64 `[n, 4]`, xywh: the bbox of each annotation, or the box around its outline if
        it has no bbox; NaN if that is not four numbers.
      outlined: bool `[n]`, whether the box is the one around the outline.
      degrees: float64 `[n]`, the clockwise rotation of each box.
      flags: bool `[n]` each, by the name in the file.
      told_to_ignore: bool `[n]`, whether an annotation has a true `ignore`, which has no effect.
      areas: float64 `[n]`, NaN if an annotation has none.
      is_object: bool `[n]`, whether an annotation is a JSON object.
      faults: what is wrong with a flag or an area, by the position of the annotation.
    """

    image_ids: Ids
    category_ids: Ids
    ids: Ids
    boxes: np.ndarray
    outlined: np.ndarray
    degrees: np.ndarray
    flags: dict[str, np.ndarray]
    told_to_ignore: np.ndarray
    areas: np.ndarray
    is_object: np.ndarray
    faults: dict[int, str]


class _Annotation(msgspec.Struct, gc=False):
    """An annotation with the usual types; all others are read by `_read_with_care`."""

    bbox: tuple[float, float, float, float]
    image_id: int | float | str | None = None
    category_id: int | float | str | None = None
    id: int | float | str | None = None
    area: float | None = None
    iscrowd: int | bool | None = None
    difficult: int | bool | None = None
    ignored: int | bool | None = None
    ignore: Any = None
    rotation: Any = None
    attributes: Any = None


_PLAIN = msgspec.json.Decoder(list[_Annotation])


def read_rows(piece: Piece) -> Rows:
    """Reads the values of a piece's annotations."""
    annotations = piece.decode(_PLAIN)
    rows = None if annotations is None else _read_plain(annotations)
    return _read_with_care(piece.entries()) if rows is None else rows


def _read_plain(annotations: list[_Annotation]) -> Rows | None:
    """Reads all rows at once; None if a flag, an area or a box is unusual."""
    areas = np.array([one.area for one in annotations], np.float64)  # None becomes NaN
    flags = {}
    for name in FLAGS:
        written = np.array([getattr(one, name) for one in annotations], np.float64)
        flags[name] = written == 1
        if not np.all(flags[name] | (written == 0) | np.isnan(written)):
            return None
    if np.any(areas > _HUGE):
        return None
    corners = itertools.chain.from_iterable([one.bbox for one in annotations])
    boxes = np.fromiter(corners, np.float64, 4 * len(annotations)).reshape(-1, 4)
    if not np.all(np.any(boxes, axis=1)):  # four zeros may stand for no box
        return None
    boxes[np.any(np.abs(boxes) >= _HUGE, axis=1)] = np.nan
    degrees = np.zeros(len(annotations))
    told_to_ignore = np.zeros(len(annotations), bool)
    for index, one in enumerate(annotations):
        if one.ignore is not None:
            told_to_ignore[index] = is_told_to_ignore(one.ignore)
        if one.attributes is not None or one.rotation is not None:
            degrees[index] = rotation_of({"rotation": one.rotation, "attributes": one.attributes})
    return Rows(
        Ids([one.image_id for one in annotations], is_typed=True),
        Ids([one.category_id for one in annotations], is_typed=True),
        Ids([one.id for one in annotations], is_typed=True),
        boxes,
        np.zeros(len(annotations), bool),
        degrees,
        flags,
        told_to_ignore,
        np.where(areas >= 0, areas, np.nan),
        np.ones(len(annotations), bool),
        {},
    )


def _read_with_care(entries: list[Any]) -> Rows:
    """Reads rows of any types; the fault of a row is the first one found in it."""
    fields = [entry if isinstance(entry, dict) else {} for entry in entries]
    nothing = [np.nan] * 4
    around = [box_around(entry) if has_no_box(entry.get("bbox")) else None for entry in fields]
    outlined = np.array([box is not None for box in around], bool)
    written = (
        entry.get("bbox") if box is None else box for entry, box in zip(fields, around, strict=True)
    )
    boxes = np.array([box if _is_box(box) else nothing for box in written], np.float64)
    degrees = np.fromiter(map(_rotation_of, fields), np.float64, len(fields))
    faults: dict[int, str] = {}
    areas = _read_column(fields, "area", area_of, lambda column: column >= 0, faults)
    flags: dict[str, np.ndarray] = {}
    for key in FLAGS:
        column = _read_column(fields, key, flag_of, lambda values: np.isin(values, (0, 1)), faults)
        flags[key] = np.asarray(column > 0)
    told_to_ignore = np.array([is_told_to_ignore(entry.get("ignore")) for entry in fields], bool)
    return Rows(
        Ids([entry.get("image_id") for entry in fields]),
        Ids([entry.get("category_id") for entry in fields]),
        Ids([entry.get("id") for entry in fields]),
        boxes.reshape(-1, 4),
        outlined,
        np.where(outlined, 0.0, degrees),  # an outline is already rotated
        flags,
        told_to_ignore,
        areas,
        np.array([isinstance(entry, dict) for entry in entries], bool),
        faults,
    )


def _rotation_of(entry: dict) -> float:
    return rotation_of(entry) if "rotation" in entry or "attributes" in entry else 0.0


def _read_column(
    entries: list[dict],
    key: str,
    read: Callable[[Any], float | None],
    is_plain: Callable[[np.ndarray], np.ndarray],
    faults: dict[int, str],
) -> np.ndarray:
    """Values of one key, converted by `read`: float64 `[n]`, 0 where `read` raises an error.

    Numbers for which `is_plain` (from float64 `[n]` to a mask, False for NaN) is True are taken
    as they are.
    """
    values = [entry.get(key) for entry in entries]
    column = np.array([value if _is_coordinate(value) else np.nan for value in values], np.float64)
    absent = read(None)
    for index in np.flatnonzero(~is_plain(column)):
        value = values[index]
        try:
            column[index] = absent if value is None else read(value)
        except ValueError as error:
            column[index] = 0
            faults.setdefault(int(index), describe_fault(key, value, error))
    return column


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_coordinate, value))


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and -_HUGE < value < _HUGE
