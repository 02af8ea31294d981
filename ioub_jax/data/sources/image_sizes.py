"""Sizes of images from the headers of their files, without decoding pixels."""

import os
import pathlib
from collections.abc import Sequence
from concurrent import futures

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import open_with_pillow, orientation_of, upright_size


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image whose annotation does not give them.

    Args:
      path: the file.

    Returns:
      height and width of the pixels as stored.

    Raises:
      DataError: the file is not an image with a readable size.
    """
    try:
        with pathlib.Path(path).open("rb") as file:
            image = open_with_pillow(file)
            return image.height, image.width
    # Pillow passes on whatever its plugins raise: SyntaxError, ValueError, struct.error.
    except Exception as error:
        raise DataError(
            f"{path}: is not an image with a readable size, and its annotation has none; replace "
            "the file, or set config.data.on_error='skip' to leave the image out.",
            "unreadable_image",
        ) from error


def upright_sizes(paths: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The upright sizes of images that are turned upright when they are read.

    Tools annotate a photo as it is displayed, but write either its displayed or its stored size.
    If the annotation gives the stored size of a photo that is stored on its side, its boxes are
    nevertheless taken to refer to the upright photo.

    Args:
      paths: the file of each image; its header is read.
      sizes: the annotated height and width of each image.

    Returns:
      height and width of each image. An annotated size that is neither the stored nor the upright
      one is returned unchanged; decoding the image then reports it.
    """

    def judge(path: str, size: tuple[int, int]) -> tuple[int, int]:
        try:
            with open(path, "rb") as file:
                image = open_with_pillow(file)
                stored, orientation = (image.height, image.width), orientation_of(image)
        # Pillow passes on whatever its plugins raise; decoding the image reports what is wrong.
        except Exception:
            return size
        return upright_size(stored, orientation) if size == stored else size

    with futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
        return list(threads.map(judge, paths, sizes))
