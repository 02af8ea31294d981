"""The images in the folders and lists of a YOLO data set's split."""

import os
import pathlib
from collections.abc import Sequence

from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES
from ioub_jax.data.sources.text_files import read_text
from ioub_jax.data.sources.yolo_places import Places, images_below


class SplitImages:
    """The images of several folders and lists.

    Attributes:
      paths: the images that exist, each once, in their order.
      folders: the folders that were added.
      of_folders: the images in and below these folders.
      missing: entries of lists whose image does not exist: the list, the line number and the line.
      repeated: entries of lists that repeat an image: the list, the line number and the line.
    """

    def __init__(self) -> None:
        self.paths: dict[str, None] = {}
        self.folders: list[str] = []
        self.of_folders: dict[str, None] = {}
        self.missing: list[tuple[pathlib.Path, int, str]] = []
        self.repeated: list[tuple[pathlib.Path, int, str]] = []

    def add(self, place: pathlib.Path, folders: Sequence[pathlib.Path]) -> None:
        """Adds the images in a folder or a list, or a single image file.

        Args:
          place: the folder, list or image file.
          folders: folders to which the lines of a list may be relative, besides its own folder.

        Raises:
          DataError: the list cannot be read.
        """
        if os.path.isdir(place):
            self.folders.append(str(place))
            self.of_folders |= dict.fromkeys(images_below(place))
            self.paths |= self.of_folders
        elif place.suffix.lower() in IMAGE_SUFFIXES:
            self.paths[str(place)] = None
        else:
            self._add_list(place, folders)

    def _add_list(self, path: pathlib.Path, folders: Sequence[pathlib.Path]) -> None:
        """Adds the images that the lines of a file name."""
        places = Places([path.parent, *folders])
        own: dict[str, None] = {}
        lines = read_text(path, "save it as UTF-8, or choose another").splitlines()
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name:
                continue
            image = places.find_file(name)
            if image is None:
                self.missing.append((path, number, name))
            elif image in own:
                self.repeated.append((path, number, name))
            else:
                own[image] = None
        self.paths |= own
