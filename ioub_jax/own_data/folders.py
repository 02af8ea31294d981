"""Search for a data set of any format in a folder, and for the keys that open it."""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import coco_layout, tfds_records, voc_layout, yolo_layout

#: Description of the validation split if the data set has no images for validation.
HELD_OUT = "held out of these"
_HELD_OUT = 0.1
_ORDER: tuple[str, ...] = ("train", "val", "test")
# To describe a folder without a data set, its files are counted up to about this number.
_MOST_FILES = 5_000


@dataclasses.dataclass(frozen=True)
class Found:
    """A data set in a folder.

    Attributes:
      format: a key of `FORMATS`.
      title: name of the format.
      place: the folder of the data set, or a file in it.
      keys: values of the configuration keys that open the data set, by key without `config.`.
      splits: descriptions of 'train', 'val' and 'test'; a split that does not exist is absent.
      notes: remarks on the data set, one sentence each.
      others: names of other formats of which the folder has a data set, too.
    """

    format: str
    title: str
    place: pathlib.Path
    keys: Mapping[str, Any]
    splits: Mapping[str, str]
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def find(path: str | os.PathLike[str], data_format: str | None = None) -> Found:
    """Finds the data set in a folder.

    If there are no images for validation, a tenth of the training images is held out for it; images
    for a test are not used as a substitute.

    Args:
      path: a folder, or a file that describes a data set: a JSON, a data.yaml or an obj.data.
      data_format: a key of `FORMATS`; None for the first of them that is found.

    Raises:
      DataError: the folder does not exist, contains no data set, or contains a broken one.
    """
    place = pathlib.Path(path).expanduser()
    if not os.path.exists(place):
        raise DataError(
            f"{place}: there is no such file or folder; give the folder of the data set as --data.",
            "folder",
        )
    tried = FORMATS if data_format is None else {data_format: FORMATS[data_format]}
    failures: dict[str, DataError] = {}
    found: list[Found] = []
    for name, (_, look) in tried.items():
        try:
            one = look(place)
        except DataError as error:  # the data set has this format, but is broken
            failures[name] = error
            continue
        if one is not None:
            found.append(one)
    if not found and failures:
        raise next(iter(failures.values()))
    if not found:
        raise DataError(_what_is_there(place, data_format), "folder")
    others = tuple(FORMATS[one.format][0] for one in found[1:])
    broken = tuple(f"In {FORMATS[name][0]}, it is broken: {e}" for name, e in failures.items())
    notes = (*found[0].notes, *broken)
    return _with_validation(dataclasses.replace(found[0], others=others, notes=notes))


def _with_validation(found: Found) -> Found:
    """The data set with held-out validation images if it has none of its own."""
    if "val" in found.splits:
        return found
    note = (
        "There are no validation images: a tenth of the training images, stratified by class, is "
        "held out as such (data.split.val)."
    )
    keys = {**found.keys, "data.split.val": _HELD_OUT}
    named = {**found.splits, "val": HELD_OUT}
    splits: dict[str, str] = {split: named[split] for split in _ORDER if split in named}
    return dataclasses.replace(found, keys=keys, splits=splits, notes=(*found.notes, note))


# ------------------------------------------------------------------ search by format


def _coco(path: pathlib.Path) -> Found | None:
    layout = coco_layout.find_layout(path)
    if layout is None:
        return None
    splits, notes = {}, []
    for split, listed in layout.splits.items():
        names = " and ".join(os.path.relpath(file.path, layout.root) for file in listed)
        folders = {os.path.relpath(file.images, layout.root) for file in listed if file.images}
        places = " and ".join(f"{folder}/" for folder in sorted(folders))
        splits[split] = f"{names} with images from {places}"
        for file in listed:
            if file.images is None:
                splits[split] = f"{names}, whose images are missing"
                notes.append(
                    f"None of the images that {file.path} lists is below {layout.root}: put them "
                    "there."
                )
    notes.extend(
        f"{os.path.relpath(file, layout.root)} is not used: {why}."
        for file, why in layout.unused.items()
    )
    return _found("coco", layout.root, layout.keys(), splits, notes)


def _voc(path: pathlib.Path) -> Found | None:
    layout = voc_layout.find_layout(path) if os.path.isdir(path) else None
    if layout is None:
        return None
    kept = dict(layout.splits)
    if kept.get("val") == kept.get("test"):  # one of them substitutes for the other
        kept.pop("val", None)
    splits = {}
    for name, split in kept.items():
        where = " and ".join(split.folders)
        of = "all images" if split.split == "all" else f"list {split.split}"
        splits[name] = of if where == "." else f"{of} of {where}"
    notes = [
        f"{other} seems to be another data set of this format; give it as --data to use that."
        for other in layout.others
    ]
    keys = dataclasses.replace(layout, splits=kept).keys()
    return _found("voc", layout.root, keys, splits, notes)


def _yolo(path: pathlib.Path) -> Found | None:
    layout = yolo_layout.find(path)
    if layout is None:
        return None
    place = layout.description or layout.folder
    splits = {name: " and ".join(places) for name, places in layout.splits.items()}
    keys = {"data.yolo.root": str(place)}
    if tuple(splits) == (yolo_layout.ALL,):
        splits = {"train": "all images"}
        keys["data.yolo.train_split"] = yolo_layout.ALL
    notes = []
    if layout.names is None:
        notes = ["No file names the classes: they are named by their numbers."]
    return _found("yolo", place, keys, splits, notes)


def _cityscapes(path: pathlib.Path) -> Found | None:
    if not all(os.path.isdir(path / name) for name in ("leftImg8bit", "gtFine")):
        return None
    names = sorted(entry.name for entry in (path / "gtFine").iterdir() if entry.is_dir())
    splits = {name: f"leftImg8bit/{name}" for name in names if name in ("train", "val")}
    return _found("cityscapes", path, {"data.cityscapes.root": str(path)}, splits)


def _tfds(path: pathlib.Path) -> Found | None:
    """Finds a data set prepared by TFDS in the folder of a version, a data set or all data sets."""
    if not os.path.isdir(path):
        return None
    levels = ("*/" * depth for depth in range(4))
    prepared = [file for level in levels for file in sorted(path.glob(f"{level}features.json"))]
    if not prepared:
        return None
    owners = sorted({file.parents[1] for file in prepared})
    if len(owners) > 1:
        names = ", ".join(str(owner.relative_to(path)) for owner in owners)
        raise DataError(
            f"{path}: holds several prepared data sets ({names}); give the folder of one as "
            "--data.",
            "folder",
        )
    version = max((file.parent for file in prepared), key=tfds_records.version_number).resolve()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        information = json.loads((version / "dataset_info.json").read_text(encoding="utf-8"))
        known = {str(split["name"]) for split in information["splits"]}
        has_config = information.get("configName") == version.parent.name
        data_dir = version.parents[2 if has_config else 1]
        keys = {
            "data.tfds.name": f"{version.parent.relative_to(data_dir)}:{version.name}",
            "data.tfds.data_dir": str(data_dir),
        }
        roles = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
        splits = {role: name for role, names in roles.items() for name in names if name in known}
        keys |= {f"data.tfds.{role}_split": name for role, name in splits.items()}
        return _found("tfds", version, keys, splits)
    raise DataError(
        f"{version / 'dataset_info.json'}: this is not the file that TFDS writes beside "
        "features.json; prepare the data set again.",
        "folder",
    )


def _found(
    name: str,
    place: pathlib.Path,
    keys: Mapping[str, Any],
    splits: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Found:
    keys = {"data.source": name, **keys}
    return Found(name, FORMATS[name][0], place, keys, splits, tuple(notes))


#: `config.data.source` -> the name of the format, and the function that finds a data set in it. The
#: formats that are recognized most reliably come first.
FORMATS: dict[str, tuple[str, Callable[[pathlib.Path], Found | None]]] = {
    "tfds": ("a data set prepared by TFDS", _tfds),
    "cityscapes": ("Cityscapes", _cityscapes),
    "coco": ("COCO JSON", _coco),
    "yolo": ("YOLO", _yolo),
    "voc": ("VOC XML", _voc),
}


# ------------------------------------------------------------------ folders without a data set


def _what_is_there(path: pathlib.Path, data_format: str | None) -> str:
    """A sentence on the content of a folder without a data set, and on the known formats."""
    wanted = FORMATS[data_format][0] if data_format else "data set of a known format"
    if os.path.isfile(path):
        return (
            f"{path}: is no {wanted}; give a folder, a JSON in COCO's format, a data.yaml or an "
            "obj.data as --data."
        )
    counts: collections.Counter[str] = collections.Counter()
    for _, _, names in os.walk(path):
        counts.update(pathlib.Path(name).suffix.lower() or name for name in names)
        if counts.total() > _MOST_FILES:
            break
    listed = ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common(4))
    return (
        f"{path}: there is no {wanted} ({listed or 'no file at all'}); what can be read is COCO's "
        "JSON, YOLO's rows of numbers, VOC's XML, Cityscapes and data sets prepared by TFDS "
        "(docs/data.md), which converters such as datumaro, FiftyOne or Roboflow can write."
    )
