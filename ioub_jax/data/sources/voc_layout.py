"""Splits of a folder of VOC XMLs, found from the folder alone."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.voc_folders import (
    folders_below,
    has_annotations,
    is_data_set,
    is_xml,
    iter_files,
    parts_of,
    subfolders,
)
from ioub_jax.data.sources.voc_lists import EVERYTHING, find_lists, is_annotated, role_of

_FOLDER_KEYS = "config.data.voc.train_folders, val_folders or test_folders"
# A data set is searched for in at most this many levels of folders, and in at most this many
# folders of each level below the first.
_DEPTH, _MOST_FOLDERS = 4, 500


@dataclasses.dataclass(frozen=True)
class VocSplit:
    """Arguments of `VocSource` for a split.

    Attributes:
      folders: the folders below the root, '.' for the root itself.
      split: name of the list in these folders, or 'all'.
    """

    folders: tuple[str, ...]
    split: str


@dataclasses.dataclass(frozen=True)
class VocLayout:
    """Folders and splits of a data set of VOC XMLs.

    Attributes:
      root: the argument `root` of `VocSource`.
      splits: the splits that exist, by 'train', 'val' and 'test'. If neither lists nor folders give
        splits, there is only 'train', with all images.
      lists: the names of all lists that were found.
      others: other folders at the same depth that seem to hold data sets of this kind, too.
    """

    root: pathlib.Path
    splits: Mapping[str, VocSplit]
    lists: tuple[str, ...] = ()
    others: tuple[pathlib.Path, ...] = ()

    def keys(self) -> dict[str, str | tuple[str, ...]]:
        """Values of the configuration keys that open the data set, by key without `config.`."""
        keys: dict[str, str | tuple[str, ...]] = {"data.voc.root": str(self.root)}
        for name, split in self.splits.items():
            keys[f"data.voc.{name}_folders"] = split.folders
            keys[f"data.voc.{name}_split"] = split.split
        return keys


def find_layout(path: str | os.PathLike[str]) -> VocLayout | None:
    """Finds the VOC XMLs in a folder, and the splits that they make.

    The folder may be the devkit or its parent; a folder with XMLs and images in any of the places
    where tools write them; a folder with one such folder for each split or for each part of the
    data; or a folder with XMLs anywhere below it. Only names and the first XML of each folder are
    read.

    Args:
      path: the folder.

    Returns:
      the layout; None if there is no XML in VOC's format.
    """
    root = pathlib.Path(path).expanduser()
    level = [root]
    for _ in range(_DEPTH):
        found = [layout for folder in level if (layout := _layout_at(folder)) is not None]
        if found:
            others = tuple(layout.root for layout in found[1:])
            return dataclasses.replace(found[0], others=others)
        below = itertools.chain.from_iterable(map(subfolders, level))
        level = list(itertools.islice(below, _MOST_FOLDERS))
    # The images may be missing, which is reported when the data set is opened.
    is_one = is_tree(root) or any(has_annotations(root, xmls) for xmls in parts_of(root).xmls)
    return _of_one_folder(root) if is_one else None


def is_tree(folder: pathlib.Path) -> bool:
    """True if XMLs lie in folders below a folder, none of which is a complete data set."""
    if has_annotations(folder, folder):  # with XMLs in the folder itself, those below do not count
        return False
    holders = {file.parent for file in itertools.islice(iter_files(folder, is_xml, below=True), 9)}
    return any(has_annotations(holder, holder) for holder in holders) and not folders_below(folder)


def is_one_tree(path: pathlib.Path) -> bool:
    """True if XMLs lie anywhere below a folder and belong to the same split."""
    if not is_tree(path):
        return False
    layout = find_layout(path)
    return layout is None or layout.root == path or len(layout.splits) == 1


def no_folder(missing: pathlib.Path, root: pathlib.Path) -> DataError:
    """The error for a missing folder; it names the configuration key to set, judged by `root`."""
    return DataError(f"{missing}: there is no such folder; {_way_to_folders(root)}", "folder")


def _way_to_folders(root: pathlib.Path) -> str:
    """Advice on which key to set to which value if a root lacks a folder."""
    if os.path.isdir(root / "Annotations") and os.path.isdir(root / "JPEGImages"):
        return f"{root} itself contains them, set {_FOLDER_KEYS} to ('.',)."
    years = {path.parent.name for path in root.glob("*/Annotations")}
    years |= set(folders_below(root))
    if years:
        return f"set {_FOLDER_KEYS} to one or more of {tuple(sorted(years))!r}."
    if (layout := find_layout(root)) is not None and layout.root != root:
        return f"set config.data.voc.root to {layout.root}."
    return (
        "set config.data.voc.root to the folder with Annotations and JPEGImages, or XMLs "
        "beside their images."
    )


def _layout_at(folder: pathlib.Path) -> VocLayout | None:
    """The layout of a folder that is a data set or contains data sets; None for others."""
    if is_data_set(folder):
        return _of_one_folder(folder)
    if names := folders_below(folder):
        return _of_several(folder, names)
    return None


def _of_one_folder(root: pathlib.Path) -> VocLayout:
    """The splits of a folder: by its lists, or by subfolders of its XMLs and images."""
    lists = find_lists(root)
    splits = _assign({name: [(".", path)] for name, path in lists.items()}, root)
    if not splits:
        parts = parts_of(root)
        inside = {
            place.name
            for part in (*parts.xmls, *parts.images)
            if part != root
            for place in subfolders(part)
            if role_of(place.name) is not None
        }
        splits = _by_role({name: VocSplit((".",), name) for name in sorted(inside)})
    if not splits and len(lists) == 1:
        splits = {"train": VocSplit((".",), next(iter(lists)))}
    return VocLayout(root, splits or {"train": VocSplit((".",), EVERYTHING)}, tuple(lists))


def _of_several(root: pathlib.Path, names: Sequence[str]) -> VocLayout:
    """The splits of several data-set folders: one for each split, or parts of all splits."""
    splits = _by_role({name: VocSplit((name,), EVERYTHING) for name in names if role_of(name)})
    if splits:
        return VocLayout(root, splits)
    found: dict[str, list[tuple[str, pathlib.Path]]] = {}
    for name in names:
        for split, path in find_lists(root / name).items():
            found.setdefault(split, []).append((name, path))
    splits = _assign(found, root)
    return VocLayout(
        root, splits or {"train": VocSplit(tuple(names), EVERYTHING)}, tuple(sorted(found))
    )


def _assign(
    lists: Mapping[str, Sequence[tuple[str, pathlib.Path]]], root: pathlib.Path
) -> dict[str, VocSplit]:
    """The splits given by lists, each of which exists in some of the folders below a root."""
    splits = {}
    for name, places in lists.items():
        folders = tuple(
            folder
            for folder, path in places
            if role_of(name) != "test" or is_annotated(path, root / folder)
        )
        if folders and role_of(name) is not None:
            splits[name] = VocSplit(folders, name)
    return _by_role(splits)


def _by_role(named: Mapping[str, VocSplit]) -> dict[str, VocSplit]:
    """The splits for training, validation and test among the splits with such names.

    Without a validation split, the test split serves as one, and the other way round. 'trainval' is
    the training split if it is not divided into 'train' and 'val', or if there are several years of
    it and a test split, as is usual with the devkit.
    """
    roles: dict[str, VocSplit] = {}
    for name in sorted(named, key=lambda name: (name != role_of(name), name)):
        roles.setdefault(str(role_of(name)), named[name])
    train, val, test = roles.get("train"), roles.get("val"), roles.get("test")
    joined = roles.get("trainval")
    are_years = joined is not None and test is not None and len(joined.folders) > 1
    if joined is not None and (are_years or train is None or val is None):
        train, val = joined, None
    found = {"train": train, "val": val or test, "test": test or val}
    return {name: split for name, split in found.items() if split is not None}
