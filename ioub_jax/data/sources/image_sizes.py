"""Sizes of images from the headers of their files, without decoding pixels."""

import os
import pathlib
from collections.abc import Sequence
from concurrent import futures

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import open_with_pillow, orientation_of, upright_size


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image whose annotation has none.

    Args:
      path: the file.

    Returns:
      height and width of the pixels as they are stored.

    Raises:
      DataError: it is no image with a readable size.
    """
    try:
        with pathlib.Path(path).open("rb") as file:
            image = open_with_pillow(file)
            return image.height, image.width
    # Pillow raises whatever its plugins do: SyntaxError, ValueError, struct.error.
    except Exception as error:
        raise DataError(
            f"{path}: is not an image with a readable size, and its annotation has none; replace "
            "the file, or set config.data.on_error='skip' to leave the image out.",
            "unreadable_image",
        ) from error


def upright_sizes(paths: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The annotated sizes of images that are turned upright when they are read.

    Tools annotate a photo as it is shown and write its size either so or as it is stored; where
    the annotation says the stored size of a photo that lies on its side, its boxes are taken to
    be those of the upright one.

    Args:
      paths: the file of each image; its header is read.
      sizes: the annotated height and width of each.

    Returns:
      heights and widths; as annotated where they are neither, which decoding tells.
    """

    def judge(path: str, size: tuple[int, int]) -> tuple[int, int]:
        try:
            with open(path, "rb") as file:
                image = open_with_pillow(file)
                stored, orientation = (image.height, image.width), orientation_of(image)
        # Pillow raises whatever its plugins do; decoding tells what is wrong.
        except Exception:
            return size
        return upright_size(stored, orientation) if size == stored else size

    with futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
        return list(threads.map(judge, paths, sizes))
