"""Conversion of image files, Pillow images and arrays to 8-bit arrays, RGB by default."""

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
import PIL.Image

from ioub_jax.data.bands import bands_of_array, decode_bands, gray_of
from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import (
    UPRIGHT,
    Header,
    has_lost_bits,
    is_sideways,
    open_with_pillow,
    orientation_of,
    read_header,
    read_orientation,
    refusal_of_tiff,
    upright_size,
)

_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_PNG = b"\x89PNG"
WAY_OUT = "or set config.data.on_error='skip' to train without it."
# A JPEG decoder can produce an image at a half, a quarter or an eighth of its size directly from
# the coefficients, in a fraction of the time. (OpenCV names these flags for gray and BGR only.)
_REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}
#: The numbers of significant bits that 16-bit images may have.
BIT_DEPTHS = (8, 10, 12, 14, 16)
# Modes of Pillow with at most 8 bits that can be converted to RGB; transparency is dropped.
_PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")
# Formats whose further images are separate images and not previews (as in an MPO).
_OF_SEVERAL = ("GIF", "PNG", "TIFF", "WEBP")


@dataclasses.dataclass(frozen=True)
class Reading:
    """Conversion of images to pixels, the same in training, evaluation and detection of a run.

    Attributes:
      exif: 'ignore' keeps pixels as they are stored; 'apply' turns images by their EXIF
        orientation.
      bit_depth: the number of significant bits in the values of 16-bit images, one of `BIT_DEPTHS`;
        the eight highest of them become the pixels.
      channels: the number of channels of the pixels: 3 for RGB, 1 for gray; any other number for
        that many bands as they are stored.
    """

    exif: str = "ignore"
    bit_depth: int = 16
    channels: int = 3

    @property
    def is_of_bands(self) -> bool:
        """True if the bands are used as stored, without conversion to RGB or gray."""
        return self.channels not in (1, 3)


#: The default conversion.
AS_STORED = Reading()


def read_image(
    path: pathlib.Path,
    size: tuple[int, int] | None = None,
    at_least: tuple[int, int] | None = None,
    way_out: str = WAY_OUT,
    reading: Reading = AS_STORED,
) -> np.ndarray:
    """Reads an image file, as RGB unless `reading` has other channels.

    Grayscale, palette, CMYK, 16-bit and transparent images are converted to RGB. Images with
    several pages or frames, float values or more bands are refused. With one channel, images are
    converted to gray instead. With any number of channels other than 1 and 3, an image must have
    that many bands.

    Args:
      path: the file.
      size: the annotated height and width, which the image must have after `reading` has turned it;
        None: not checked.
      at_least: height and width that suffice. A JPEG of at least twice that size is decoded at a
        half, a quarter or an eighth of its size; requires `size`.
      way_out: the end of an error's sentence: the alternative to repairing the file.
      reading: how the image is converted to pixels.

    Returns:
      uint8 `[H, W, channels]`.

    Raises:
      DataError: the file is missing, empty, truncated, not an image, of another size, of a kind
        that is not supported, or has values beyond the bit depth.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file, {way_out}",
            "missing_image",
        ) from error
    return decode_image(data, str(path), size, at_least, way_out, reading)


def decode_image(
    data: bytes,
    name: str,
    size: tuple[int, int] | None = None,
    at_least: tuple[int, int] | None = None,
    way_out: str = WAY_OUT,
    reading: Reading = AS_STORED,
) -> np.ndarray:
    """Decodes the bytes of an image file.

    Args:
      data: the contents of the file.
      name: the name of the file in errors.
      size: as for `read_image`.
      at_least: as for `read_image`.
      way_out: as for `read_image`.
      reading: as for `read_image`.

    Returns:
      uint8 `[H, W, channels]`.

    Raises:
      DataError: as for `read_image`.
    """
    header = _checked_header(data, name, way_out, reading.channels)
    orientation = read_orientation(io.BytesIO(data)) if reading.exif == "apply" else UPRIGHT
    reduction = 1
    is_jpeg = data.startswith(_START) and header.size is not None and not header.by_pillow
    if is_jpeg and size is not None and at_least is not None:
        reduction = reduction_for(size, at_least)
    if reading.is_of_bands:
        reduction = 1
        values = decode_bands(data, name, reading.channels, way_out)
    else:
        values = _decode(data, name, header, reduction, way_out)
    stored = values.shape[:2] if reduction == 1 or header.size is None else header.size
    if size is not None and upright_size(stored, orientation) != size:
        told = explain_size(stored, size, read_orientation(io.BytesIO(data)), reading.exif)
        raise DataError(f"{name}: {told}, {way_out}", "image_size")
    return _turned(_to_channels(values, name, reading, way_out), orientation)


def value_span(data: bytes, name: str, channels: int = 3) -> tuple[int, int]:
    """The smallest and largest value of a 16-bit image file, whatever the bit depth.

    Args:
      data: the contents of the file.
      name: the name of the file in errors.
      channels: as in `Reading`.

    Raises:
      DataError: the file is truncated, not an image, or of a kind that is not supported.
    """
    header = _checked_header(data, name, WAY_OUT, channels)
    if Reading(channels=channels).is_of_bands:
        values = decode_bands(data, name, channels, WAY_OUT)
    else:
        values = _decode(data, name, header, 1, WAY_OUT)
    return int(values.min()), int(values.max())


def bit_depth_of(largest: int) -> int:
    """The smallest bit depth that can hold a value; the largest bit depth if none can."""
    return next((depth for depth in BIT_DEPTHS if largest < 2**depth), BIT_DEPTHS[-1])


def _checked_header(data: bytes, name: str, way_out: str, channels: int) -> Header:
    """The header of an image file; raises DataError if it is truncated or not supported."""
    # OpenCV fills the missing rows of a truncated JPEG with gray and reports nothing.
    if is_truncated(data):
        raise truncated(name, way_out)
    header = read_header(io.BytesIO(data), channels)
    if header.refusal:
        raise DataError(f"{name}: {header.refusal}, {way_out}", "unreadable_image")
    return header


def truncated(name: str, way_out: str) -> DataError:
    """The error for an image that ends before its last row."""
    return DataError(
        f"{name}: the image is truncated, it ends before its last row; "
        f"copy or download it again, {way_out}",
        "unreadable_image",
    )


def _decode(data: bytes, name: str, header: Header, reduction: int, way_out: str) -> np.ndarray:
    """uint8 `[H, W, 3]` RGB, or the values of a 16-bit image, `[H, W]` or `[H, W, 3]`."""
    if header.by_pillow:
        with _told(name, way_out):
            return _values_of(open_with_pillow(io.BytesIO(data)), name, way_out)
    # IMREAD_ANYDEPTH with IMREAD_COLOR_RGB would corrupt a 16-bit TIFF (OpenCV 5.0).
    plain = header.deep is False
    flags = cv2.IMREAD_COLOR_RGB if plain else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    flags |= cv2.IMREAD_IGNORE_ORIENTATION | _REDUCTIONS[reduction]
    image: Any = None
    # OpenCV returns None for most unreadable files, but raises for some, such as an empty file or
    # one with too many pixels.
    with contextlib.suppress(cv2.error):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise DataError(
            f"{name}: is empty or not an image that OpenCV can decode; replace the file, {way_out}",
            "unreadable_image",
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{name}: is of {image.dtype}, which cannot be read; convert it to 8 or 16 bits, "
            f"{way_out}",
            "unreadable_image",
        )
    return image if plain else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@contextlib.contextmanager
def _told(name: str, way_out: str) -> Iterator[None]:
    """Turns all errors of Pillow, such as SyntaxError, OSError and struct.error, into DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name}: cannot be decoded ({why}); replace it, {way_out}", "unreadable_image"
        ) from error


def pixels_of_pillow(
    image: PIL.Image.Image, way_out: str = "or leave it out.", reading: Reading = AS_STORED
) -> np.ndarray:
    """The pixels of a Pillow image, equal to those of `read_image` for its file.

    Args:
      image: an image of any mode, opened from a file or created.
      way_out: the end of an error's sentence.
      reading: as for `read_image`.

    Returns:
      uint8 `[H, W, channels]`.

    Raises:
      DataError: the image cannot be decoded, or its mode or kind of file is not supported.
    """
    name = str(getattr(image, "filename", "")) or "A Pillow image"
    tags = getattr(image, "tag_v2", None)
    with _told(name, way_out):
        frames = getattr(image, "n_frames", 1) if image.format in _OF_SEVERAL else 1
        refusal = refusal_of_tiff(tags, reading.channels) if tags is not None else ""
        if frames > 1:
            refusal = (
                f"has {frames:,} frames or pages; give image.copy() of one of them, since none is "
                "chosen here"
            )
        elif has_lost_bits(image) and reading.bit_depth != 16:
            refusal = (
                f"has 16-bit colors, but Pillow's mode {image.mode} keeps only 8 bits, and the "
                f"bit depth is {reading.bit_depth}; give the file's name or a uint16 array"
            )
        if refusal:
            raise DataError(f"{name}: {refusal}, {way_out}", "unreadable_image")
        if reading.is_of_bands:
            values = bands_of_array(np.asarray(image), name, reading.channels, way_out)
        else:
            values = _values_of(image, name, way_out)
        orientation = orientation_of(image) if reading.exif == "apply" else UPRIGHT
    return _turned(_to_channels(values, name, reading, way_out), orientation)


def _values_of(image: PIL.Image.Image, name: str, way_out: str) -> np.ndarray:
    """The values of a Pillow image, in the form of `_decode`."""
    if image.mode in _PLAIN_MODES:
        return np.asarray(image.convert("RGB"))
    if image.mode.startswith("I"):  # 16 bits in either byte order, or 32 bits
        values = np.asarray(image)
        if values.size and values.min() >= 0 and values.max() < 2**16:
            return values.astype(np.uint16)
        spans = f"{values.min()} to {values.max()}" if values.size else "none"
        raise DataError(
            f"{name}: is of mode {image.mode} with the values {spans}, but only 0 to 65535 can be "
            f"read; convert it to 8 or 16 bits, {way_out}",
            "unreadable_image",
        )
    kind = "32-bit float (mode F)" if image.mode == "F" else f"of mode {image.mode}"
    raise DataError(
        f"{name}: is {kind}, which cannot be read; convert it to RGB or to gray of 8 or 16 bits, "
        f"{way_out}",
        "unreadable_image",
    )


def pixels_of_array(
    image: Any, way_out: str = "or leave it out.", reading: Reading = AS_STORED
) -> np.ndarray:
    """The pixels of an array of numpy, jax, torch or any library that numpy can convert.

    Args:
      image: uint8 `[H, W, 3]`, RGB values 0-255; also `[H, W]` or `[H, W, 1]`, gray, and
        `[H, W, 4]`, whose last channel is dropped. uint16 values are read as those of a 16-bit
        image file. If `reading` has channels other than 1 and 3, the array must have that many.
      way_out: the end of an error's sentence.
      reading: as for `read_image`.

    Returns:
      uint8 `[H, W, channels]`.

    Raises:
      DataError: the array is none of these; the message says what it is and what to give.
    """
    values = as_array(image)
    shape = f"{values.dtype} {list(values.shape)}"
    if values.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"An image is an array of {shape}; its values must be uint8, 0 to 255, so convert "
            "them: (255 * image).round().astype('uint8') if they are in 0 to 1, "
            "image.astype('uint8') if they are in 0 to 255.",
            "unreadable_image",
        )
    if reading.is_of_bands and values.ndim in (2, 3) and values.size:
        values = bands_of_array(values, "An image", reading.channels, way_out)
        return _to_channels(values, "An image", reading, way_out)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        turned = values.ndim == 3 and values.shape[0] in (1, 3, 4) and min(values.shape[1:]) > 4
        advice = " (its channels come first: move them to the end)" if turned else ""
        raise DataError(
            f"An image is an array of {shape}{advice}; its shape must be [height, width, 3], RGB, "
            "or [height, width], gray.",
            "unreadable_image",
        )
    values = values[:, :, 0] if values.shape[2] == 1 else values[:, :, :3]
    return _to_channels(values, "An image", reading, way_out)


def is_array(value: Any) -> bool:
    """True if an object is an array of any library; Pillow's images do not count."""
    return hasattr(value, "__array__") and not isinstance(value, PIL.Image.Image)


def as_array(value: Any) -> np.ndarray:
    """Converts an object with `__array__` to a numpy array.

    Raises:
      DataError: the object cannot be converted, such as a torch tensor on an accelerator.
    """
    try:
        return np.asarray(value)
    # Each library raises different errors; the message quotes them.
    except Exception as error:
        raise DataError(
            f"An image is a {type(value).__module__}.{type(value).__name__} which numpy cannot "
            f"convert to an array ({' '.join(str(error).split())}); give a numpy array.",
            "unreadable_image",
        ) from error


def _to_channels(values: np.ndarray, name: str, reading: Reading, way_out: str) -> np.ndarray:
    """Converts 8- or 16-bit values to uint8 `[H, W, channels]`.

    The values are `[H, W]`, `[H, W, 3]` or, if the bands are used as stored, `[H, W, channels]`.
    """
    bit_depth = reading.bit_depth
    if values.dtype == np.uint16:
        largest = int(values.max())
        if largest >> bit_depth:
            raise DataError(
                f"{name}: has the value {largest:,}, and {bit_depth} bits end at "
                f"{2**bit_depth - 1:,}; set config.data.bit_depth={bit_depth_of(largest)}, "
                f"{way_out}",
                "bit_depth",
            )
        values = (values >> (bit_depth - 8)).astype(np.uint8)
    if values.ndim == 2:
        return np.repeat(values[:, :, None], 3 if reading.channels == 3 else 1, axis=2)
    return gray_of(values) if reading.channels == 1 else values


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image turned upright by its EXIF orientation."""
    if orientation == UPRIGHT:
        return image
    if is_sideways(orientation):
        image = image.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::rows, ::columns])


def explain_size(
    stored: tuple[int, int], size: tuple[int, int], orientation: int, exif: str
) -> str:
    """A sentence on how an image's size differs from the annotated one, and on a likely reason.

    Args:
      stored: height and width of the image as stored.
      size: the annotated height and width.
      orientation: its EXIF orientation.
      exif: 'ignore' or 'apply', as in `Reading`.

    Returns:
      the part of a sentence that follows the name of the file.
    """
    seen = upright_size(stored, orientation) if exif == "apply" else stored
    turned = f" once EXIF orientation {orientation} is applied" if seen != stored else ""
    start = f"is {seen[1]}x{seen[0]} pixels{turned} but its annotation says {size[1]}x{size[0]}"
    if exif != "apply" and is_sideways(orientation) and size == stored[::-1]:
        return (
            f"{start}: it was annotated as turned by its EXIF orientation {orientation}, which is "
            "ignored here; set config.data.exif='apply'"
        )
    if size == seen[::-1]:
        return f"{start}: width and height are swapped in the annotation; correct it"
    return (
        f"{start}; if the image was resized after it had been annotated, scale its boxes too, "
        "else correct the annotation"
    )


def reduction_for(size: tuple[int, int], at_least: tuple[int, int]) -> int:
    """The largest divisor of 8, 4, 2, 1 that keeps an image of `size` as large as `at_least`."""
    for reduction in _REDUCTIONS:
        if all(side >= reduction * least for side, least in zip(size, at_least, strict=True)):
            return reduction
    return 1


def is_truncated(data: bytes) -> bool:
    """True if a JPEG or PNG file lacks its end marker; other formats are assumed complete.

    An embedded thumbnail has an end marker too, so a JPEG is searched only from its first scan on,
    where the marker cannot occur by chance. Bytes after the marker are harmless. A PNG with a chunk
    longer than the file also counts as truncated, because a decoder might allocate memory for that
    chunk.
    """
    if data.startswith(_PNG):
        return not has_end_of_png(io.BytesIO(data))
    if not data.startswith(_START):
        return False
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _SCAN:
            return data.rfind(_END, position) < 0  # searched from the end, where it usually is
        if marker == 0xFF:  # a fill byte before the marker
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position + 4 > len(data)


def has_end_of_png(file: BinaryIO) -> bool:
    """True if the chunks of a PNG lead to its last one; whatever follows that is harmless."""
    file.seek(8)  # after the signature; a chunk is a length, a name, bytes and a checksum
    while len(heading := file.read(8)) == 8:
        if heading[4:] == b"IEND":
            return len(file.read(4)) == 4
        file.seek(int.from_bytes(heading[:4], "big") + 4, io.SEEK_CUR)
    return False
