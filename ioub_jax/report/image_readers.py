"""Sources of a report's pixels: a folder of image files, or a data source."""

import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ioub_jax.coco_values import id_of
from ioub_jax.data.checks import DataError
from ioub_jax.data.images import Reading, read_image
from ioub_jax.data.sources.example import Source
from ioub_jax.evaluation.coco_input import CheckedInput
from ioub_jax.report.measurement import ImageEntry

_WAY_OUT = "or leave the report without its picture."


class ImageReader(Protocol):
    """A reader of the images of a report."""

    def read(self, number: int) -> np.ndarray:
        """The image with a number, from 0, as uint8 `[H, W, 3]` RGB; raises `DataError`."""


class FolderImages:
    """The image files in a folder, by the `file_name` of the ground truth.

    Args:
      folder: the folder.
      entries: the images of the ground truth.
    """

    def __init__(self, folder: pathlib.Path, entries: Sequence[ImageEntry]) -> None:
        self._folder, self._entries = folder, entries

    def read(self, number: int) -> np.ndarray:
        """As `ImageReader`."""
        entry = self._entries[number]
        path = self._path_of(entry)
        image = read_image(path, way_out=_WAY_OUT)
        if entry.size is not None and not _is_like(image, entry.size):
            # The annotations may belong to the image after its EXIF orientation is applied.
            turned = read_image(path, way_out=_WAY_OUT, reading=Reading(exif="apply"))
            if not _is_like(turned, entry.size):
                width, height = entry.size
                raise DataError(
                    f"{path}: the image is {image.shape[1]}x{image.shape[0]}, but the ground truth "
                    f"says {width:g}x{height:g}; correct its width and height, {_WAY_OUT}",
                    "image_size",
                )
            image = turned
        return image

    def _path_of(self, entry: ImageEntry) -> pathlib.Path:
        if entry.file_name is None:
            raise DataError(
                f"image {entry.name} has no file_name in the ground truth; add it, {_WAY_OUT}",
                "missing_image",
            )
        if "\0" in entry.file_name:
            raise DataError(
                f"{entry.name} is not a file name; correct it, {_WAY_OUT}", "missing_image"
            )
        written = [entry.file_name, urllib.parse.unquote(entry.file_name)]
        # Windows separates folders by backslashes.
        names = dict.fromkeys([*written, *(name.replace("\\", "/") for name in written)])
        paths = [self._folder / name for name in names]
        paths += [self._folder / pathlib.PurePath(name).name for name in names]
        return next((path for path in paths if _is_file(path)), paths[0])


def _is_file(path: pathlib.Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long
        return False


class SourceImages:
    """The images of a data source.

    Args:
      source: a source of whole images.
      checked: the ground truth that was made from it.
    """

    def __init__(self, source: Source, checked: CheckedInput) -> None:
        self._source = source
        identities = (source.image_id(index) for index in range(len(source)))
        written = source.written_ids
        indices = {id_of(written.get(id_, id_)): index for index, id_ in enumerate(identities)}
        self._indices = [indices[id_of(id_)] for id_ in checked.image_ids]

    def read(self, number: int) -> np.ndarray:
        """As `ImageReader`."""
        image = np.asarray(self._source[self._indices[number]].image)
        return image[..., :3] if image.shape[-1] >= 3 else image[..., [0, 0, 0]]


def _is_like(image: np.ndarray, size: tuple[float, float]) -> bool:
    """True if an image has the aspect ratio of a size, within a pixel, at any scale."""
    width, height = size
    scale = image.shape[1] / width
    return abs(image.shape[0] - height * scale) <= max(1.0, scale)
