"""Search for COCO-format files in a folder, with the split and the image folder of each."""

import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ioub_jax.data.sources.coco_images import name_of
from ioub_jax.data.sources.json_outline import Outline, outline
from ioub_jax.data.sources.voc_folders import subfolders

# JSONs are looked for at most three folders deep. A folder with more than 60 JSONs is skipped: it
# has one for each image.
_DEPTH, _MOST_FILES, _MOST_FOLDERS = 3, 60, 2_000
# At most this many of the images that a file lists are looked for in each possible folder.
_LOOKED_FOR = 40
_LISTS = ("images", "annotations", "categories")
_ROLE = re.compile(r"(?<![a-z])(trainval|train|val|test)(ing|id|idation)?(?![a-z])", re.IGNORECASE)
# Beginnings of the names of COCO's files for other tasks; some of these files have boxes, too.
_OTHER_TASKS = ("person_keypoints", "captions", "stuff", "panoptic", "image_info", "unlabeled")


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """A JSON in COCO's format.

    Attributes:
      path: the file.
      images: the folder of its images, found by looking for some of them; None if none was found.
      has_boxes: whether it lists annotations.
    """

    path: pathlib.Path
    images: pathlib.Path | None
    has_boxes: bool


@dataclasses.dataclass(frozen=True)
class CocoLayout:
    """The COCO-format JSONs in a folder.

    Attributes:
      root: the folder.
      splits: the files of 'train', 'val' and 'test'; a split without files is absent.
      unused: other files in this format in the folder, and why they are not used.
    """

    root: pathlib.Path
    splits: Mapping[str, tuple[CocoFile, ...]]
    unused: Mapping[pathlib.Path, str] = dataclasses.field(default_factory=dict)

    def keys(self) -> dict[str, Any]:
        """Values of the configuration keys that open the files, by key without `config.`."""
        keys: dict[str, Any] = {"data.coco.root": str(self.root)}
        for split, found in self.splits.items():
            files = tuple(self._from_root(file.path) for file in found)
            folders = tuple(self._from_root(file.images or file.path.parent) for file in found)
            keys[f"data.coco.{split}_annotations"] = files if len(files) > 1 else files[0]
            keys[f"data.coco.{split}_images"] = folders if len(folders) > 1 else folders[0]
        return keys

    def _from_root(self, path: pathlib.Path) -> str:
        return os.path.relpath(path, self.root)


def find_layout(path: str | os.PathLike[str]) -> CocoLayout | None:
    """Finds the JSONs in COCO's format in a folder, and the images of each.

    The split of a file is taken from its name or that of its folder: 'instances_train2017.json',
    'valid/_annotations.coco.json'. All files whose names give no split are used for training.

    Args:
      path: the folder, or a single JSON in COCO's format.

    Returns:
      the layout; None if there is no JSON in COCO's format.
    """
    given = pathlib.Path(path)
    if os.path.isfile(given):
        listed = _look_into(given)
        if listed is None:
            return None
        return CocoLayout(given.parent, {"train": (_file(given, listed, given.parent, "train"),)})
    files = {file: listed for file in _json_files(given) if (listed := _look_into(file))}
    others = [file for file in files if file.stem.startswith(_OTHER_TASKS)]
    unused: dict[pathlib.Path, str] = {}
    if len(others) < len(files):
        unused = dict.fromkeys(others, "its name is that of another COCO task")
    found: dict[str, list[CocoFile]] = {}
    owners: dict[tuple[str, pathlib.Path], pathlib.Path] = {}
    for path, listed in files.items():
        if path in unused:
            continue
        role = _role_of(path, given)
        file = _file(path, listed, given, role)
        images = [(role, (file.images or path.parent) / name) for name in listed.names]
        owner = next((owners[image] for image in images if image in owners), None)
        if owner is None:
            found.setdefault(role, []).append(file)
            owners |= dict.fromkeys(images, path)
        else:
            unused[path] = f"it lists images of {os.path.relpath(owner, given)}"
    return CocoLayout(given, _splits(found), unused) if found else None


def _file(path: pathlib.Path, listed: "_Listed", root: pathlib.Path, role: str) -> CocoFile:
    return CocoFile(path, _folder_of(listed.names, path, root, role), listed.has_boxes)


def _splits(found: Mapping[str, Sequence[CocoFile]]) -> dict[str, tuple[CocoFile, ...]]:
    """The splits by the roles in file names.

    'trainval' is the training split unless 'train' and 'val' both exist. Without any file for
    training, the validation split or else the first one becomes the training split.
    """
    roles = {role: tuple(files) for role, files in found.items()}
    joined = roles.pop("trainval", None)
    if joined is not None and not {"train", "val"} <= roles.keys():
        roles.pop("val", None)
        roles["train"] = joined
    if "train" not in roles:
        first = "val" if "val" in roles else next(iter(roles))
        roles["train"] = roles.pop(first)
    return {role: roles[role] for role in ("train", "val", "test") if role in roles}


def _json_files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """The JSONs of a folder and its subfolders, except folders with one JSON for each image."""
    for folder in _folders(root):
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        files = [folder / name for name in names if name.lower().endswith(".json")]
        if len(files) <= _MOST_FILES:
            yield from files


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    """A folder and its subfolders, level by level and sorted, without hidden folders."""
    level, found = [root], [root]
    for _ in range(_DEPTH):
        below = [child for folder in level for child in subfolders(folder)]
        level = below[: _MOST_FOLDERS - len(found)]
        found.extend(level)
    return found


@dataclasses.dataclass(frozen=True)
class _Listed:
    """Summary of a JSON: the names of some of its images, and whether it has annotations."""

    names: tuple[str, ...]
    has_boxes: bool


class _Image(msgspec.Struct):
    file_name: Any = None
    coco_url: Any = None


def _look_into(path: pathlib.Path) -> _Listed | None:
    """Reads the first entries of a JSON; None if it is not in COCO's format."""
    try:
        with path.open("rb") as file:
            found = outline(file, _LISTS)
            if found is None or "images" not in found.pieces:
                return None
            images = _first_piece(file, found, "images")
            annotations = _first_piece(file, found, "annotations")
        listed = msgspec.json.decode(images, type=list[_Image])
        names = [name_of(image.file_name, image.coco_url) for image in listed]
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    if not names or not any(isinstance(name, str) for name in names):
        return None
    if "categories" not in found.pieces:
        return None
    marks = (b'"bbox"', b'"segmentation"', b'"keypoints"')
    has_boxes = any(mark in annotations for mark in marks)
    if annotations != b"[]" and not has_boxes:  # captions
        return None
    chosen = range(0, len(names), -(-len(names) // _LOOKED_FOR))
    return _Listed(tuple(str(names[number]) for number in chosen), has_boxes)


def _first_piece(file: Any, found: Outline, name: str) -> bytes:
    """The JSON text of a list's first entries, as a list."""
    pieces = found.pieces.get(name)
    if not pieces:
        return b"[]"
    start, end = pieces[0]
    file.seek(start)
    return b"[" + file.read(end - start) + b"]"


def _role_of(path: pathlib.Path, root: pathlib.Path) -> str:
    """The split in the name of a file or of one of its folders; 'train' if no name gives one."""
    for name in (path.stem, *(part for part in reversed(path.relative_to(root).parts[:-1]))):
        match = _ROLE.search(re.sub(r"[^A-Za-z]", " ", name))
        if match:
            return match[1].lower()
    return "train"


def _folder_of(
    names: Sequence[str], path: pathlib.Path, root: pathlib.Path, role: str
) -> pathlib.Path | None:
    """The folder that holds most of the images; folders nearby and of the split are tried first."""
    words = {"train": ("train",), "val": ("val",)}.get(role, (role,))
    near = [path.parent, path.parent / "images", root / "images", root]
    for word, base in itertools.product(
        words[: None if role != "test" else 1], (root, root / "images")
    ):
        near.extend(sorted(folder for folder in base.glob(f"{word}*") if os.path.isdir(folder)))
    best, most = None, 0
    for folder in dict.fromkeys([*near, *_folders(root)]):
        count = sum(os.path.isfile(folder / name) for name in names) if os.path.isdir(folder) else 0
        if count == len(names):
            return folder
        if count > most:
            best, most = folder, count
    if best is not None:
        return best
    # The names may be paths on another machine, so only their last parts are looked for.
    last = [re.split(r"[\\/]", name)[-1] for name in names]
    if last != list(names):
        return _folder_of(last, path, root, role)
    return None
