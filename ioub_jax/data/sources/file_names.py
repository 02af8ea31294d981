"""Files of a folder by names that were written on another system, or by a server."""

import hashlib
import os
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Listing:
    """The files in a folder and its subfolders.

    Each folder is listed once, when it is first asked for: asking for each file is slow on NFS.

    Args:
      folder: what the names are relative to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._entries: dict[str, tuple[set[str], set[str]]] = {}
        self._listed: set[str] = set()
        self._alike: dict[str, dict[str, list[str]]] = {}
        self._asked: dict[str, bool] = {}
        self._elsewhere: dict[str, bool] = {}

    def __contains__(self, path: str) -> bool:
        """True if a path is that of a file."""
        folder, name = os.path.split(path)
        if name in self._list(folder)[0]:
            return True
        # A file system that ignores case or normalises Unicode has files under other names.
        if path not in self._asked:
            self._asked[path] = os.path.isfile(path)
        return self._asked[path]

    def has_elsewhere(self, folder: str, name: str) -> bool:
        """True if a folder, which may be anywhere, has a file of a name.

        What else it has is no matter (`seen`): a folder beside that of the images changes whenever
        something is written there.
        """
        path = os.path.join(folder, name)
        self._elsewhere[path] = name in self._read(folder)[0]
        return self._elsewhere[path]

    def seen(self) -> dict[str, Any]:
        """Digests of all listed folders, and the files asked for."""
        return {
            "folders": {folder: self._digest(folder) for folder in self._listed},
            "asked": self._asked,
            "elsewhere": self._elsewhere,
        }

    def sees(self, seen: Mapping[str, Any]) -> bool:
        """True if everything is as another listing has `seen` it."""
        return (
            all(self._digest(folder) == digest for folder, digest in seen["folders"].items())
            and all(os.path.isfile(path) == is_file for path, is_file in seen["asked"].items())
            and all(
                self.has_elsewhere(*os.path.split(path)) == is_file
                for path, is_file in seen["elsewhere"].items()
            )
        )

    def _digest(self, folder: str) -> str:
        names = ("\0".join(sorted(names)) for names in self._read(folder))
        text = "\0\0".join(names).encode(errors="surrogateescape")
        return hashlib.sha256(text).hexdigest()

    def files(self, folder: str) -> set[str]:
        """The names of the files of a folder; none where there is no such folder."""
        return self._list(folder)[0]

    def folders(self, folder: str) -> set[str]:
        """The names of the folders in a folder."""
        return self._list(folder)[1]

    def find(self, parts: tuple[str, ...]) -> str | None:
        """The path of a file below the folder by the parts of its name, as they are written."""
        path = os.path.join(self.folder, *parts)
        return path if parts[-1] in self._list(os.path.dirname(path))[0] else None

    def plain_paths(self, names: Sequence[str]) -> list[str] | None:
        """The paths of many files, each of which has exactly the name given.

        Args:
          names: relative to the folder, their parts separated by `/`.

        Returns:
          the paths; None where a name says otherwise or there is no such file.
        """
        if os.sep != "/":  # Windows reads more into a name
            return None
        within: dict[str, list[str]] = {}
        for name in names:
            folder, _, last = name.rpartition("/")
            within.setdefault(folder, []).append(last)
        begins: dict[str, str] = {}
        for folder, files in within.items():
            parts = folder.split("/") if folder else []
            if not {"", ".", ".."}.isdisjoint(parts):
                return None
            path = os.path.join(self.folder, *parts)
            if not self.files(path).issuperset(files):
                return None
            begins[folder] = os.path.join(path, "")
        return [begins[folder] + last for folder, _, last in (n.rpartition("/") for n in names)]

    def find_alike(self, parts: tuple[str, ...]) -> list[str]:
        """As `find`, in any letter case and any normal form of Unicode."""
        folders = [self.folder]
        for part in parts[:-1]:
            folders = [path for folder in folders for path in self._find_part(folder, part, 1)]
        return [path for folder in folders for path in self._find_part(folder, parts[-1], 0)]

    def _list(self, folder: str) -> tuple[set[str], set[str]]:
        """The names of the files of a folder, and those of its folders."""
        self._listed.add(folder)
        return self._read(folder)

    def _read(self, folder: str) -> tuple[set[str], set[str]]:
        """As `_list`, for results that do not depend on all names."""
        if folder not in self._entries:
            files: set[str] = set()
            folders: set[str] = set()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_file():
                            files.add(entry.name)
                        elif entry.is_dir():
                            folders.add(entry.name)
            except (OSError, ValueError):
                pass
            self._entries[folder] = files, folders
        return self._entries[folder]

    def _find_part(self, folder: str, part: str, kind: int) -> list[str]:
        """The paths of the files (kind 0) or folders (1) with a similar name."""
        if part in ("", ".", ".."):
            return [os.path.join(folder, part)] if kind else []
        if folder not in self._alike:
            alike: dict[str, list[str]] = {}
            self._alike[folder] = alike
            for names in self._list(folder):
                for name in names:
                    alike.setdefault(_plain(name), []).append(name)
        found = self._alike[folder].get(_plain(part), [])
        return [os.path.join(folder, name) for name in found if name in self._list(folder)[kind]]


def resolve(name: str, listing: Listing) -> str | None:
    """The one file that a name can mean.

    A name that is a file's own means that file. Any other is read as its writer may have meant it:
    with the separators of Windows, encoded as in a URL, with a query behind it (or, as Label Studio
    writes, the name in the query), beginning with the folder that it is relative to, as a path or
    URL of another machine, in another letter case or normal form of Unicode. It is resolved where
    exactly one file fits.

    Args:
      name: as it is written.
      listing: the folder that the name is relative to.

    Returns:
      the path of the file, or None where no file fits or more than one.
    """
    fitting = find_fitting(name, listing)
    return fitting[0] if len(fitting) == 1 else None


def find_fitting(name: str, listing: Listing) -> list[str]:
    """The paths of all files that a name can mean, sorted; see `resolve`."""
    path = os.path.join(listing.folder, name)
    if path in listing:
        return [path]
    readings = [parts for parts in _readings(name, listing.folder) if parts and parts[-1]]
    fitting = {found for parts in readings if (found := listing.find(parts))}
    fitting = fitting or {found for parts in readings for found in listing.find_alike(parts)}
    return sorted(fitting)


def find_other_suffixes(name: str, listing: Listing) -> list[str]:
    """The paths of the files that differ from a name only in the suffix, sorted.

    Whether they show the same is not known, so `resolve` takes none of them.
    """
    folder, last = os.path.split(os.path.join(listing.folder, name))
    stem = os.path.splitext(last)[0]
    files = (other for other in listing.files(folder) if os.path.splitext(other)[0] == stem)
    return sorted(os.path.join(folder, other) for other in files if other != last)


def _readings(name: str, folder: str) -> Iterator[tuple[str, ...]]:
    """The parts of the paths, relative to the folder, that a name may stand for."""
    own = pathlib.PurePath(os.path.abspath(folder)).name
    for spelling in _spellings(name):
        path = spelling.replace("\\", "/")
        is_elsewhere = path.startswith("/") or ":" in path.partition("/")[0]
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        if not is_elsewhere:
            yield parts
        for start in range(1, len(parts)):
            if is_elsewhere or parts[start - 1] == own:
                yield parts[start:]


def _spellings(name: str) -> list[str]:
    """The name itself, decoded, and without the path or the query of a URL."""
    spellings = [name]
    path, _, query = name.partition("?")
    if query:
        spellings += [path, *(value for _, value in urllib.parse.parse_qsl(query))]
    spellings += [urllib.parse.unquote(spelling) for spelling in spellings if "%" in spelling]
    return [spelling for spelling in dict.fromkeys(spellings) if "\0" not in spelling]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
