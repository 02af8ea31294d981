"""Lists of images in a VOC-style folder, and the split that each list is for."""

import os
import pathlib
import re
from collections.abc import Sequence

from ioub_jax.data.sources import text_files
from ioub_jax.data.sources.voc_folders import is_xml, iter_files, parts_of, subfolders

#: Name of the split that consists of all images in a folder.
EVERYTHING = "all"
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "trainval": "trainval",
}
# Names of the folders other than the devkit's where lists may lie, in lower case.
_OTHER_PLACES = ("imagesets", "lists", "sets", "split", "splits")
# Number of lines of a list that are checked for whether their images have XMLs.
_LOOKED_AT = 50


def role_of(name: str) -> str | None:
    """The split of a list or a folder by its name: 'train', 'val', 'test' or 'trainval'.

    Args:
      name: a name such as 'valid', 'train2017' or 'VOC2012_train_val'.

    Returns:
      the split; None if the name contains no split, or several.
    """
    words = re.split(r"[^a-z]+", name.casefold())
    roles = {_ROLES[word] for word in words if word in _ROLES}
    if roles == {"train", "val"}:
        return "trainval"
    return roles.pop() if len(roles) == 1 else None


def find_lists(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The lists of a folder, by name.

    In ImageSets, every text file is a list except those of one class, such as VOC's 'cat_train'. In
    the folder itself, beside the XMLs and in folders such as 'splits', only text files named after
    a split are lists.
    """
    usual = folder / "ImageSets"
    for place in (usual / "Main", usual, *subfolders(usual)):
        if found := _text_files(place):
            plain = {name: path for name, path in found.items() if "_" not in name}
            return plain or found
    lists: dict[str, pathlib.Path] = {}
    for place in _other_places(folder):
        for name, path in _text_files(place).items():
            if role_of(name) is not None:
                lists.setdefault(name, path)
    return lists


def find_list(folder: pathlib.Path, split: str) -> pathlib.Path | None:
    """The list of a split.

    Args:
      folder: the VOC-style folder.
      split: the name of the list, or its path relative to the folder.

    Returns:
      the file; None if there is none.
    """
    usual = folder / "ImageSets"
    places = (usual / "Main", usual, *subfolders(usual), *_other_places(folder))
    paths = [place / f"{split}.txt" for place in places]
    if pathlib.PurePath(split).suffix:
        paths.append(folder / split)
    return next((path for path in paths if os.path.isfile(path)), None)


def read_lines(path: pathlib.Path) -> list[str]:
    """The lines of a list without surrounding spaces, comments and empty lines."""
    text = text_files.read_text(path, "save it as text in UTF-8")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_of_one_class(columns: Sequence[str]) -> bool:
    """True if a line is from the list of one class: an image, and whether it shows the class."""
    return len(columns) == 2 and columns[1] in ("-1", "0", "1")


def is_annotated(path: pathlib.Path, folder: pathlib.Path) -> bool:
    """True if one of a list's first images has an XML; those of some test sets are unpublished."""
    there = {
        file.stem
        for place in parts_of(folder).xmls
        for file in iter_files(place, is_xml, below=place != folder)
    }
    for line in read_lines(path)[:_LOOKED_AT]:
        for name in (line, line.split()[0]):
            last = name.replace("\\", "/").rpartition("/")[2]
            if last in there or last.rpartition(".")[0] in there:
                return True
    return False


def _other_places(folder: pathlib.Path) -> list[pathlib.Path]:
    named = [place for place in subfolders(folder) if place.name.casefold() in _OTHER_PLACES]
    return [folder, *named, *(place for place in parts_of(folder).xmls if place != folder)]


def _text_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The text files of a folder by their names without suffix, sorted."""
    if not os.path.isdir(folder):
        return {}
    return {path.stem: path for path in sorted(folder.glob("*.txt")) if os.path.isfile(path)}
