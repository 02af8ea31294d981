"""Data sets in the format of COCO's instances_*.json."""

import dataclasses
import json
import os
import pathlib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import numpy as np

from ioub_jax.data.checks import DataError, Problems
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.files import FileSource

# A box may leave its image by this many pixels, what rounding does, and is clipped.
_TOLERANCE = 1.0
# No coordinate or area is larger. The comparison is also False for NaN.
_HUGE = 1e15
_INT64 = range(-(2**63), 2**63)
# What an annotation may refer to besides the position of an image or a label.
_UNKNOWN, _LEFT_OUT = -1, -2

_CHECK_FILE = "set config.data.coco.*_annotations to an instances JSON."
_CHECK_ROOT = "check config.data.coco.root, or"
_CHECK_FOLDER = "set config.data.coco.*_images to the folder of the images"
_SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."
_SKIP_BOX = "or set config.data.on_error='skip' to leave the box out."

# A key that only another format has, in the file or in its first annotation, and what it is.
_OTHER_FORMATS = {
    "imagePath": "a labelme file of one image",
    "imgHeight": "a Cityscapes file of one image",
    "_via_img_metadata": "a project of the VGG Image Annotator",
    "caption": "a captions file",
    "segments_info": "a panoptic file",
    "score": "a results file",
}


class CocoSource(FileSource):
    """The images and boxes of a COCO-format instances JSON: COCO's own or anybody's.

    The labels follow the ids of the categories, whatever their order in the file. `area` is the
    annotation's, or the box's where it has none; `iscrowd` becomes `crowd`. Segmentations are
    never looked at. A file without 'annotations', such as COCO's image_info_test-dev2017.json,
    has images without objects. Images come in the order of the file.

    An image without 'height' or 'width' gets them from the header of its file, read here.

    With `on_error='skip'` a bad annotation is left out of its image and a bad image out of the
    data set (with its annotations), each with a `Problem` in `skipped`. What is wrong with the
    file as a whole or with its categories raises either way.

    Args:
        annotation_file: The JSON, in UTF-8 with or without a byte order mark.
        image_folder: What the file names of the images are relative to.
        classes: Names of categories, in the order of their labels: objects of the other categories
            are no objects then. None or empty for all categories, sorted by id.
        on_error: 'raise' or 'skip'.

    Raises:
        DataError: With one sentence, about the first thing that is wrong: in the categories, then
            the images, then the annotations, each in the order of the file.
        ValueError: If `on_error` is unknown.
    """

    def __init__(
        self,
        annotation_file: str | pathlib.Path,
        image_folder: str | pathlib.Path,
        classes: Sequence[str] | None = None,
        on_error: str = "raise",
    ) -> None:
        problems = Problems(on_error)
        path = pathlib.Path(annotation_file).expanduser()
        folder = pathlib.Path(image_folder).expanduser()
        content = _read_json(path)
        categories = _read_categories(content["categories"], path)
        chosen = _choose(categories, classes, path)
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder; {_CHECK_ROOT} {_CHECK_FOLDER}.", "folder"
            )
        images = _read_images(content["images"], path, folder, problems)
        labels = dict.fromkeys(categories.values(), _LEFT_OUT)
        labels |= {number: label for label, number in enumerate(chosen.values())}
        annotations = _read_objects(content["annotations"], images, labels, path, problems)
        super().__init__(
            annotations,
            images.paths,
            tuple(chosen),
            tuple(chosen.values()),
            problems.found,
            Census(len(content["images"]), len(content["annotations"]), changes=problems.changes),
        )


@dataclasses.dataclass(frozen=True)
class _Images:
    """The images that can be used.

    `positions` says where in the lists the image of an id is; `_LEFT_OUT` for one that is not.
    """

    ids: list[int]
    names: list[str]
    paths: list[str]
    sizes: list[tuple[int, int]]
    positions: dict[int, int]


def _read_json(path: pathlib.Path) -> dict:
    """The content of the file, with at least an empty list under each of its three keys."""
    try:
        content = json.loads(path.read_bytes(), object_hook=_without_segmentation)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); {_CHECK_ROOT} {_CHECK_FILE}",
            "missing_annotation",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: is empty, cut off or no JSON ({error}); copy or download it again, or "
            f"{_CHECK_FILE}",
            "broken_annotation",
        ) from error
    _check_format(content, path)
    content.setdefault("annotations", [])
    if not content["images"]:
        raise DataError(f"{path}: lists no images; {_CHECK_FILE}", "folder")
    return content


def _without_segmentation(entry: dict) -> dict:
    """Drops what takes nine tenths of the memory as soon as an annotation is parsed."""
    entry.pop("segmentation", None)
    return entry


def _check_format(content: object, path: pathlib.Path) -> None:
    """Raises `DataError` unless the content has the lists of an instances file."""
    known = _first_keys(content)
    fault = None
    if not isinstance(content, dict):
        fault = f"it holds a {type(content).__name__} instead of an object"
    elif lacking := [key for key in ("images", "categories") if key not in content]:
        keys = ", ".join(reprlib.repr(key) for key in list(content)[:9]) or "none"
        fault = f"it lacks {' and '.join(map(repr, lacking))} (its keys: {keys})"
    elif wrong := [
        key
        for key in ("images", "categories", "annotations")
        if not isinstance(content.get(key, []), list)
    ]:
        fault = f"its {wrong[0]!r} is no list"
    elif "segments_info" in known:
        fault = "its annotations have no boxes"
    if fault is not None:
        hints = [f", it looks like {name}" for key, name in _OTHER_FORMATS.items() if key in known]
        raise DataError(
            f"{path}: is no COCO instances file, {fault}{''.join(hints[:1])}; {_CHECK_FILE}",
            "broken_annotation",
        )


def _first_keys(content: object) -> set[str]:
    """The keys of the file, and of its first annotation or, in a list, its first entry."""
    entries = content.get("annotations") if isinstance(content, dict) else content
    first = entries[0] if isinstance(entries, list) and entries else None
    return {key for part in (content, first) if isinstance(part, dict) for key in part}


def _read_categories(entries: list, path: pathlib.Path) -> dict[str, int]:
    """The id of each category by its name, sorted by id."""
    ids: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        fields = entry if isinstance(entry, dict) else {}
        name, identity = fields.get("name"), fields.get("id")
        if isinstance(name, str) and name and _is_id(identity):
            if name not in ids and identity not in ids.values():
                ids[name] = identity
                continue
            fault = "has the id or name of another one; give each its own"
        else:
            fault = "needs an 'id' (an integer) and a 'name'; add them"
        raise DataError(
            f"{path}: category number {number} ({reprlib.repr(entry)}) {fault}, or {_CHECK_FILE}",
            "broken_annotation",
        )
    if not ids:
        raise DataError(f"{path}: lists no categories; {_CHECK_FILE}", "broken_annotation")
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _choose(
    categories: dict[str, int], classes: Sequence[str] | None, path: pathlib.Path
) -> dict[str, int]:
    """The categories that `classes` names, in that order."""
    chosen: dict[str, int] = {}
    for name in classes or categories:
        if name not in categories or name in chosen:
            fault = "twice" if name in chosen else "which is no category of the file"
            raise DataError(
                f"{path}: config.data.coco.classes names {name!r}, {fault}; choose each once from "
                f"{', '.join(categories)}.",
                "unknown_category",
            )
        chosen[name] = categories[name]
    return chosen


def _read_images(
    entries: list, path: pathlib.Path, folder: pathlib.Path, problems: Problems
) -> _Images:
    """The images of the file that are on disk, in its order."""
    images = _Images([], [], [], [], {})
    listing = _Listing()
    owners: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        fields = entry if isinstance(entry, dict) else {}
        which = f"{path}: image number {number}"
        try:
            identity, name = _read_image_name(fields, which, images.positions, owners)
            image_path = os.path.join(folder, name)
            if image_path not in listing:
                raise DataError(
                    f"{image_path}: is missing (image {identity} of {path.name}); add the file or "
                    f"{_CHECK_FOLDER}, {_SKIP_IMAGE}",
                    "missing_image",
                )
            size = _read_size(fields, image_path, f"{which} (id {identity}, {name!r})")
        except DataError as error:
            problems.add_error(error)
            if _is_id(fields.get("id")):
                images.positions.setdefault(fields["id"], _LEFT_OUT)
            continue
        images.positions[identity] = len(images.ids)
        owners[name] = identity
        images.ids.append(identity)
        images.names.append(name)
        images.paths.append(image_path)
        images.sizes.append(size)
    if not images.ids:
        raise DataError(
            f"{path}: none of its {len(entries)} images can be used, the first because of "
            f"{problems.found[0]}",
            "folder",
        )
    return images


def _read_image_name(
    entry: dict, which: str, positions: dict[int, int], owners: dict[str, int]
) -> tuple[int, str]:
    """The id and the file name of an image, which no image before it has."""
    identity, name = entry.get("id"), entry.get("file_name")
    which = f"{which} (id {reprlib.repr(identity)}, {reprlib.repr(name)})"
    kind = "broken_annotation"
    if not _is_id(identity):
        fault = "has an id that is no integer of 64 bits; give it one"
    elif not (isinstance(name, str) and name and min(name) >= " "):  # no control characters
        fault = "has a file_name that is no name; correct it"
    elif identity in positions:
        kind, fault = "duplicate_image", "has the id of another image; give each its own"
    elif name in owners:
        kind, fault = "duplicate_image", f"has the file of image {owners[name]}; list it once"
    else:
        return identity, name
    raise DataError(f"{which} {fault}, {_SKIP_IMAGE}", kind)


def _read_size(entry: dict, image_path: str, which: str) -> tuple[int, int]:
    """The annotated height and width of an image, or those of its file where one is missing."""
    height, width = entry.get("height"), entry.get("width")
    if height is None or width is None:
        return _read_header(image_path)
    if not all(_is_number(side) and side >= 1 and side == int(side) for side in (height, width)):
        raise DataError(
            f"{which} has the height {reprlib.repr(height)} and width {reprlib.repr(width)}; "
            f"correct them or remove them, {_SKIP_IMAGE}",
            "broken_annotation",
        )
    return int(height), int(width)


def _read_header(image_path: str) -> tuple[int, int]:
    """Height and width as an image file's header gives them; its pixels are not decoded."""
    # OpenCV cannot read a header alone. Few data sets need this, so others do not load Pillow.
    import PIL.Image

    try:
        with PIL.Image.open(image_path) as image:
            return image.height, image.width
    except OSError as error:
        raise DataError(
            f"{image_path}: is no image with a readable size, and its annotation gives none; "
            f"replace the file, {_SKIP_IMAGE}",
            "unreadable_image",
        ) from error


class _Listing:
    """Which files exist, by listing each folder once: asking for each file is slow on NFS."""

    def __init__(self) -> None:
        self._folders: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            try:
                with os.scandir(folder) as entries:
                    self._folders[folder] = {entry.name for entry in entries if entry.is_file()}
            except (OSError, ValueError):
                self._folders[folder] = set()
        # A file system that ignores case or normalises Unicode has files under other names.
        return name in self._folders[folder] or os.path.isfile(path)


def _read_objects(
    entries: list, images: _Images, labels_of: dict, path: pathlib.Path, problems: Problems
) -> Annotations:
    """The objects of all images, vectorised: COCO has 860,000."""
    fields = [entry if isinstance(entry, dict) else {} for entry in entries]
    positions = _look_up(images.positions, (entry.get("image_id") for entry in fields))
    labels = _look_up(labels_of, (entry.get("category_id") for entry in fields))
    sizes = np.array(images.sizes, np.int64)
    # The last row stands for annotations without an image.
    limits = np.vstack([sizes[:, ::-1], [[1, 1]]])[np.maximum(positions, -1)]
    corners = _read_corners(fields)
    boxes = np.clip(corners, 0, np.tile(limits, 2)).astype(np.float32)
    faults = {
        "broken_annotation": np.array([not isinstance(entry, dict) for entry in entries], bool),
        "unknown_image": positions == _UNKNOWN,
        "unknown_category": labels == _UNKNOWN,
        "duplicate_annotation": _is_repeated(entry.get("id") for entry in fields),
        "bad_box": np.isnan(corners).any(axis=1),
        # A box may also be too thin for float32.
        "no_area": _is_empty(corners) | (_is_empty(boxes) & ~_is_outside(corners, limits)),
        "outside": _is_outside(corners, limits),
    }
    wanted = (positions != _LEFT_OUT) & (labels != _LEFT_OUT)
    is_bad = np.logical_or.reduce(list(faults.values()))
    for index in np.flatnonzero(wanted & is_bad):
        kind = next(kind for kind, is_faulty in faults.items() if is_faulty[index])
        sentence = _explain(kind, fields[index], int(index) + 1, int(positions[index]), images)
        problems.add(kind, f"{path}: {sentence}")
    kept = np.flatnonzero(wanted & ~is_bad)
    kept = kept[np.argsort(positions[kept], kind="stable")]
    counts = np.bincount(positions[kept], minlength=len(sizes))
    return Annotations(
        np.array(images.ids, np.int64),
        sizes,
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        boxes[kept],
        labels[kept].astype(np.int32),
        np.array([fields[index].get("iscrowd") == 1 for index in kept], bool),
        np.zeros(len(kept), bool),
        np.zeros(len(kept), bool),
        _read_areas([fields[index].get("area") for index in kept], boxes[kept]),
    )


def _look_up(numbers: dict, keys: Iterable[object]) -> np.ndarray:
    """int64 `[n]`, the number of each key; `_UNKNOWN` for one that has none."""
    # Only what is a number can be looked up: a list is no key, and no id is a string.
    found = (numbers.get(key, _UNKNOWN) if isinstance(key, int) else _UNKNOWN for key in keys)
    return np.fromiter(found, np.int64)


def _is_repeated(identities: Iterable[object]) -> np.ndarray:
    """Whether an id occurred before, bool `[n]`; what has no integer id repeats nothing."""
    seen: set[object] = set()
    repeated = []
    for identity in identities:
        known = isinstance(identity, int)
        repeated.append(known and identity in seen)
        seen.add(identity if known else None)
    return np.array(repeated, bool)


def _read_corners(entries: list[dict]) -> np.ndarray:
    """float64 `[n, 4]`, the xyxy of each bbox (xywh); NaN where that is not four numbers."""
    nothing = [np.nan] * 4
    written = (entry.get("bbox") for entry in entries)
    boxes = np.array([box if _is_box(box) else nothing for box in written], np.float64)
    boxes = boxes.reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _read_areas(values: list, boxes: np.ndarray) -> np.ndarray:
    """float32 `[n]`, the annotated areas, or the box's where there is none."""
    written = np.array([value if _is_number(value) else -1 for value in values], np.float32)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.where(written >= 0, written, areas).astype(np.float32)


def _is_empty(boxes: np.ndarray) -> np.ndarray:
    """Whether an xyxy box has no area, bool `[n]`."""
    return np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)


def _is_outside(corners: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Whether a box leaves its image by more than rounding or is all outside, bool `[n]`."""
    beyond = (corners[:, :2] < -_TOLERANCE) | (corners[:, 2:] > limits + _TOLERANCE)
    elsewhere = (corners[:, 2:] <= 0) | (corners[:, :2] >= limits)
    return np.any(beyond | elsewhere, axis=1)


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_HUGE < value < _HUGE


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and value in _INT64


def _explain(kind: str, entry: dict, number: int, position: int, images: _Images) -> str:
    """What is wrong with an annotation and the way out, as the rest of a sentence."""
    identity, owner, category, box = (
        reprlib.repr(entry.get(key)) for key in ("id", "image_id", "category_id", "bbox")
    )
    which = f"annotation {identity if 'id' in entry else f'number {number}'}"
    if position >= 0:
        height, width = images.sizes[position]
        which += f" (of image {owner}, {images.names[position]!r}, {width}x{height})"
    fault = {
        "broken_annotation": f"annotation number {number} is no object; repair or delete it",
        "unknown_image": f"{which} is of image {owner}, which is not listed; list it",
        "unknown_category": f"{which} has the category {category}, which is not listed; list it",
        "duplicate_annotation": f"{which} has the id of another annotation; give each its own",
        "bad_box": f"{which} has the bbox {box}, not four finite numbers; correct or delete it",
        "no_area": f"{which} has the bbox {box}, which has no area; correct or delete it",
        "outside": f"{which} has the bbox {box}, outside its image; correct or delete it",
    }[kind]
    return f"{fault}, {_SKIP_BOX}"
