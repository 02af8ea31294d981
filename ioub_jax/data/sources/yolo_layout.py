"""Layout of a YOLO data set's folder: the file with the class names, and where each split lies."""

import collections
import dataclasses
import functools
import logging
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES
from ioub_jax.data.sources.yolo_description import (
    Description,
    may_be_description,
    read_description,
)
from ioub_jax.data.sources.yolo_images import SplitImages
from ioub_jax.data.sources.yolo_labels import LabelFolders, is_label_file
from ioub_jax.data.sources.yolo_names import find_names_file, read_names
from ioub_jax.data.sources.yolo_places import Place, Places

_log = logging.getLogger(__name__)

#: Name of the split that consists of all images.
ALL = "all"
_SPLIT = re.compile(r"(?:autosplit_)?(train|val|test)(?:ing|id|idation)?[-_ ]?\d*", re.IGNORECASE)
# If a folder has several descriptions, those with these names take precedence.
_DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data")
# Subfolders in which darknet's description may lie.
_DARKNET_FOLDERS = ("data", "cfg")
# If none of this many images has a label file, the folder is taken to be in another format.
_LOOKED_AT = 500


@dataclasses.dataclass(frozen=True)
class YoloLayout:
    """Parts of a YOLO data set that were found.

    Attributes:
      folder: the data set's folder.
      description: its data.yaml or obj.data; None if it has none.
      names_file: the file that names the classes: the description, or a list such as classes.txt;
        None if no file names them.
      names: the name of each class id, sorted by the ids; None if no file names them.
      keypoint_numbers: how many numbers of a row belong to keypoints (`kpt_shape`); 0 without
        keypoints.
      splits: the folders and lists of each split, as written in the description or as found in the
        folder. A folder that is not divided into splits has the single split 'all'.
    """

    folder: pathlib.Path
    description: pathlib.Path | None
    names_file: pathlib.Path | None
    names: Mapping[int, str] | None
    keypoint_numbers: int
    splits: Mapping[str, tuple[str, ...]]
    _places: Places
    _found: Mapping[str, tuple[str, ...]]

    def images(self, split: str) -> list[pathlib.Path]:
        """The image files of a split that exist, in their order.

        Args:
          split: one of `splits`, 'all' for all of them, or a folder or a list.

        Raises:
          DataError: there is no such split, or it has no image.
        """
        return [pathlib.Path(path) for path in self.listed(split).paths]

    def listed(self, split: str) -> SplitImages:
        """The images of a split as from `images`, with the missing entries of its lists."""
        images = SplitImages()
        for place in self._places_of(split):
            images.add(place, self._places.folders)
        if not images.paths:
            raise self._empty(split, images.missing)
        return images

    def _places_of(self, split: str) -> list[pathlib.Path]:
        if split in self.splits:
            return self._places_of_split(split)
        if split == ALL:
            return [place for name in self.splits for place in self._places_of_split(name)]
        alias = _split_name(split)
        if alias is not None and alias in self.splits:
            return self._places_of_split(alias)
        place = self._places.find(split)
        if place is None or not place.is_written:
            raise self._no_split(split)
        return [place.path]

    def _places_of_split(self, split: str) -> list[pathlib.Path]:
        """The folders and lists of a split; if one is missing, those found in the folder."""
        found = []
        for written in self.splits[split]:
            path = self._place(written)
            if path is None and split in self._found:
                found = [pathlib.Path(other) for other in self._found[split]]
                _tell_moved(self.description, split, written, found[0])
                return found
            if path is None:
                raise DataError(
                    f"{self.description}: {split} is {written!r}, which does not exist; correct "
                    "it, or add what it names.",
                    "folder",
                )
            found.append(path)
        return found

    def _place(self, written: str) -> pathlib.Path | None:
        """The place that a written path means; None if there is none or another path means it."""
        places = self._all_places
        place = places[written]
        if place is None or place.is_written:
            return None if place is None else place.path
        others = (other for name, other in places.items() if name != written and other is not None)
        if any(os.path.samefile(other.path, place.path) for other in others):
            return None
        _tell_moved(self.description, None, written, place.path)
        return place.path

    @functools.cached_property
    def _all_places(self) -> dict[str, Place | None]:
        written = [place for places in self.splits.values() for place in places]
        return {one: self._places.find(one) for one in written}

    def _no_split(self, split: str) -> DataError:
        names = ", ".join(map(repr, self.splits))
        where = self.description or self.folder
        way_out = f"choose one of {names} in config.data.yolo"
        if tuple(self.splits) == (ALL,):
            way_out = "set config.data.yolo.train_split=all to train on its images"
        return DataError(
            f"{where}: has no split {split!r} (there is {names or 'none'}); {way_out}, or give a "
            "folder or a list of images there.",
            "folder",
        )

    def _empty(self, split: str, missing: Sequence[tuple[pathlib.Path, int, str]]) -> DataError:
        if missing:
            path, line, name = missing[0]
            return DataError(
                f"{path}: none of the {len(missing):,} images that it lists exists, the first is "
                f"{name!r} (line {line}); add them below {self.folder}.",
                "missing_image",
            )
        place = self._places_of(split)[0]
        return DataError(
            f"{place}: there is no image ({', '.join(sorted(IMAGE_SUFFIXES))}) of the split "
            f"{split!r}; add some, or choose another in config.data.yolo.",
            "folder",
        )


def _tell_moved(
    description: pathlib.Path | None, split: str | None, written: str, found: pathlib.Path
) -> None:
    what = f"{split} is {written!r}, which" if split else f"{written!r}"
    _log.info("%s: %s is read as %s.", description, what, found)


# ------------------------------------------------------------------ search for the parts


def find(path: str | os.PathLike[str]) -> YoloLayout | None:
    """Finds the parts of a YOLO data set in a folder.

    Args:
      path: the folder, or the data.yaml or obj.data in it.

    Returns:
      the layout; None if there is no YOLO data set.

    Raises:
      DataError: a part of the data set, such as a YAML or a list of names, is broken, or there are
        several descriptions.
    """
    path = pathlib.Path(os.path.abspath(os.path.expanduser(path)))
    is_folder = os.path.isdir(path)
    folder = path if is_folder else path.parent
    if not is_folder and not (os.path.isfile(path) and may_be_description(path)):
        return None
    description = _description_in(folder) if is_folder else read_description(path)
    if description is None:
        for below in _DARKNET_FOLDERS:
            if (described := _darknet_description_in(folder / below)) is not None:
                return find(described)
    found = _splits_in(folder)
    if description is None and not _has_labels(found):
        return None
    splits = found if description is None else {**_without_all(found), **description.splits}
    return _layout(folder, description, splits or found, found)


def open_layout(path: str | os.PathLike[str]) -> YoloLayout:
    """Finds the parts of a YOLO data set as `find` does, in a folder that must contain one.

    Raises:
      DataError: there is no YOLO data set, or for the reasons in `find`.
    """
    if not os.fspath(path):
        raise DataError(
            "config.data.yolo.root is not set; set it to the folder with the data.yaml, or with "
            "the images and labels.",
            "folder",
        )
    layout = find(path)
    if layout is None:
        raise DataError(f"{path}: {_why_not(pathlib.Path(path).expanduser())}", "folder")
    return layout


def _why_not(path: pathlib.Path) -> str:
    if not os.path.exists(path):
        return "there is no such folder; correct config.data.yolo.root."
    if os.path.isfile(path):
        read_description(path)  # raises an error if the file is broken
        return "does not describe a data set; set config.data.yolo.root to the folder."
    below = [folder for folder in sorted(path.iterdir()) if os.path.isdir(folder)]
    inside = [folder for folder in below if any(map(may_be_description, _candidates(folder)))]
    if inside:
        return f"has no data.yaml itself; set config.data.yolo.root to {inside[0]}."
    return (
        "has neither a data.yaml or obj.data nor images with label files (rows of a class and "
        "numbers, in 'labels' beside 'images', or .txt beside the images); set "
        "config.data.yolo.root to a folder that has them."
    )


def _candidates(folder: pathlib.Path) -> list[pathlib.Path]:
    suffixes = (".yaml", ".yml", ".data")
    names = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes)
    return [path for path in names if os.path.isfile(path)]


def _description_in(folder: pathlib.Path) -> Description | None:
    """The only description in a folder; None if there is none, an error if there are several."""
    found = [path for path in _candidates(folder) if may_be_description(path)]
    if len(found) > 1:
        found = [path for path in found if path.name.lower() in _DESCRIPTIONS] or found
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(
            f"{folder}: {names} each describe a data set; set config.data.yolo.root to one of "
            f"them, such as {found[0]}.",
            "folder",
        )
    return read_description(found[0]) if found else None


def _darknet_description_in(folder: pathlib.Path) -> pathlib.Path | None:
    if not os.path.isdir(folder):
        return None
    found = [path for path in _candidates(folder) if path.suffix.lower() == ".data"]
    found = [path for path in found if may_be_description(path)]
    return found[0] if len(found) == 1 else None


def _splits_in(folder: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """The splits by the names of folders or lists; without such names, a single split 'all'."""
    folders = sorted(path for path in folder.iterdir() if os.path.isdir(path))
    images = [path for path in folders if path.name.casefold() == "images"]
    splits: dict[str, list[str]] = collections.defaultdict(list)
    for path in [below for above in images for below in sorted(above.iterdir())] or folders:
        if os.path.isdir(path) and (name := _split_name(path.name)):
            within = [path / "images", path / "Images", path]
            splits[name].append(str(next(one for one in within if os.path.isdir(one))))
    if not splits:
        for path in sorted(folder.glob("*.txt")):
            if (name := _split_name(path.stem)) and not is_label_file(str(path)):
                splits[name].append(str(path))
    order = [name for name in ("train", "val", "test") if name in splits]
    if not order:
        return {ALL: (str(images[0] if images else folder),)}
    return {name: tuple(splits[name]) for name in order}


def _split_name(name: str) -> str | None:
    match = _SPLIT.fullmatch(name)
    return match[1].lower() if match else None


def _without_all(splits: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: places for name, places in splits.items() if name != ALL}


def _has_labels(splits: Mapping[str, tuple[str, ...]]) -> bool:
    """True if any of the first images has a label file with a row in it."""
    labels = LabelFolders()
    for places in splits.values():
        for place in map(pathlib.Path, places):
            images = SplitImages()
            images.add(place, ())
            found = map(labels.find, list(images.paths)[:_LOOKED_AT])
            if any(path is not None and is_label_file(path) for path in found):
                return True
    return False


# ------------------------------------------------------------------ names of the classes


def _layout(
    folder: pathlib.Path,
    description: Description | None,
    splits: Mapping[str, tuple[str, ...]],
    found: Mapping[str, tuple[str, ...]],
) -> YoloLayout:
    places = Places([folder] if description is None else _bases(description))
    names_file = _names_file(folder, description, places, found)
    names: Mapping[int, str] | None = None
    if description is not None and names_file == description.path:
        names = description.names or {
            number: str(number) for number in range(description.count or 0)
        }
    elif names_file is not None:
        names = read_names(names_file)
    return YoloLayout(
        folder,
        None if description is None else description.path,
        names_file,
        names,
        0 if description is None else description.keypoint_numbers,
        splits,
        places,
        found,
    )


def _names_file(
    folder: pathlib.Path,
    description: Description | None,
    places: Places,
    found: Mapping[str, tuple[str, ...]],
) -> pathlib.Path | None:
    """The file that names the classes, or at least gives their number."""
    if description is not None and description.names is not None:
        return description.path
    if description is not None and description.names_file:
        place = places.find(description.names_file)
        if place is None:
            raise DataError(
                f"{description.path}: names is {description.names_file!r}, which does not exist; "
                "correct it, or add the file.",
                "folder",
            )
        return place.path
    listed = find_names_file(folder, [place for split in found.values() for place in split])
    if listed is None and description is not None and description.count is not None:
        return description.path
    return listed


def _bases(description: Description) -> list[pathlib.Path]:
    """Folders to which the paths in a description may be relative."""
    folder = description.path.parent
    places = Places([folder, folder.parent])
    base = places.find(description.base) if description.base else None
    bases = [base.path] if base is not None and os.path.isdir(base.path) else []
    if folder.name in _DARKNET_FOLDERS and description.path.suffix.lower() == ".data":
        # darknet's paths are relative to the folder in which it is started.
        return [*bases, folder, folder.parent]
    return [*bases, folder]
