"""Lists of class names beside YOLO's labels, such as classes.txt and obj.names."""

import os
import pathlib
from collections.abc import Iterable

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.text_files import read_text
from ioub_jax.data.sources.yolo_description import checked_names
from ioub_jax.data.sources.yolo_labels import LabelFolders

_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")


def find_names_file(folder: pathlib.Path, places: Iterable[str]) -> pathlib.Path | None:
    """The list of names in a data set's folder, in 'labels', or beside the labels of a split.

    Args:
      folder: the data set's folder.
      places: the folders and lists of its splits.

    Returns:
      the file; None if there is none.

    Raises:
      DataError: there are several lists with different names.
    """
    labels = LabelFolders()
    images = [place for place in places if os.path.isdir(place)]
    beside = [labels.folder_of(place) for place in images]
    for level in ([folder], [folder / "labels"], [*beside, *images, *map(os.path.dirname, images)]):
        paths = [pathlib.Path(place, name) for place in level for name in _FILES]
        found = list(dict.fromkeys(path for path in paths if os.path.isfile(path)))
        for other in found[1:]:
            if read_names(other) != read_names(found[0]):
                raise DataError(
                    f"{other}: names other classes than {found[0]}; keep the right one.",
                    "broken_annotation",
                )
        if found:
            return found[0]
    return None


def read_names(path: pathlib.Path) -> dict[int, str]:
    """The names in a list, by their ids: one line per class, from id 0.

    Args:
      path: the list.

    Raises:
      DataError: the list cannot be read, or a name is invalid.
    """
    lines = [line.strip() for line in read_text(path, "save it as UTF-8").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return checked_names(dict(enumerate(lines)), path)
