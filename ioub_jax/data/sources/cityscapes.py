"""Cityscapes in the layout of its devkit: leftImg8bit and the polygons of gtFine."""

import json
import os
import pathlib
import reprlib
from typing import Any

import cv2
import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import Census, Example, create_example
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.data.sources.regions import ignored_regions

#: The classes whose instances Cityscapes evaluates, with the devkit's label ids.
CITYSCAPES_CATEGORIES = {
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
# The devkit's other labels. Their polygons are not objects but cover what lies behind them.
_OTHER_LABELS = {
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic"),
    *("ground", "road", "sidewalk", "parking", "rail track", "building", "wall", "fence"),
    *("guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "caravan", "trailer"),
}
# The devkit does not draw this label: the car behind it stays visible.
_TRANSPARENT = "license plate"
_GROUP = "group"
# Limit of coordinates, since OpenCV draws polygons in fixed-point numbers; no image is this large.
_LARGEST = 2**15

_CHECK_ROOT = "set config.data.cityscapes.root to the folder with leftImg8bit and gtFine."
_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."
_SKIP_OBJECT = "or set config.data.on_error='skip' to leave the object out."


class CityscapesSource(FileSource):
    """The images of one split of Cityscapes with the boxes of its eight instance classes.

    A box encloses the visible part of an object, as in the devkit's instanceIds images
    (json2instanceImg.py): the polygons are drawn in the order of the file, later polygons cover
    earlier ones, and an edge belongs to its polygon. A box around the columns x0..x1 reaches from
    x0 to x1 + 1. The polygons are drawn with OpenCV here and with Pillow in the devkit, so that a
    few boxes differ by a pixel. `area` is the number of visible pixels. An object that is covered
    completely is left out, and deleted objects are not drawn. Objects with the same label and
    polygon are read once, and a polygon that sticks out of its image is clipped to it; `census`
    counts both. Each group ('cargroup') is a crowd of its class with its own box.

    `image_id` is the position in the sorted list of images, from 1; it does not depend on which
    images are skipped. The published annotations of the test split contain no objects.

    With `on_error='skip'` a bad object that may be of one of the classes becomes a region to
    ignore, and a bad image is left out of the data set, each with a `Problem` in `skipped`.

    Args:
      root: the folder that contains leftImg8bit and gtFine.
      split: 'train', 'val' or 'test'.
      on_error: 'raise' or 'skip'.

    Raises:
      DataError: the data set cannot be used; its sentence is about the first fault.
      ValueError: `on_error` is unknown.
    """

    def __init__(self, root: str | pathlib.Path, split: str, on_error: str = "raise") -> None:
        problems = Problems(on_error)
        folder = pathlib.Path(root).expanduser()
        images = _list_files(folder / "leftImg8bit" / split, "_leftImg8bit.png")
        polygons = _list_files(folder / "gtFine" / split, "_gtFine_polygons.json")
        paths, sizes, examples, boxes = [], [], [], 0
        for image_id, name in enumerate(sorted(images | polygons), start=1):
            try:
                if name not in polygons:
                    raise _missing(folder, "gtFine", split, f"{name}_gtFine_polygons.json")
                size, objects = _read_polygons(polygons[name])
                if name not in images:
                    boxes += _count_objects(objects)
                    raise _missing(folder, "leftImg8bit", split, f"{name}_leftImg8bit.png")
            except DataError as error:
                problems.add_error(error)
                continue
            examples.append(_read_objects(objects, size, image_id, polygons[name], problems))
            paths.append(str(images[name]))
            sizes.append(size)
        if not paths:
            reason = f", the first because of {problems.found[0]}" if problems.found else "."
            raise DataError(
                f"{folder}: none of the {len(images)} images of split {split!r} can be used"
                f"{reason}",
                "folder",
            )
        annotations = collect_annotations(examples, np.array(sizes))
        classes, ids = tuple(CITYSCAPES_CATEGORIES), tuple(CITYSCAPES_CATEGORIES.values())
        boxes += len(annotations.boxes) + problems.changes["repeated"]
        census = Census(len(images | polygons), boxes, changes=problems.changes)
        super().__init__(annotations, paths, classes, ids, problems.found, census)


def _list_files(folder: pathlib.Path, suffix: str) -> dict[str, pathlib.Path]:
    """The files of all cities in a split, by 'city/name' without the suffix."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: there is no such folder; {_CHECK_ROOT}", "folder")
    files = {
        f"{city.name}/{path.name.removesuffix(suffix)}": path
        for city in folder.iterdir()
        if os.path.isdir(city)
        for path in city.iterdir()
        if path.name.endswith(suffix)
    }
    if not files:
        raise DataError(f"{folder}: has no */*{suffix}; {_CHECK_ROOT}", "folder")
    return files


def _missing(folder: pathlib.Path, part: str, split: str, name: str) -> DataError:
    other, kind = ("an annotation", "missing_image")
    if part == "gtFine":
        other, kind = ("an image", "missing_annotation")
    return DataError(
        f"{folder / part / split / name}: is missing although there is {other}; add the file, "
        f"{_SKIP_IMAGE}",
        kind,
    )


def _read_polygons(path: pathlib.Path) -> tuple[tuple[int, int], list]:
    """Height and width of an image, and its objects as written in its annotation file."""
    try:
        content = json.loads(path.read_bytes())
        height, width, objects = (content[key] for key in ("imgHeight", "imgWidth", "objects"))
        if not all(type(side) is int and 0 < side < _LARGEST for side in (height, width)):
            raise ValueError(f"imgHeight and imgWidth are {height!r} and {width!r}")
        if not isinstance(objects, list):
            raise ValueError("objects is not a list")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: is not a JSON with imgHeight, imgWidth and objects "
            f"({type(error).__name__}: {error}); copy or download it again, {_SKIP_IMAGE}",
            "broken_annotation",
        ) from error
    return (height, width), objects


def _count_objects(entries: list) -> int:
    """The number of objects of an image that is left out, visible or not."""
    labels = [entry.get("label") for entry in entries if isinstance(entry, dict)]
    names = [str(label).removesuffix(_GROUP) for label in labels]
    return sum(name in CITYSCAPES_CATEGORIES for name in names)


def _read_objects(
    entries: list, size: tuple[int, int], image_id: int, path: pathlib.Path, problems: Problems
) -> Example:
    """The visible objects of one image, and regions to ignore in place of bad objects."""
    classes = list(CITYSCAPES_CATEGORIES)
    polygons: dict[tuple[str, bool, bytes], np.ndarray] = {}
    regions, region_labels = [], []
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, dict) and entry.get("deleted") == 1:
            continue
        name, points = None, entry.get("polygon") if isinstance(entry, dict) else None
        try:
            name, is_group = _read_label(entry, f"{path}: object number {number}")
            if name == _TRANSPARENT:
                continue
            polygon = _read_polygon(points, size, f"{path}: object number {number} ({name})")
        except DataError as error:
            problems.add_error(error)
            if name is None or name in classes:  # other labels are not objects
                regions.append(_extent(points))
                region_labels.append(-1 if name is None else classes.index(name))
            continue
        key = name, is_group, polygon.tobytes()
        if polygons.pop(key, None) is not None:  # drawn in the place of the last one
            problems.note("repeated", name in classes)
        polygons[key] = polygon
    labels = np.array([classes.index(key[0]) if key[0] in classes else -1 for key in polygons], int)
    chosen = np.flatnonzero(labels >= 0)
    drawn = list(polygons.values())
    boxes, area = visible_boxes(drawn, chosen, size)
    kept = chosen[area > 0]
    for index in kept:
        is_beyond = (drawn[index] < 0).any() or (drawn[index] > size[::-1]).any()
        problems.note("clipped", is_beyond)
    groups = np.array([key[1] for key in polygons], bool)
    left = ignored_regions(np.array(regions), np.array([size] * len(regions)))
    sides = left[:, 2:] - left[:, :2]
    none = np.zeros(len(left), bool)
    return create_example(
        np.concatenate([boxes[area > 0], left]),
        np.concatenate([labels[kept], np.array(region_labels, int)]),
        image_id,
        crowd=np.concatenate([groups[kept], none]),
        ignored=np.concatenate([np.zeros(len(kept), bool), ~none]),
        area=np.concatenate([area[area > 0], sides.prod(axis=1)]),
    )


def _extent(points: Any) -> np.ndarray:
    """The box around the corners of a polygon, float64 `[4]`; NaN if they are not numbers."""
    corners = _to_corners(points)
    if corners is None or len(corners) == 0:
        return np.full(4, np.nan)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0) + 1])


def _read_label(entry: Any, which: str) -> tuple[str, bool]:
    """The devkit's label of an object, and whether the object is a group."""
    label = entry.get("label") if isinstance(entry, dict) else None
    if not isinstance(label, str):
        raise DataError(
            f"{which} has no label; correct or delete it, {_SKIP_OBJECT}", "broken_annotation"
        )
    if label in CITYSCAPES_CATEGORIES or label in _OTHER_LABELS or label == _TRANSPARENT:
        return label, False
    name = label.removesuffix(_GROUP)
    if name == label or not (name in CITYSCAPES_CATEGORIES or name in _OTHER_LABELS):
        raise DataError(
            f"{which} has the label {label!r}, which the devkit does not have; correct it, "
            f"{_SKIP_OBJECT}",
            "unknown_category",
        )
    return name, True


def _read_polygon(points: Any, size: tuple[int, int], which: str) -> np.ndarray:
    """The pixels (x, y) of the corners, int32 `[n, 2]`; raises `DataError` if they are invalid."""
    corners = _to_corners(points)
    if corners is None or not (np.abs(corners) < _LARGEST).all():
        kind, fault = "bad_box", "is not a list of pairs of finite numbers"
    elif len(corners) < 3:
        kind, fault = "no_area", f"has {len(corners)} corners and therefore no area"
    elif (corners.max(axis=0) < 0).any() or (corners.min(axis=0) >= size[::-1]).any():
        kind, fault = "outside", f"is outside its image of {size[1]}x{size[0]}"
    else:
        return corners.astype(np.int32)
    raise DataError(
        f"{which} has a polygon, {reprlib.repr(points)}, that {fault}; correct or delete it, "
        f"{_SKIP_OBJECT}",
        kind,
    )


def _to_corners(points: Any) -> np.ndarray | None:
    """The corners rounded to pixels, float64 `[n, 2]`; None if it is not a list of pairs."""
    try:
        corners = np.array(points)
    except ValueError:  # lists of different lengths
        return None
    if points == []:
        return corners.reshape(0, 2)
    if corners.dtype.kind not in "iuf" or corners.shape[1:] != (2,):
        return None
    return np.rint(corners.astype(np.float64))


def visible_boxes(
    polygons: list[np.ndarray], chosen: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of the visible parts of some polygons, each of which covers those before it.

    Args:
      polygons: int32 `[n, 2]` each, the pixels (x, y) of the corners, in drawing order.
      chosen: int64 `[m]`, positions of the polygons whose boxes are computed, ascending.
      size: height and width of the image.

    Returns:
      boxes float32 `[m, 4]`, xyxy, right and bottom edge exclusive, and the number of visible
      pixels float32 `[m]`. Both are 0 where nothing is visible.
    """
    boxes, area = np.zeros((len(chosen), 4), np.float32), np.zeros(len(chosen), np.float32)
    if len(chosen) == 0:
        return boxes, area
    canvas = np.zeros(size, np.int32)
    # Polygons before the first chosen one, mostly the road and the sky, cover none of the chosen.
    for number in range(chosen[0], len(polygons)):
        cv2.fillPoly(canvas, [polygons[number]], number + 1)
    for row, number in enumerate(chosen):
        left, top = np.maximum(polygons[number].min(axis=0), 0)
        right, bottom = polygons[number].max(axis=0) + 1
        visible = (canvas[top:bottom, left:right] == number + 1).view(np.uint8)
        x, y, width, height = cv2.boundingRect(visible)
        boxes[row] = (x + left, y + top, x + left + width, y + top + height)
        area[row] = cv2.countNonZero(visible)
    return boxes * (area > 0)[:, None], area
