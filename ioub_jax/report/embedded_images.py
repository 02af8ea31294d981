"""Images embedded in the page, whole or in part, as JPEGs of bounded size."""

import base64
import dataclasses
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.report.galleries import Picture
from ioub_jax.report.image_readers import ImageReader
from ioub_jax.report.measurement import Measured

#: The most bytes of all JPEGs of a report; encoded in the page they take a third more.
MOST_BYTES = 15_000_000
_MOST_OF_ONE = 150_000
_LONGEST = 640  # pixels of the longer side
_QUALITIES = (80, 65, 50, 35, 20)
# An image that is not much larger than an embedded one is shown as a whole.
_WHOLE = 1.5 * _LONGEST

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class EmbeddedImage:
    """An image, or a part of it, as embedded in the page.

    Attributes:
      name: its id on the page.
      image: the number of the image, from 0.
      region: x, y, width and height of the part, in pixels of the ground truth.
      jpeg: its pixels; None if they are not available.
    """

    name: str
    image: int
    region: Box
    jpeg: bytes | None

    @property
    def address(self) -> str | None:
        """The pixels as a data URL."""
        if self.jpeg is None:
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """All images of a page.

    Attributes:
      images: the images, each of them once.
      of_pictures: the position of the image of every picture.
      problems: a sentence for every image that could not be read.
    """

    images: tuple[EmbeddedImage, ...]
    of_pictures: tuple[int, ...]
    problems: tuple[str, ...]


def embed(
    pictures: Sequence[Picture],
    measured: Measured,
    reader: ImageReader | None,
    most_bytes: int = MOST_BYTES,
) -> Embedded:
    """Reads and compresses the images of some pictures.

    Args:
      pictures: the pictures to show. If two of them show the same part of an image, it is embedded
        once.
      measured: the measurements of a run; all runs of the report have the same ground truth.
      reader: the reader of the images. None if there are none; boxes are then drawn on a blank
        background.
      most_bytes: the limit for all JPEGs together.
    """
    by_image: dict[int, list[int]] = {}
    for number, picture in enumerate(pictures):
        by_image.setdefault(picture.image, []).append(number)
    shares = {
        image: _count(measured, image, pictures, numbers) for image, numbers in by_image.items()
    }
    left = sum(shares.values())
    images: list[EmbeddedImage] = []
    of_pictures = [0] * len(pictures)
    problems: list[str] = []
    for image, numbers in by_image.items():
        pixels = _read(reader, image, problems)
        size = _size_of(measured, image, pixels)
        regions = [_region(size, focus_of(measured, pictures[number])) for number in numbers]
        places: dict[Box, int] = {}
        for region in dict.fromkeys(regions):
            jpeg = None
            if pixels is not None:
                most = min(most_bytes // max(left - len(places), 1), _MOST_OF_ONE)
                jpeg = _compressed(_part(pixels, size, region), most)
                most_bytes -= len(jpeg)
            places[region] = len(images)
            images.append(EmbeddedImage(f"i{len(images)}", image, region, jpeg))
        left -= shares[image]
        for number, region in zip(numbers, regions, strict=True):
            of_pictures[number] = places[region]
    return Embedded(tuple(images), tuple(of_pictures), tuple(problems))


def _read(reader: ImageReader | None, image: int, problems: list[str]) -> np.ndarray | None:
    """Returns an image; None if it cannot be read, in which case `problems` gets a sentence."""
    if reader is None:
        return None
    try:
        return reader.read(image)
    except DataError as error:
        problems.append(str(error))
        return None


def _count(
    measured: Measured, image: int, pictures: Sequence[Picture], numbers: Sequence[int]
) -> int:
    """Returns the number of parts of an image to embed, or an upper bound if it is unknown."""
    size = measured.images[image].size
    if size is None:
        return len(numbers)
    return len({_region(size, focus_of(measured, pictures[number])) for number in numbers})


def focus_of(measured: Measured, picture: Picture) -> Box | None:
    """The box around the subject of a picture, xywh; None if it is the whole image."""
    compared = measured.compared
    boxes = []
    if picture.detection is not None:
        boxes.append(compared.found.boxes[picture.detection])
    if picture.box is not None:
        boxes.append(compared.objects.boxes[picture.box])
    if not boxes:
        return None
    corners = np.array([[x, y, x + width, y + height] for x, y, width, height in boxes])
    (left, top), (right, bottom) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def within(focus: Box, size: tuple[float, float], margin: float, least: float) -> Box:
    """The part of an image around a box.

    Args:
      focus: the box, xywh.
      size: width and height of the image.
      margin: the ratio of the part's side to the longer side of the box.
      least: the minimum side of the part, in pixels.
    """
    sides = []
    longest = max(margin * max(focus[2:]), least)
    for start, length, whole in zip(focus[:2], focus[2:], size, strict=True):
        wanted = min(longest, whole)
        first = min(max(start + length / 2 - wanted / 2, 0.0), whole - wanted)
        sides.append((round(first, 1), round(wanted, 1)))
    (x, width), (y, height) = sides
    return x, y, width, height


def _size_of(measured: Measured, image: int, pixels: np.ndarray | None) -> tuple[float, float]:
    """Returns the width and height of an image, from the ground truth if it has them."""
    entry = measured.images[image]
    if entry.size is not None:
        return entry.size
    if pixels is not None:
        return float(pixels.shape[1]), float(pixels.shape[0])
    compared = measured.compared
    ends = [np.ones((1, 2))]
    for placed in (compared.objects, compared.found):
        of_image = placed.boxes[placed.images == image + 1]
        ends.append(of_image[:, :2] + of_image[:, 2:])
    width, height = np.minimum(np.concatenate(ends).max(axis=0), 1e5).tolist()
    return width, height


def _region(size: tuple[float, float], focus: Box | None) -> Box:
    """Returns the part of an image to embed."""
    if focus is None or max(size) <= _WHOLE:
        return (0.0, 0.0, *size)
    return within(focus, size, 1.5, _LONGEST)


def _part(pixels: np.ndarray, size: tuple[float, float], region: Box) -> np.ndarray:
    """Returns the pixels of a region."""
    height, width = pixels.shape[:2]
    across, down = width / size[0], height / size[1]
    left, top = round(region[0] * across), round(region[1] * down)
    right = max(round((region[0] + region[2]) * across), left + 1)
    bottom = max(round((region[1] + region[3]) * down), top + 1)
    return pixels[top:bottom, left:right]


def _compressed(pixels: np.ndarray, most: int) -> bytes:
    """Returns a JPEG with at most `most` bytes, at the best possible quality."""
    for longest in _longest_sides():
        reduced = _reduced(pixels, longest)
        for quality in _QUALITIES:
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            _, encoded = cv2.imencode(".jpg", reduced[..., ::-1], options)
            if len(encoded) <= most:
                return encoded.tobytes()
    return encoded.tobytes()


def _longest_sides() -> Iterable[int]:
    longest = _LONGEST
    while longest >= 16:
        yield longest
        longest //= 2


def _reduced(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Returns the pixels, reduced so that the longer side is at most `longest`."""
    height, width = pixels.shape[:2]
    scale = min(longest / max(height, width), 1.0)
    if scale == 1.0:
        return np.ascontiguousarray(pixels)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
