"""Decoded images on disk, stored in blocks so that a tile can be read without its whole image."""

import hashlib
import io
import os
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_rows import ImageRows
from ioub_jax.data.sources.file_source import AnnotatedImages

BLOCK = 256  # side of a block in pixels
_VERSION = 1


class DecodedImages:
    """A folder with one NumPy file per image: uint8 `[rows, columns, 256, 256, 3]`.

    The file of an image is written atomically when one of its tiles is first asked for. Its name is
    a hash of the path, the size and the modification time of the image file, and of how the image
    is read. Processes and runs can share the folder.

    Args:
      folder: created when it is first needed.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def read(
        self,
        source: AnnotatedImages,
        image: int,
        window: np.ndarray,
        open_image: Callable[[int], ImageRows],
    ) -> np.ndarray:
        """Reads a part of an image.

        Args:
          source: the data set.
          image: the position of the image in it.
          window: int `[4]` xyxy, inside the image.
          open_image: opens an image of the data set.

        Returns:
          uint8 `[h, w, 3]`.

        Raises:
          DataError: the image cannot be decoded, or the folder cannot be written to.
        """
        path = self._folder / f"{_key(source, image)}.npy"
        try:
            blocks = np.load(path, mmap_mode="r")
        except (OSError, ValueError):
            self._write(path, source, image, open_image)
            blocks = np.load(path, mmap_mode="r")
        left, top, right, bottom = window.tolist()
        row, column = top // BLOCK, left // BLOCK
        part = blocks[row : -(-bottom // BLOCK), column : -(-right // BLOCK)].swapaxes(1, 2)
        pixels = part.reshape(part.shape[0] * BLOCK, -1, 3)
        begin_y, begin_x = row * BLOCK, column * BLOCK
        return pixels[top - begin_y : bottom - begin_y, left - begin_x : right - begin_x]

    def _write(
        self,
        path: pathlib.Path,
        source: AnnotatedImages,
        image: int,
        open_image: Callable[[int], ImageRows],
    ) -> None:
        rows = open_image(image)
        height, width = rows.size
        shape = (-(-height // BLOCK), -(-width // BLOCK), BLOCK, BLOCK, 3)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix="unfinished_") as folder:
                unfinished = pathlib.Path(folder) / "blocks.npy"
                with unfinished.open("wb") as file:
                    heading = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, heading)
                    for top in range(0, height, BLOCK):
                        band = np.zeros((BLOCK, shape[1] * BLOCK, 3), np.uint8)
                        read = rows.read(top, min(top + BLOCK, height))
                        band[: len(read), :width] = read
                        blocks = band.reshape(BLOCK, shape[1], BLOCK, 3).swapaxes(0, 1)
                        file.write(blocks.tobytes())
                unfinished.replace(path)
        except OSError as error:
            raise DataError(
                f"{self._folder}: {source.describe(image)} cannot be cached there, which takes "
                f"{np.prod(shape) / 1e6:,.0f} MB ({error.strerror}); give config.data.tiles.cache "
                "another folder, or leave it unset.",
                "folder",
            ) from error
        finally:
            rows.close()


def _key(source: AnnotatedImages, image: int) -> str:
    """Hash of an image's file and of how it is read."""
    reading = source.reading
    try:
        with source.open_image(image) as file:
            try:
                about = os.fstat(file.fileno())
                state: object = (about.st_size, about.st_mtime_ns)
            except io.UnsupportedOperation:  # a record of a larger file
                state = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        state = None  # opening the image reports the error
    name = os.path.abspath(source.describe(image))
    told = repr((_VERSION, BLOCK, name, state, reading.exif, reading.bit_depth))
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:32]
