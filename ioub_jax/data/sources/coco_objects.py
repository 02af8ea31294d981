"""The objects that COCO's JSON lists, vectorised: COCO has 860,000."""

import dataclasses
import pathlib
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_values import (
    area_of,
    describe_fault,
    flag_of,
    id_of,
    rotation_of,
    upright_corners,
)
from ioub_jax.data.checks import Problems
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.coco_images import LEFT_OUT, UNKNOWN, Images
from ioub_jax.data.sources.regions import ignored_regions

# A box may leave its image by this many pixels, what rounding does: then nobody is told.
_TOLERANCE = 1.0
# No coordinate is larger. The comparison is also False for NaN.
_HUGE = 1e15

_SKIP_BOX = "or set config.data.on_error='skip' to ignore the place of the box."
_SKIP_ENTRY = "or set config.data.on_error='skip' to leave it out."
_FLAGS = ("iscrowd", "difficult", "ignored")


@dataclasses.dataclass(frozen=True)
class _Boxes:
    """Every box of the file, n in all, as far as it can be read.

    Attributes:
        corners: float64 `[n, 4]`, xyxy in order; NaN where a bbox is not four numbers.
        boxes: float32 `[n, 4]`, those inside the image.
        exchanged: bool `[n]`, whose corners are written in another order.
        rotated: bool `[n]`, which are the upright boxes around rotated ones.
        clipped: bool `[n]`, which leave their image by more than rounding.
        faults: What is wrong with some, bool `[n]` each, by the kind of problem.
    """

    corners: np.ndarray
    boxes: np.ndarray
    exchanged: np.ndarray
    rotated: np.ndarray
    clipped: np.ndarray
    faults: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Values:
    """The other values of every annotation, n in all.

    Attributes:
        flags: bool `[n]` each, by the name in the file.
        areas: float64 `[n]`, NaN where there is none.
        faults: What is wrong with some, by their positions.
    """

    flags: dict[str, np.ndarray]
    areas: np.ndarray
    faults: dict[int, str]


def read_objects(
    entries: list,
    images: Images,
    categories: Sequence[int | str],
    category_ids: Sequence[int | str],
    path: pathlib.Path,
    problems: Problems,
) -> tuple[Annotations, int]:
    """The objects of all images.

    Args:
        entries: The annotations of the file.
        images: Those that can be used.
        categories: The ids of the categories that are listed, as they are written.
        category_ids: Those that are chosen, in the order of their labels.
        path: The file.
        problems: What to do with what is wrong, and with what is put right.

    Returns:
        The annotations, and how many of the file are of categories that are not chosen.

    Raises:
        DataError: Under 'raise', about the first annotation that cannot be used.
    """
    fields = [entry if isinstance(entry, dict) else {} for entry in entries]
    positions = _look_up(images.positions, (entry.get("image_id") for entry in fields))
    labels_of = dict.fromkeys(map(id_of, categories), LEFT_OUT)
    labels_of |= {id_of(written): label for label, written in enumerate(category_ids)}
    labels = _look_up(labels_of, (entry.get("category_id") for entry in fields))
    # The last row stands for annotations without an image.
    sizes = np.array([*images.sizes, (1, 1)], np.int64)[np.maximum(positions, -1)]
    read = _read_boxes(fields, sizes)
    values = _read_values(fields)
    faults: dict[str, np.ndarray] = {
        "no_object": np.array([not isinstance(entry, dict) for entry in entries], bool),
        "unknown_image": positions == UNKNOWN,
        "unknown_category": labels == UNKNOWN,
        **read.faults,
        "bad_value": _mask(list(values.faults), len(fields)),
    }
    wanted = (positions != LEFT_OUT) & (labels != LEFT_OUT)
    bad = wanted & np.logical_or.reduce(list(faults.values()))
    for index in np.flatnonzero(bad):
        fault = next(fault for fault, is_faulty in faults.items() if is_faulty[index])
        sentence = _explain(fault, fields[index], int(index), int(positions[index]), images, values)
        problems.add(_KINDS.get(fault, fault), f"{path}: {sentence}")
    good = wanted & ~bad
    areas = np.where(np.isnan(values.areas), _areas(read.boxes), values.areas)
    same = [labels, areas, *values.flags.values()]
    repeated = _find_repeated(positions, read.corners, same, good)
    good &= ~repeated
    problems.note("repeated", repeated.sum())
    for change in ("exchanged", "rotated", "clipped"):
        problems.note(change, (getattr(read, change) & good).sum())
    problems.note("renumbered", _count_renumbered(fields, good))
    converted = _is_converted(fields, "image_id", images.written, positions)
    converted |= _is_converted(fields, "category_id", category_ids, labels)
    problems.note("converted", (converted & good).sum())

    regions = bad & (positions >= 0)
    boxes = read.boxes
    boxes[regions] = ignored_regions(read.corners[regions], sizes[regions])
    kept = np.flatnonzero(good | regions)
    kept = kept[np.argsort(positions[kept], kind="stable")]
    counts = np.bincount(positions[kept], minlength=len(images.sizes))
    is_region = regions[kept]
    annotations = Annotations(
        np.array(images.numbers, np.int64),
        np.array(images.sizes, np.int64),
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        boxes[kept],
        labels[kept].astype(np.int32),
        values.flags["iscrowd"][kept] & ~is_region,
        values.flags["difficult"][kept] & ~is_region,
        values.flags["ignored"][kept] | is_region,
        np.where(is_region, _areas(boxes[kept]), areas[kept]).astype(np.float32),
    )
    return annotations, int(np.sum(labels == LEFT_OUT))


def _look_up(numbers: Mapping[Any, int], written: Iterable[object]) -> np.ndarray:
    """int64 `[n]`, the number of each id as it is written; `UNKNOWN` for one that has none."""
    found = (
        numbers.get(value if type(value) is int else id_of(value), UNKNOWN) for value in written
    )
    return np.fromiter(found, np.int64)


def _read_boxes(entries: list[dict], sizes: np.ndarray) -> _Boxes:
    """The boxes, in images of `sizes` `[n, 2]`."""
    nothing = [np.nan] * 4
    written = (entry.get("bbox") for entry in entries)
    boxes = np.array([box if _is_box(box) else nothing for box in written], np.float64)
    boxes = boxes.reshape(-1, 4)
    corners = np.hstack([boxes[:, :2] + np.minimum(boxes[:, 2:], 0), boxes[:, :2]])
    corners[:, 2:] += np.maximum(boxes[:, 2:], 0)
    degrees = np.fromiter(map(_rotation_of, entries), np.float64, len(entries))
    rotated = degrees != 0
    corners[rotated] = upright_corners(corners[rotated], degrees[rotated])
    limits = sizes[:, ::-1]
    inside = np.clip(corners, 0, np.tile(limits, 2)).astype(np.float32)
    outside = np.any((corners[:, 2:] <= 0) | (corners[:, :2] >= limits), axis=1)
    beyond = (corners[:, :2] < -_TOLERANCE) | (corners[:, 2:] > limits + _TOLERANCE)
    return _Boxes(
        corners,
        inside,
        np.any(boxes[:, 2:] < 0, axis=1),
        rotated,
        np.any(beyond, axis=1),
        {
            "bad_box": np.any(np.isnan(corners), axis=1),
            # A box may also be too thin for float32.
            "no_area": _is_empty(corners) | (_is_empty(inside) & ~outside),
            "outside": outside,
        },
    )


def _rotation_of(entry: dict) -> float:
    return rotation_of(entry) if "rotation" in entry or "attributes" in entry else 0.0


def _read_values(entries: list[dict]) -> _Values:
    """The flags and areas; what is wrong with one is the first thing wrong with it."""
    faults: dict[int, str] = {}
    areas = _read_column(entries, "area", area_of, lambda column: column >= 0, faults)
    flags: dict[str, np.ndarray] = {}
    for key in _FLAGS:
        column = _read_column(entries, key, flag_of, lambda values: np.isin(values, (0, 1)), faults)
        flags[key] = np.asarray(column > 0)
    return _Values(flags, areas, faults)


def _read_column(
    entries: list[dict],
    key: str,
    read: Callable[[Any], float | None],
    is_plain: Callable[[np.ndarray], np.ndarray],
    faults: dict[int, str],
) -> np.ndarray:
    """The values of one key as `read` takes them, float64 `[n]`; 0 where it does not.

    Numbers that `is_plain` (a mask of float64 `[n]`, False for NaN) mean themselves.
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


def _find_repeated(
    positions: np.ndarray, corners: np.ndarray, others: list[np.ndarray], among: np.ndarray
) -> np.ndarray:
    """Which of some annotations are in all respects those of an earlier one, bool `[n]`.

    Args:
        positions: int64 `[n]`, the image of each.
        corners: float64 `[n, 4]`.
        others: `[n]` each, what else makes two the same.
        among: bool `[n]`, which are compared.
    """
    repeated = np.zeros(len(corners), bool)
    chosen = np.flatnonzero(among)
    if len(chosen) == 0:
        return repeated
    chosen = chosen[np.lexsort((corners[chosen, 0], positions[chosen]))]
    same = (np.diff(positions[chosen]) == 0) & (np.diff(corners[chosen, 0]) == 0)
    # Few boxes of an image have one left edge: those alone are compared as a whole.
    suspects = np.sort(chosen[np.append(same, False) | np.append(False, same)])
    columns = [column[suspects].tolist() for column in (positions, *corners.T, *others)]
    seen = set()
    for index, *row in zip(suspects, *columns, strict=True):
        repeated[index] = tuple(row) in seen
        seen.add(tuple(row))
    return repeated


def _count_renumbered(entries: list[dict], among: np.ndarray) -> int:
    """How many of some annotations have the id of an earlier one of them."""
    written = (entries[index].get("id") for index in np.flatnonzero(among))
    ids = [value if type(value) is int else id_of(value) for value in written]
    ids = [value for value in ids if value is not None]
    return len(ids) - len(set(ids))


def _is_converted(
    entries: list[dict], key: str, listed: Sequence[object], positions: np.ndarray
) -> np.ndarray:
    """Whether an id is written as another type than where it is listed, bool `[n]`."""
    types = [type(value) for value in listed]
    pairs = zip(entries, np.maximum(positions, 0).tolist(), strict=True)
    return np.fromiter((type(entry.get(key)) is not types[at] for entry, at in pairs), bool)


def _mask(indices: list[int], length: int) -> np.ndarray:
    """A mask, bool `[length]`, of some indices."""
    mask = np.zeros(length, bool)
    mask[indices] = True
    return mask


def _areas(boxes: np.ndarray) -> np.ndarray:
    """`[n]`, the areas of xyxy boxes."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def _is_empty(boxes: np.ndarray) -> np.ndarray:
    """Whether an xyxy box has no area, bool `[n]`."""
    return np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_coordinate, value))


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and -_HUGE < value < _HUGE


_KINDS = {"no_object": "broken_annotation", "bad_value": "broken_annotation"}


def _explain(
    fault: str, entry: dict, index: int, position: int, images: Images, values: _Values
) -> str:
    """What is wrong with an annotation and the way out, as the rest of a sentence."""
    identity, owner, category, box = (
        reprlib.repr(entry.get(key)) for key in ("id", "image_id", "category_id", "bbox")
    )
    which = f"annotation {identity if 'id' in entry else f'number {index + 1}'}"
    if position >= 0:
        height, width = images.sizes[position]
        which += f" (of image {owner}, {images.names[position]!r}, {width}x{height})"
    told = {
        "no_object": f"annotation number {index + 1} is no object; repair or delete it",
        "unknown_image": f"{which} is of image {owner}, which is not listed; list it",
        "unknown_category": f"{which} has the category {category}, which is not listed; list it",
        "bad_box": f"{which} has the bbox {box}, not four finite numbers; correct or delete it",
        "no_area": f"{which} has the bbox {box}, which has no area; correct or delete it",
        "outside": f"{which} has the bbox {box}, all of it outside its image; correct or delete it",
        "bad_value": f"{which} {values.faults.get(index)}; correct or remove it",
    }[fault]
    for missing, key in (("unknown_image", "image_id"), ("unknown_category", "category_id")):
        if fault == missing and entry.get(key) in (None, ""):
            told = f"{which} has no {key} ({'null' if key in entry else 'missing'}); give it one"
    if fault == "bad_box" and entry.get("bbox") in (None, []):
        others = {"segmentation": "a segmentation", "keypoints": "keypoints"}
        if has := [name for key, name in others.items() if entry.get(key)]:
            told = (
                f"{which} has no bbox but {has[0]}; write the box around it as its bbox "
                "(pycocotools.mask.toBbox makes one of a segmentation)"
            )
    return f"{told}, {_SKIP_BOX if position >= 0 else _SKIP_ENTRY}"
