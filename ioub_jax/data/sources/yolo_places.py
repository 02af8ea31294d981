"""Search for the folders, lists and images that the files of a YOLO data set name."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from ioub_jax.data.sources.file_names import Listing, resolve
from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder or a file that a written path means.

    Attributes:
      path: the folder or file.
      is_written: whether it lies exactly where the written path says, and was not found only after
        removing a part of the path.
    """

    path: pathlib.Path
    is_written: bool


class Places:
    """Finds the places of paths that may come from another machine or refer to another folder.

    A path is first looked for as written, then without leading '../', which Roboflow writes, and
    then without more and more of its first folders.

    Args:
      folders: folders to which the paths may be relative, the most likely first.
    """

    def __init__(self, folders: Sequence[pathlib.Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        self._listings: dict[str, Listing] = {}
        self._within: dict[str, list[str]] = {}

    def find(self, written: str) -> Place | None:
        """The folder or file that a path means, or None if there is none."""
        for path, is_written in self._readings(written):
            if os.path.exists(path):
                return Place(pathlib.Path(path), is_written)
        return None

    def find_file(self, written: str) -> str | None:
        """Finds one of many files as `find` does, but lists each folder only once.

        The last part of the path may be written in another letter case or encoded as in a URL if
        exactly one file fits.
        """
        within, _, last = written.replace("\\", "/").rpartition("/")
        if written.replace("\\", "/").startswith("/") and not within:
            within = "/"
        if within not in self._within:
            readings = self._readings(within or ".")
            found = dict.fromkeys(path for path, _ in readings if os.path.isdir(path))
            self._within[within] = list(found)
        folders = self._within[within]
        for folder in folders:
            if last in self._listing(folder).files(folder):
                return os.path.join(folder, last)
        for folder in folders:
            if (path := resolve(last, self._listing(folder))) is not None:
                return path
        return None

    def _listing(self, folder: str) -> Listing:
        if folder not in self._listings:
            self._listings[folder] = Listing(folder)
        return self._listings[folder]

    def _readings(self, written: str) -> Iterator[tuple[str, bool]]:
        """Yields the paths that a written path may mean, each with `Place.is_written`."""
        text = os.path.expanduser(written).replace("\\", "/")
        is_absolute = text.startswith("/") or bool(_DRIVE.match(text))
        if "\0" in text:
            return
        if os.path.isabs(text):
            yield os.path.normpath(text), True
        if not is_absolute:
            for folder in self.folders:
                yield os.path.normpath(folder / text), True
        parts = [part for part in text.split("/") if part not in ("", ".")]
        up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
        for start in range(max(up, 1), len(parts)):
            for folder in self.folders:
                yield os.path.normpath(folder.joinpath(*parts[start:])), False


def images_below(folder: pathlib.Path) -> list[str]:
    """The image files in a folder and its subfolders, sorted by folder and name; none hidden."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(parent, name)
            for name in sorted(names)
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
        ]
    return found
