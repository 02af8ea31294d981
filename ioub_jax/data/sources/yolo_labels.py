"""Matches between the images of a YOLO data set and its label files."""

import os
import re
from collections.abc import Iterable

from ioub_jax.data.sources.file_names import Listing
from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES
from ioub_jax.data.sources.text_files import decoded

# Possible names of the folder of images that corresponds to a folder 'labels'; darknet also uses
# the second.
_IMAGES = ("images", "jpegimages")
_LABELS = "labels"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Number of bytes that are read to check whether a file's first row is that of a label file.
_BEGINNING = 4096


class LabelFolders:
    """The label file of each image: in `labels` if its folder is below `images`, else beside it.

    If a path contains several folders called `images`, the last one counts. If the corresponding
    folder of labels does not exist, the label files lie beside the images. Each folder is listed
    once.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._listings: dict[str, dict[str, str]] = {}
        self._alike: dict[str, dict[str, list[str]]] = {}

    def folder_of(self, image_folder: str) -> str:
        """The folder with the label files for a folder of images."""
        if image_folder not in self._folders:
            self._folders[image_folder] = _counterpart(image_folder) or image_folder
        return self._folders[image_folder]

    def find(self, image: str) -> str | None:
        """The label file of an image, or None if there is none."""
        image_folder, name = os.path.split(image)
        folder, stem = self.folder_of(image_folder), os.path.splitext(name)[0]
        labels = self._labels(folder)
        if stem not in labels:  # the letter case may differ, since Windows ignores it
            alike = self._alike[folder].get(stem.casefold(), [])
            if len(alike) != 1 or _has_image(image_folder, alike[0]):
                return None
            stem = alike[0]
        return os.path.join(folder, labels[stem])

    def orphans(self, images: Iterable[str], places: Iterable[str]) -> list[str]:
        """The label files without an image, sorted.

        Empty files are left out, as are other text files such as a list of classes.

        Args:
          images: the images whose folders of label files are searched.
          places: the folders that contain these images, directly or in subfolders.
        """
        stems: dict[str, set[str]] = {}
        for place in places:
            folder = self.folder_of(place)
            if folder != place:  # it may have subfolders to which no folder of images corresponds
                stems |= {parent: set() for parent, _, _ in os.walk(folder)}
        for image_folder in {os.path.dirname(image) for image in images}:
            names = (os.path.splitext(name) for name in Listing(image_folder).files(image_folder))
            stems.setdefault(self.folder_of(image_folder), set()).update(
                stem.casefold() for stem, suffix in names if suffix.lower() in IMAGE_SUFFIXES
            )
        found = [
            os.path.join(folder, name)
            for folder, known in stems.items()
            for stem, name in self._labels(folder).items()
            if stem.casefold() not in known
        ]
        return [path for path in sorted(found) if is_label_file(path)]

    def _labels(self, folder: str) -> dict[str, str]:
        """The names of the label files in a folder, by their stems."""
        if folder not in self._listings:
            parts = [(os.path.splitext(name), name) for name in Listing(folder).files(folder)]
            labels = {
                stem: name
                for (stem, suffix), name in parts
                if suffix.lower() == ".txt" and not name.startswith(".")
            }
            alike: dict[str, list[str]] = {}
            for stem in labels:
                alike.setdefault(stem.casefold(), []).append(stem)
            self._listings[folder], self._alike[folder] = labels, alike
        return self._listings[folder]


def _has_image(folder: str, stem: str) -> bool:
    return any(os.path.splitext(name)[0] == stem for name in Listing(folder).files(folder))


def _counterpart(image_folder: str) -> str | None:
    """The folder of labels that corresponds to a folder of images, or None if there is none."""
    parts = os.path.abspath(image_folder).split(os.sep)
    places = [place for place, part in enumerate(parts) if part.casefold() in _IMAGES]
    if not places:
        return None
    place = places[-1]
    above = os.sep.join(parts[:place]) or os.sep
    names = (name for name in Listing(above).folders(above) if name.casefold() == _LABELS)
    for name in sorted(names, key=lambda name: (name != _LABELS, name)):
        folder = os.path.join(above, name, *parts[place + 1 :])
        if os.path.isdir(folder):
            return folder
    return None


def is_label_file(path: str) -> bool:
    """True if a file begins with a row of a label file: a class and at least four numbers."""
    try:
        with open(path, "rb") as file:
            text = decoded(file.read(_BEGINNING))
    except (OSError, UnicodeDecodeError):
        return False
    row = next((line.split() for line in text.splitlines() if line.strip()), [])
    return len(row) >= 5 and all(map(is_number, row[:5]))


def is_number(text: str) -> bool:
    """True if a text is a decimal number in the notation of label files."""
    return _NUMBER.fullmatch(text) is not None
