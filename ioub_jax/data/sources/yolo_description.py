"""Description files of YOLO data sets: Ultralytics' data.yaml, darknet's obj.data."""

import dataclasses
import pathlib
import re
import reprlib
from collections.abc import Mapping
from typing import Any

import yaml

from ioub_jax.coco_values import is_text
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.text_files import read_text

#: Name of a split in a description -> name of the split here.
SPLIT_KEYS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# The tags of YAML's own types. A file with another tag asks for an object of some program.
_TAG = "tag:yaml.org,2002:"
_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map")}
_NOTHING = ("", "~", "null", "Null", "NULL", "None")
# Keys that identify the description of a data set; 'nc' does not, since networks have it, too.
_NEEDED = ("names", "train")
_LOOKS_LIKE_ONE = re.compile(rb"^[\"']?(names|train)[\"']?\s*:", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Description:
    """Contents of a description file, with its paths as written.

    Attributes:
      path: the file.
      base: the folder to which paths are relative (`path` in the file); '' if not given.
      splits: the folders and lists of 'train', 'val' and 'test'; splits not given are absent.
      names: the name of each class id, sorted by the ids; None if not given.
      names_file: the file that has the names instead; '' if not given.
      count: number of classes (`nc`, or `classes` in an obj.data); None if not given.
      keypoint_numbers: how many numbers the keypoints of an object have (`kpt_shape`); 0 without
        keypoints.
    """

    path: pathlib.Path
    base: str
    splits: Mapping[str, tuple[str, ...]]
    names: Mapping[int, str] | None
    names_file: str = ""
    count: int | None = None
    keypoint_numbers: int = 0


def read_description(path: pathlib.Path) -> Description:
    """Reads a data.yaml, or a file such as obj.data.

    Nothing in the file is executed. Every value is read as text, so that a class may be called `no`
    or `1`.

    Args:
      path: the file.

    Raises:
      DataError: the file cannot be read, or has an invalid value.
    """
    return _of_darknet(path) if path.suffix.lower() == ".data" else _of_yaml(path)


def may_be_description(path: pathlib.Path) -> bool:
    """True if a file looks like a description, even a broken one, and not like another file."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    if path.suffix.lower() == ".data":
        return re.search(rb"^\s*(names|train)\s*=", data, re.MULTILINE) is not None
    return _LOOKS_LIKE_ONE.search(data.replace(b"\0", b"")) is not None


# ------------------------------------------------------------------ YAML


def _of_yaml(path: pathlib.Path) -> Description:
    entries = _read_yaml(path)
    if not any(key in entries for key in _NEEDED):
        raise _refuse(
            path,
            "does not describe a data set, since it has neither 'names' nor 'train' (its keys: "
            f"{', '.join(map(repr, entries)) or 'none'}); set config.data.yolo.root to one that "
            "has, or to the folder of the images and labels",
        )
    splits: dict[str, tuple[str, ...]] = {}
    for key, split in SPLIT_KEYS.items():
        places = _texts(entries.get(key, ""), key, path)
        if places and split not in splits:
            splits[split] = places
    names, count = entries.get("names", ""), _count(entries.get("nc", ""), path)
    is_file = isinstance(names, str) and names.lower().endswith((".names", ".txt"))
    return Description(
        path,
        next(iter(_texts(entries.get("path", ""), "path", path)), ""),
        splits,
        None if is_file or names in _NOTHING else _names(names, count, path),
        names if is_file and isinstance(names, str) else "",
        count,
        _keypoint_numbers(entries.get("kpt_shape", ""), path),
    )


def _read_yaml(path: pathlib.Path) -> dict[str, Any]:
    """The entries of a YAML as texts and as lists and dicts of texts, without type conversion."""
    text = read_text(path, "correct the file")
    try:
        events = list(yaml.parse(text, Loader=yaml.BaseLoader))
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    # PyYAML also lets Python's errors through, for invalid escapes and for deeply nested lists.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise _refuse(path, f"is broken YAML{where} ({problem}); correct it") from error
    for event in events:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!") and tag not in _TAGS:
            raise _refuse(
                path,
                f"asks for a program's object ({tag.removeprefix(_TAG)!r}, line "
                f"{event.start_mark.line + 1}); remove that",
            )
    if not isinstance(root, yaml.MappingNode):
        raise _refuse(
            path,
            "does not describe a data set, since it is not a list of keys and values; correct it",
        )
    # The values of other keys, such as a program to download the data, are ignored.
    known = {*SPLIT_KEYS, "path", "names", "nc", "kpt_shape"}
    return _mapping(root, path, known)


def _mapping(
    node: yaml.MappingNode, path: pathlib.Path, known: set[str] | None = None
) -> dict[str, Any]:
    """The values by key; None for keys that are not in `known`."""
    found: dict[str, Any] = {}
    for key_node, value in node.value:
        key = str(key_node.value).strip()
        if key in found:
            raise _refuse(
                path, f"has {key!r} twice, again in line {key_node.start_mark.line + 1}; keep one"
            )
        found[key] = _plain(value, path) if known is None or key in known else None
    return found


def _plain(node: yaml.Node, path: pathlib.Path) -> Any:
    """A text, a list of texts or a dict of texts; anything nested deeper becomes None."""
    if isinstance(node, yaml.SequenceNode):
        return [_scalar(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        found = _mapping(node, path, set())
        values = (_scalar(value) for _, value in node.value)
        return dict(zip(found, values, strict=True))
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | None:
    return str(node.value).strip() if isinstance(node, yaml.ScalarNode) else None


def _texts(value: Any, key: str, path: pathlib.Path) -> tuple[str, ...]:
    """The paths in a value, which is one path or a list of paths."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise _refuse(path, f"has {reprlib.repr(value)} as {key!r}, which must be a path or a list")
    return tuple(one for one in listed if one not in _NOTHING)


def _count(value: Any, path: pathlib.Path) -> int | None:
    if value in _NOTHING:
        return None
    try:
        count = float(value)
        if count == int(count) and count > 0:
            return int(count)
    except (TypeError, ValueError, OverflowError):
        pass
    raise _refuse(path, f"has {reprlib.repr(value)} as 'nc', which must be a number of classes")


def _names(value: Any, count: int | None, path: pathlib.Path) -> dict[int, str]:
    """The name of each id."""
    if isinstance(value, list):
        names = dict(enumerate(value))
    elif isinstance(value, dict):
        names = {_id(key, path): name for key, name in value.items()}
    else:
        raise _refuse(
            path, f"has {reprlib.repr(value)} as 'names', which must be a list, or ids with names"
        )
    if count is not None and count != len(names):
        raise _refuse(path, f"has 'nc' {count} and {len(names)} 'names'; correct one of them")
    return checked_names(names, path)


def checked_names(names: Mapping[int, str | None], path: pathlib.Path) -> dict[int, str]:
    """The names by id, in the order of the ids.

    Args:
      names: the name of each id.
      path: the file with the names.

    Raises:
      DataError: there are no names, a name cannot be displayed, or two names are equal.
    """
    if not names:
        raise _refuse(path, "names no classes; name them")
    owners: dict[str, int] = {}
    for number, name in sorted(names.items()):
        if not is_text(name):
            raise _refuse(
                path, f"has {name!r} as the name of class {number}; write one that can be shown"
            )
        if name in owners:
            raise _refuse(
                path,
                f"calls the classes {owners[name]} and {number} {name!r}; give each its own name",
            )
        owners[name] = number
    return {number: name for name, number in owners.items()}


def _id(key: str, path: pathlib.Path) -> int:
    if not re.fullmatch(r"\d{1,9}", key, re.ASCII):
        raise _refuse(
            path, f"has the id {key!r} among 'names', which must be 0, 1, ...; correct it"
        )
    return int(key)


def _keypoint_numbers(value: Any, path: pathlib.Path) -> int:
    if value in _NOTHING:
        return 0
    try:
        points, numbers = map(int, value)
        if points > 0 and numbers in (2, 3):
            return points * numbers
    except (TypeError, ValueError):
        pass
    raise _refuse(
        path, f"has {reprlib.repr(value)} as 'kpt_shape', which must be as [17, 3]; correct it"
    )


def _refuse(path: pathlib.Path, fault: str) -> DataError:
    return DataError(f"{path}: {fault}.", "broken_annotation")


# ------------------------------------------------------------------ darknet


def _of_darknet(path: pathlib.Path) -> Description:
    entries = {}
    for line in read_text(path, "correct the file").splitlines():
        key, separator, value = line.partition("#")[0].partition("=")
        if separator:
            entries[key.strip().lower()] = value.strip()
    if not any(entries.get(key) for key in _NEEDED):
        raise _refuse(
            path,
            "does not describe a data set, since it has neither 'names' nor 'train'; correct it",
        )
    splits = {}
    for key, split in SPLIT_KEYS.items():
        if entries.get(key) and split not in splits:
            splits[split] = (entries[key],)
    names = entries.get("names", "")
    count = _count(entries.get("classes", ""), path)
    return Description(path, "", splits, None, names, count)
