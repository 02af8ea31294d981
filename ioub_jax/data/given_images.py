"""Images as users give them to a detector: a file, a Pillow image, an array of any library."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from ioub_jax.data import images
from ioub_jax.data.checks import DataError
from ioub_jax.data.image_rows import ImageRows, WholeImage, open_rows, read_shrunk

_WAY_OUT = "or leave it out."


@dataclasses.dataclass(frozen=True, eq=False)
class GivenImage:
    """An image that is read when it is used.

    Attributes:
      given: the name of a file, a Pillow image or an array.
      reading: how the image is converted to pixels.
    """

    given: Any
    reading: images.Reading = images.AS_STORED

    def pixels(self) -> np.ndarray:
        """The whole image, uint8 `[H, W, channels]`.

        Raises:
          DataError: the image cannot be read, or the object is not an image; the message names it.
        """
        if isinstance(self.given, str | os.PathLike):
            path = pathlib.Path(self.given)
            return images.read_image(path, way_out=_WAY_OUT, reading=self.reading)
        if isinstance(self.given, Image.Image):
            return images.pixels_of_pillow(self.given, _WAY_OUT, self.reading)
        if images.is_array(self.given):
            return images.pixels_of_array(self.given, _WAY_OUT, self.reading)
        raise DataError(
            f"An image is a {type(self.given).__name__}; give a file's name, a Pillow image, or an "
            "array of RGB pixels 0-255, uint8 [height, width, 3].",
            "unreadable_image",
        )

    def rows(self) -> ImageRows:
        """The image to be read a few rows at a time, if it is a file whose format allows that.

        Raises:
          DataError: as for `pixels`.
        """
        if not isinstance(self.given, str | os.PathLike):
            return WholeImage(self.pixels())
        path = pathlib.Path(self.given)
        try:
            file = path.open("rb")
        except OSError:
            return WholeImage(self.pixels())  # raises the error with its reason
        return open_rows(file, str(path), way_out=_WAY_OUT, reading=self.reading)

    def shrunk(self, longest: int) -> tuple[np.ndarray, int]:
        """The image with sides of at most `longest` pixels; see `image_rows.read_shrunk`."""
        rows = self.rows()
        try:
            return read_shrunk(rows, longest)
        finally:
            rows.close()
