"""Survey of a data set's images for EXIF orientations and for more than 8 bits per channel."""

import dataclasses
import logging
import os
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import UPRIGHT, read_header, read_orientation
from ioub_jax.data.images import BIT_DEPTHS, bit_depth_of, value_span
from ioub_jax.data.sources.file_source import AnnotatedImages

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=AnnotatedImages)
#: Number of images whose headers are read when a data set is opened. On slow storage a thousand
#: headers take a second; all headers of COCO would take minutes.
LOOKED_INTO = 1000


@dataclasses.dataclass(frozen=True)
class Survey:
    """Findings in images that are spread evenly over a data set.

    Attributes:
      images: number of images in the data set.
      looked_into: number of images whose headers were read: all, or `LOOKED_INTO`.
      turned: number of those images that have an EXIF orientation other than upright.
      deep: positions of those images that have more than 8 bits per channel.
    """

    images: int
    looked_into: int
    turned: int
    deep: tuple[int, ...]

    def of_how_many(self) -> str:
        """The number of images that the counts refer to, in words."""
        if self.looked_into == self.images:
            return f"{self.images:,} images"
        return f"{self.looked_into:,} images looked into (of {self.images:,})"


def survey_images(source: AnnotatedImages) -> Survey:
    """Reads the headers of at most `LOOKED_INTO` images; the same ones every time.

    Args:
      source: a data set whose images are encoded files.
    """

    def look(index: int) -> tuple[bool, bool]:
        try:
            with source.open_image(index) as file:
                deep = bool(read_header(file).deep)
                file.seek(0)
                return read_orientation(file) != UPRIGHT, deep
        except OSError:  # reading the image reports the error
            return False, False

    count = min(len(source), LOOKED_INTO)
    chosen = np.linspace(0, len(source) - 1, count).astype(int).tolist()
    found = _in_threads(look, chosen)
    turned = sum(is_turned for is_turned, _ in found)
    deep = tuple(index for index, (_, is_deep) in zip(chosen, found, strict=True) if is_deep)
    return Survey(len(source), count, turned, deep)


def measured_bit_depth(source: AnnotatedImages, survey: Survey) -> tuple[int, int] | None:
    """The smallest bit depth that holds the values of the surveyed 16-bit images.

    The result depends on the images only.

    Returns:
      the bit depth and the largest value; None if there is no 16-bit image that can be read.
    """

    def largest(index: int) -> int:
        try:
            with source.open_image(index) as file:
                return value_span(file.read(), source.describe(index), source.channels)[1]
        except (OSError, DataError):  # reading the image reports the error
            return -1

    highest = max(_in_threads(largest, survey.deep), default=-1)
    return (bit_depth_of(highest), highest) if highest >= 0 else None


def with_reading(
    source: _T,
    name: str,
    *,
    exif: str = "ignore",
    bit_depth: int | None = None,
    channels: int = 3,
) -> _T:
    """The data set with its images read in a given way; logs values that are measured or ignored.

    Args:
      source: the data set.
      name: name of the data set in the log.
      exif: 'ignore', or 'apply' to turn images according to their EXIF orientation.
      bit_depth: number of bits of the values in the 16-bit images; None to measure it on them.
      channels: number of channels of the pixels, as in `Reading`.
    """
    source = source.read_with(dataclasses.replace(source.reading, channels=channels))
    survey = survey_images(source)
    if survey.turned and exif == "ignore":
        _log.warning("%s: %s", name, orientation_sentence(survey))
    if bit_depth is None:
        measured = measured_bit_depth(source, survey)
        bit_depth = BIT_DEPTHS[-1] if measured is None else measured[0]
        if measured is not None:
            _log.info(
                "%s: %d of %s have 16 bits a channel; their largest value is %s, so they are "
                "read as %d bits (config.data.bit_depth=%d).",
                name,
                len(survey.deep),
                survey.of_how_many(),
                f"{measured[1]:,}",
                bit_depth,
                bit_depth,
            )
    reading = dataclasses.replace(source.reading, exif=exif, bit_depth=bit_depth)
    return source.read_with(reading)


def orientation_sentence(survey: Survey) -> str:
    """A sentence on images with an EXIF orientation, and on what to do about them."""
    verb = "has" if survey.turned == 1 else "have"
    return (
        f"{survey.turned:,} of {survey.of_how_many()} {verb} an EXIF orientation, which is "
        "ignored: boxes refer to the pixels as stored. If they were drawn on upright images, set "
        "config.data.exif='apply'."
    )


def _in_threads(function: Callable[[int], Any], indices: Any) -> list[Any]:
    """Calls `function` for every index and returns the results in order.

    Threads help since reading and decoding release the interpreter's lock.
    """
    with futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
        return list(threads.map(function, indices))
