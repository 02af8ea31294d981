"""Identical image files: one file under two names, or files with the same bytes.

Reading all files of a data set would take longer than anything else before a training. Therefore
their sizes are compared first, then a few pieces of the files that have the same size, and all
bytes only of the files whose pieces are equal, too.
"""

import collections
import concurrent.futures
import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Sequence

from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.file_source import FileSource

_PIECE = 1024
_CHUNK = 1 << 20
# A network file system answers many requests at once as fast as a single one.
_THREADS = 8
# Number of files that a thread is given at a time.
_AT_ONCE = 64


def find_shared(
    source: Source, validation: Source, *, by_content: bool = True
) -> list[tuple[str, str]]:
    """Finds the files of validation images that are also training images.

    Args:
      source: the training data.
      validation: the validation data.
      by_content: whether the contents of files with different names are compared, too; otherwise
        only the names are.

    Returns:
      pairs of files, one for each validation image that is also a training image: the file of the
      validation image, and the training image's file, which is the same or has the same bytes.
      Empty if one of the data sets has no image files.
    """
    if not (isinstance(source, FileSource) and isinstance(validation, FileSource)):
        return []
    trained_on = [os.path.normpath(source.describe(index)) for index in range(len(source))]
    names = [os.path.normpath(validation.describe(index)) for index in range(len(validation))]
    known = set(trained_on)
    shared = {index: name for index, name in enumerate(names) if name in known}
    if by_content:
        others = [index for index in range(len(names)) if index not in shared]
        paths = trained_on + [names[index] for index in others]
        sides = [0] * len(trained_on) + [1] * len(others)
        for first, *rest in find_same(paths, sides):
            validated = (others[place - len(trained_on)] for place in rest if sides[place])
            shared |= {index: trained_on[first] for index in validated}
    return [(validation.describe(index), shared[index]) for index in sorted(shared)]


def find_same(paths: Sequence[str], sides: Sequence[int] | None = None) -> list[list[int]]:
    """Finds groups of identical files, whatever their names.

    Args:
      paths: n files. A file that cannot be read equals no other file.
      sides: a number for each of the n files: only groups whose files do not all have the same
        number are returned. None: all groups are.

    Returns:
      the groups of files with the same content, each as positions in ascending order.
    """
    groups = [list(range(len(paths)))]
    for look in (_size, _pieces, _content):
        groups = [group for group in _looked_at(paths, groups, look) if _is_wanted(group, sides)]
    return sorted(sorted(group) for group in groups)


def _is_wanted(group: Sequence[int], sides: Sequence[int] | None) -> bool:
    if sides is None:
        return len(group) > 1
    return len({sides[index] for index in group}) > 1


def _looked_at(
    paths: Sequence[str], groups: Iterable[Sequence[int]], look: Callable[[str], Hashable | None]
) -> list[list[int]]:
    """Splits each group of files by what `look` returns; drops files for which that is None."""
    members = [(number, index) for number, group in enumerate(groups) for index in group]
    pieces = [members[start : start + _AT_ONCE] for start in range(0, len(members), _AT_ONCE)]

    def look_at(piece: Sequence[tuple[int, int]]) -> list[Hashable | None]:
        return [look(paths[index]) for _, index in piece]

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        seen = [value for values in threads.map(look_at, pieces) for value in values]
    found: dict[Hashable, list[int]] = collections.defaultdict(list)
    for (number, index), value in zip(members, seen, strict=True):
        if value is not None:
            found[number, value].append(index)
    return list(found.values())


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _pieces(path: str) -> bytes | None:
    """Returns some bytes from the beginning, the middle and the end of a file."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            read = []
            for start in (0, size // 2, max(size - _PIECE, 0)):
                file.seek(start)
                read.append(file.read(_PIECE))
    except OSError:
        return None
    return b"".join(read)


def _content(path: str) -> bytes | None:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.digest()
