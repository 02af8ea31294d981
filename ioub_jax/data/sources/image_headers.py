"""The size of an image as the header of its file gives it."""

import os
import warnings

from ioub_jax.data.checks import DataError


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image whose annotation gives none; its pixels are not decoded.

    Args:
        path: The file.

    Returns:
        Height and width of the pixels as they are stored.

    Raises:
        DataError: If it is no image with a readable size.
    """
    # OpenCV cannot read a header alone. Few data sets need this, so others do not load Pillow.
    import PIL.Image

    try:
        with warnings.catch_warnings():
            # How many pixels are too many is judged where they are decoded.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path) as image:
                return image.height, image.width
    except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: is no image with a readable size, and its annotation gives none; replace the "
            "file, or set config.data.on_error='skip' to leave the image out.",
            "unreadable_image",
        ) from error
