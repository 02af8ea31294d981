"""Index of a COCO file, which caches its contents so that it opens at once the next time.

An index is one .npz of plain arrays in the cache folder. It is used only if nothing that was read
can have changed:

- the options and the code of this package are the same: a key in the index records them, and the
  name of the index is a hash of that key;
- the file is the same: its size, times and inode are unchanged (no program can set the change time
  back), or else its SHA-256 is unchanged;
- the image folders still have the files that were found.

If anything is wrong with an index, it is treated as missing. It is read into memory and not mapped,
since a mapped file that another host replaces on a network file system would kill the process.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ioub_jax import caches, coco_outlines, coco_values, printing
from ioub_jax.data import checks
from ioub_jax.data.checks import Problem
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.example import Census
from ioub_jax.data.sources.file_names import Listing
from ioub_jax.data.sources.index_files import PARTIAL, write_index

_log = logging.getLogger(__name__)

#: Size in bytes from which a file is worth an index; a smaller file is read in .1 seconds.
SMALLEST = 4 << 20
# A file that was changed less than this before it was read may be changed again without a change of
# its times, since the timestamps of some file systems have a resolution of two seconds.
_SETTLED_SECONDS = 4
_ABANDONED_SECONDS = 86_400


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents of a file, as `FileSource` takes them, and the files that they depend on.

    Attributes:
      annotations: the objects of n images.
      paths: the file of each image.
      classes: class names in the order of the labels.
      category_ids: the id of each class.
      skipped: what was left out.
      census: what the file lists.
      written_ids: for images whose id in the file differs from their number, the id in the file,
        by that number.
      digest: SHA-256 of the file; None if it is not known, in which case no index is written.
      seen: what was read of the folders (`Listing.seen`); empty if each image file has exactly the
        name in the annotation file; None if image files themselves were opened, in which case no
        index is written.
      is_federated: whether the file records which classes were searched for in each image, as
        LVIS's files do.
    """

    annotations: Annotations
    paths: list[str]
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    skipped: list[Problem]
    census: Census
    written_ids: Mapping[int, int | str]
    digest: str | None
    seen: dict[str, Any] | None
    is_federated: bool = False


def load_or_read(
    path: pathlib.Path,
    folder: pathlib.Path,
    options: Mapping[str, Any],
    read: Callable[[], Contents],
) -> Contents:
    """The contents of a file from its index, or else from `read`, which are then indexed.

    Args:
      path: the file.
      folder: the folder of the images.
      options: all other parameters that the contents depend on.
      read: reads the file.

    Returns:
      the contents.
    """
    try:
        if not os.path.isfile(path) or path.stat().st_size < SMALLEST:
            return read()
        before = _stat(path)
        key = _key(path, folder, options)
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        kept = caches.cache_folder() / "annotations" / f"{digest[:32]}.npz"
    except (OSError, RuntimeError, ValueError):  # reading the file, reading our code, or no home
        return read()
    contents = _load(kept, key, path, folder, before)
    if contents is None:
        contents = read()
        _save(kept, key, path, folder, before, contents)
    return contents


def _key(path: pathlib.Path, folder: pathlib.Path, options: Mapping[str, Any]) -> str:
    """All that the contents depend on except the contents of the file and of the folders."""
    # Sentences name paths as they were given, and some of them as absolute paths.
    paths = [str(path), os.path.abspath(path), str(folder), os.path.abspath(folder)]
    return json.dumps({"paths": paths, "options": options, "code": _code()}, sort_keys=True)


@functools.cache
def _code() -> str:
    """SHA-256 of the code that reads a file, since another version may read it differently."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in _code_files())).hexdigest()


def _code_files() -> list[pathlib.Path]:
    modules = (checks, coco_outlines, coco_values, printing)
    files = [pathlib.Path(str(module.__file__)) for module in modules]
    return [*sorted(pathlib.Path(__file__).parent.glob("*.py")), *files]


def _stat(path: pathlib.Path) -> dict[str, int]:
    # A network file system may cache a file's attributes, but fetches them when a file is opened.
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
    return {
        "size": stat.st_size,
        "modified": stat.st_mtime_ns,
        "changed": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(
    kept: pathlib.Path,
    key: str,
    path: pathlib.Path,
    folder: pathlib.Path,
    stat: dict[str, int],
) -> Contents | None:
    """The contents in an index; None if the index is missing, damaged or outdated."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            if facts["key"] != key:
                return None
            is_untouched = facts["is_settled"] and facts["stat"] == stat
            if not is_untouched and (
                facts["stat"]["size"] != stat["size"] or facts["digest"] != _digest(path)
            ):
                return None
            listing = Listing(folder)
            names = _split(arrays["names"])
            begin = os.path.join(folder, "") if facts["is_within"] else ""
            if facts["seen"]:
                is_same = listing.sees(facts["seen"])
                paths = [begin + name for name in names]
            else:
                found = listing.plain_paths(names)
                is_same, paths = found is not None, found or []
            if not is_same:
                return None
            facts["census"]["changes"] = collections.Counter(facts["census"]["changes"])
            return Contents(
                annotations=Annotations(**{name: arrays[name] for name in _COLUMNS}),
                paths=paths,
                classes=tuple(facts["classes"]),
                category_ids=tuple(facts["category_ids"]),
                skipped=[Problem(*problem) for problem in facts["skipped"]],
                census=Census(**facts["census"]),
                written_ids=dict(facts["written_ids"]),
                digest=facts["digest"],
                seen=facts["seen"],
                is_federated=facts["is_federated"],
            )
    # A damaged archive raises whatever zipfile, zlib, numpy and json raise.
    except Exception as error:
        _log.debug("%s is not used: %r", kept, error)
        return None


_COLUMNS = tuple(field.name for field in dataclasses.fields(Annotations))


def _save(
    kept: pathlib.Path,
    key: str,
    path: pathlib.Path,
    folder: pathlib.Path,
    before: dict[str, int],
    contents: Contents,
) -> None:
    """Writes contents to an index if all their dependencies are known; ignores write errors."""
    if contents.digest is None or contents.seen is None:
        return
    try:
        if _stat(path) != before:  # somebody is writing it
            return
        begin = os.path.join(folder, "")
        is_within = all(name.startswith(begin) for name in contents.paths)
        names = (
            [name.removeprefix(begin) for name in contents.paths] if is_within else contents.paths
        )
        age = time.time() - max(before["modified"], before["changed"]) / 1e9
        facts = {
            "key": key,
            "stat": before,
            # Windows does not record the change time.
            "is_settled": age > _SETTLED_SECONDS and os.name == "posix",
            "digest": contents.digest,
            "seen": contents.seen,
            "is_within": is_within,
            "classes": contents.classes,
            "category_ids": contents.category_ids,
            "skipped": [dataclasses.astuple(problem) for problem in contents.skipped],
            "census": vars(contents.census) | {"changes": dict(contents.census.changes)},
            "written_ids": list(contents.written_ids.items()),
            "is_federated": contents.is_federated,
        }
        arrays = {name: getattr(contents.annotations, name) for name in _COLUMNS}
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        arrays["names"] = _joined(names)
        _clear(kept)
        write_index(kept, arrays)
    except (OSError, ValueError) as error:
        _log.debug("%s is not kept: %r", kept, error)


def _clear(kept: pathlib.Path) -> None:
    """Deletes partial files of processes that were killed while they wrote this index."""
    for partial in kept.parent.glob(f".{kept.name}.*{PARTIAL}"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
            partial.unlink(missing_ok=True)


def _joined(names: list[str]) -> np.ndarray:
    """File names, which contain no zero bytes, as uint8 `[n]`."""
    return np.frombuffer("\0".join(names).encode(errors="surrogateescape"), np.uint8)


def _split(names: np.ndarray) -> list[str]:
    return names.tobytes().decode(errors="surrogateescape").split("\0")
