"""Lookup of a folder's files by names that were written on another system or by a server."""

import hashlib
import os
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Listing:
    """The files in a folder and its subfolders.

    Each folder is listed once, when it is first needed, since a query for each file is slow on NFS.

    Args:
      folder: the folder to which names are relative.
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
        # A file system that ignores case or normalizes Unicode finds files by other names, too.
        if path not in self._asked:
            self._asked[path] = os.path.isfile(path)
        return self._asked[path]

    def has_elsewhere(self, folder: str, name: str) -> bool:
        """True if a folder, which may lie anywhere, has a file of this name.

        Unlike for other methods, `seen` then records this file only and not the rest of the folder:
        a folder beside that of the images changes whenever something is written there.
        """
        path = os.path.join(folder, name)
        self._elsewhere[path] = name in self._read(folder)[0]
        return self._elsewhere[path]

    def seen(self) -> dict[str, Any]:
        """Digests of all listed folders, and the answers to all queries for single files."""
        return {
            "folders": {folder: self._digest(folder) for folder in self._listed},
            "asked": self._asked,
            "elsewhere": self._elsewhere,
        }

    def sees(self, seen: Mapping[str, Any]) -> bool:
        """True if everything is still as another listing recorded it in `seen`."""
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
        """The names of the files in a folder; empty if the folder does not exist."""
        return self._list(folder)[0]

    def folders(self, folder: str) -> set[str]:
        """The names of the folders in a folder."""
        return self._list(folder)[1]

    def find(self, parts: tuple[str, ...]) -> str | None:
        """The path of the file whose name has exactly these parts; None if there is none."""
        path = os.path.join(self.folder, *parts)
        return path if parts[-1] in self._list(os.path.dirname(path))[0] else None

    def plain_paths(self, names: Sequence[str]) -> list[str] | None:
        """The paths of many files whose names are exactly as given.

        Args:
          names: names relative to the folder, with their parts separated by `/`.

        Returns:
          the paths; None if a name has parts such as `..` or if a file does not exist.
        """
        if os.sep != "/":  # a name may have other separators and a drive on Windows
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
        """Finds files as `find` does, but in any letter case and any normal form of Unicode."""
        folders = [self.folder]
        for part in parts[:-1]:
            folders = [path for folder in folders for path in self._find_part(folder, part, 1)]
        return [path for folder in folders for path in self._find_part(folder, parts[-1], 0)]

    def _list(self, folder: str) -> tuple[set[str], set[str]]:
        """The names of the files and of the folders in a folder, which `seen` then records."""
        self._listed.add(folder)
        return self._read(folder)

    def _read(self, folder: str) -> tuple[set[str], set[str]]:
        """Reads a folder as `_list` does, for results that do not depend on all of its names."""
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
        """The paths of the files (kind 0) or folders (kind 1) with a similar name."""
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
    """The only file that a name can mean.

    If a file has exactly this name, the name means that file. Otherwise the name is interpreted in
    all ways in which its writer may have meant it: with the separators of Windows, encoded as in a
    URL, followed by a query (or contained in the query, as Label Studio writes it), beginning with
    the folder to which it is relative, as a path or URL on another machine, or in another letter
    case or normal form of Unicode. It is resolved if exactly one file fits.

    Args:
      name: the name as written.
      listing: the folder to which the name is relative.

    Returns:
      the path of the file, or None if no file or more than one file fits.
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

    Whether they show the same image is not known, so `resolve` does not accept them.
    """
    folder, last = os.path.split(os.path.join(listing.folder, name))
    stem = os.path.splitext(last)[0]
    files = (other for other in listing.files(folder) if os.path.splitext(other)[0] == stem)
    return sorted(os.path.join(folder, other) for other in files if other != last)


def _readings(name: str, folder: str) -> Iterator[tuple[str, ...]]:
    """Yields the parts of each path, relative to the folder, that a name may stand for."""
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
    """The name, the name without its URL query, the query's values, and all these URL-decoded."""
    spellings = [name]
    path, _, query = name.partition("?")
    if query:
        spellings += [path, *(value for _, value in urllib.parse.parse_qsl(query))]
    spellings += [urllib.parse.unquote(spelling) for spelling in spellings if "%" in spelling]
    return [spelling for spelling in dict.fromkeys(spellings) if "\0" not in spelling]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
