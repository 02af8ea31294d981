"""Index of a COCO file, with which it opens again in a moment.

An index is one .npz of plain arrays in the cache folder. It stands for the file only where nothing
can have changed of what was read:

- the options and the code of this package are the same, of which its name and its key tell;
- the file is the same: nobody has touched it since (size, times and inode, the change time of which
  no program can set back), or else its SHA-256 is that of then;
- the folders of the images still have the files that were found.

Whatever is odd about an index, it is as if there was none. It is read into memory and not mapped: a
mapped file that another host replaces on a network file system would kill the process.
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

#: Bytes of a file from which on an index is worth its place; a smaller one is read in .1 seconds.
SMALLEST = 4 << 20
# A file that was changed less than this before it was read may be changed again without its times
# being others: clocks of file systems tick up to every two seconds.
_SETTLED_SECONDS = 4
_ABANDONED_SECONDS = 86_400


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents of a file as `FileSource` takes them, and the files that they depend on.

    Attributes:
      annotations: the objects of n images.
      paths: the file of each image.
      classes: class names in the order of the labels.
      category_ids: the id of each class.
      skipped: what was left out.
      census: what the file lists.
      written_ids: the ids of images that are written otherwise than as their numbers, by these.
      digest: SHA-256 of the file; None where it is not known, so that nothing is kept.
      seen: what was seen of the folders (`Listing.seen`), or nothing where each image has the
        very name that the file gives it; None where image files themselves were looked into, so
        that nothing is kept.
      is_federated: whether the file says which classes were looked for in an image, as LVIS's do.
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
    """The indexed contents of a file, or else those of `read`, which are then kept.

    Args:
      path: the file.
      folder: of the images.
      options: what else decides what is read.
      read: reads the file.

    Returns:
      the contents.
    """
    try:
        if not path.is_file() or path.stat().st_size < SMALLEST:
            return read()
        before = _stat(path)
        key = _key(path, folder, options)
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        kept = caches.cache_folder() / "annotations" / f"{digest[:32]}.npz"
    except (OSError, RuntimeError, ValueError):  # of the file, of our code, without a home
        return read()
    contents = _load(kept, key, path, folder, before)
    if contents is None:
        contents = read()
        _save(kept, key, path, folder, before, contents)
    return contents


def _key(path: pathlib.Path, folder: pathlib.Path, options: Mapping[str, Any]) -> str:
    """All parameters of reading, except the file and the folders themselves."""
    # Sentences name paths as they are written, and some as they are.
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
    # A network file system asks anew when a file is opened, and not always before.
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
    """The contents in an index; None if there is none, or it is damaged or of something else."""
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
    # A damaged archive raises whatever zipfile, zlib, numpy and json do.
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
    """Saves contents, if all their dependencies are known and there is a place for them."""
    if contents.digest is None or contents.seen is None:
        return
    try:
        if _stat(path) != before:  # somebody writes it
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
            # Windows has no time of a change.
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
    """Deletes files of processes that were killed while they wrote this index."""
    for partial in kept.parent.glob(f".{kept.name}.*{PARTIAL}"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
            partial.unlink(missing_ok=True)


def _joined(names: list[str]) -> np.ndarray:
    """File names, which contain no zero bytes, as uint8 `[n]`."""
    return np.frombuffer("\0".join(names).encode(errors="surrogateescape"), np.uint8)


def _split(names: np.ndarray) -> list[str]:
    return names.tobytes().decode(errors="surrogateescape").split("\0")
