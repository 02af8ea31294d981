"""Images that are read a few rows at a time, so that a huge one need not be in memory.

PNGs that are not interlaced are decompressed from the top down to the requested rows. TIFFs of
strips or tiles are read only at the requested rows. In both cases the rows are passed to the
decoder of whole images as a small file, so that all kinds of pixels are converted as in
`images.read_image`. Images of any other format, such as JPEG, are decoded as a whole, which takes 3
bytes per pixel.
"""

import io
import struct
import weakref
import zlib
from typing import Any, BinaryIO, Protocol

import cv2
import numpy as np
import PIL.PngImagePlugin

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import UPRIGHT, read_header, read_orientation
from ioub_jax.data.images import (
    AS_STORED,
    Reading,
    decode_image,
    has_end_of_png,
    truncated,
)
from ioub_jax.data.tiff_parts import TiffParts, read_parts

_PNG = b"\x89PNG\r\n\x1a\n"
# Color type of a PNG -> its number of channels.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Bytes per pixel -> color type of an 8-bit PNG with as many, whose filters work alike.
_SAME_FILTERS = {1: 0, 2: 4, 3: 2, 4: 6}
_PIECE = 1 << 16  # number of compressed bytes that are decompressed at once
_ROWS = 128  # number of rows that are decoded at once


class ImageRows(Protocol):
    """An opened image, which can be read by rows.

    Attributes:
      size: its height and width.
      in_parts: whether less than the whole image is in memory.
    """

    size: tuple[int, int]
    in_parts: bool

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows `start` to `stop - 1`: uint8 `[stop - start, W, 3]` RGB.

        Raises:
          DataError: the image is broken there.
        """

    def close(self) -> None:
        """Closes the file."""


def open_rows(
    file: BinaryIO,
    name: str,
    size: tuple[int, int] | None = None,
    way_out: str = "or leave it out.",
    reading: Reading = AS_STORED,
) -> ImageRows:
    """Opens an image of any kind that `images.decode_image` decodes.

    Args:
      file: the encoded image, at its beginning; it is closed together with the result or earlier.
      name: the name of the image in errors.
      size: the annotated height and width, which the image must have; None: not checked.
      way_out: the end of an error's sentence.
      reading: how the image is converted to pixels.

    Returns:
      the opened image.

    Raises:
      DataError: as for `images.decode_image`.
    """
    try:
        found = _in_parts(file, name, size, way_out, reading)
        if found is not None:
            return found
        file.seek(0)
        whole = WholeImage(decode_image(file.read(), name, size, None, way_out, reading))
    except BaseException:
        file.close()
        raise
    file.close()
    return whole


def _in_parts(
    file: BinaryIO,
    name: str,
    size: tuple[int, int] | None,
    way_out: str,
    reading: Reading,
) -> ImageRows | None:
    """Opens an image that can be read by rows; None for one that must be decoded as a whole.

    The latter includes broken images, so that decoding raises their error.
    """
    header = read_header(file)
    file.seek(0)
    turned = reading.exif == "apply" and read_orientation(file) != UPRIGHT
    if header.refusal or turned or size not in (None, header.size):
        return None
    return _PngRows.opened(file, name, way_out, reading) or _TiffRows.opened(
        file, name, way_out, reading
    )


def read_shrunk(rows: ImageRows, longest: int) -> tuple[np.ndarray, int]:
    """An image with sides of at most `longest` pixels, read a few rows at a time.

    Args:
      rows: the image.
      longest: the largest length of a side in pixels, at least 1.

    Returns:
      uint8 `[h, w, C]`, in which each pixel is the mean of a square of the image, and the side of
      these squares. Incomplete squares at the right and the bottom are dropped.

    Raises:
      DataError: the image is broken.
    """
    height, width = rows.size
    side = -(-max(height, width) // longest)
    if side == 1:
        return rows.read(0, height), 1
    # An image that is narrower than a square has one row or column of them.
    count, columns, step = max(height // side, 1), max(width // side, 1), max(_ROWS // side, 1)
    parts = []
    for begin in range(0, count, step):
        end = min(begin + step, count)
        band = rows.read(begin * side, min(end * side, height))[:, : columns * side]
        shrunk = cv2.resize(band, (columns, end - begin), interpolation=cv2.INTER_AREA)
        parts.append(shrunk.reshape(*shrunk.shape[:2], -1))  # OpenCV drops an axis of length 1
    return np.concatenate(parts), side


class WholeImage:
    """An image that is already decoded, uint8 `[H, W, 3]`."""

    in_parts = False

    def __init__(self, pixels: np.ndarray) -> None:
        self.size = (pixels.shape[0], pixels.shape[1])
        self._pixels = pixels

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns rows as in `ImageRows.read`, as a view."""
        return self._pixels[start:stop]

    def close(self) -> None:
        """Does nothing, since no file is open."""


# ------------------------------------------------------------------ TIFF


class _TiffRows:
    in_parts = True

    def __init__(
        self, file: BinaryIO, parts: TiffParts, name: str, way_out: str, reading: Reading
    ) -> None:
        self.size = parts.size
        weakref.finalize(self, file.close)
        self._file, self._parts = file, parts
        self._name, self._way_out, self._reading = name, way_out, reading

    @classmethod
    def opened(
        cls, file: BinaryIO, name: str, way_out: str, reading: Reading
    ) -> "_TiffRows | None":
        file.seek(0)
        parts = read_parts(file)
        if parts is None:
            return None
        if file.seek(0, io.SEEK_END) < parts.end:
            raise truncated(name, way_out)
        return cls(file, parts, name, way_out, reading)

    def read(self, start: int, stop: int) -> np.ndarray:
        first, data = self._parts.file_of(self._file, start, stop)
        pixels = decode_image(data, self._name, None, None, self._way_out, self._reading)
        return pixels[start - first : stop - first]

    def close(self) -> None:
        self._file.close()


# ------------------------------------------------------------------ PNG


class _PngRows:
    """A PNG that is read from the top.

    If rows are requested that lie before those still in memory, it starts again at the top.
    """

    in_parts = True

    def __init__(
        self,
        file: BinaryIO,
        start: bytes,
        layout: tuple[int, int, int, int],
        name: str,
        way_out: str,
        reading: Reading,
    ) -> None:
        width, height, bits, colors = layout
        self.size = (height, width)
        weakref.finalize(self, file.close)
        self._file, self._start = file, start
        self._bits, self._colors = bits, colors
        channels = _PNG_CHANNELS[colors]
        self._pixel = max(channels * bits // 8, 1)
        self._row = -(-width * channels * bits // 8)
        self._name, self._way_out, self._reading = name, way_out, reading
        self._failed: tuple[int, DataError] | None = None
        self._rewind()

    @classmethod
    def opened(cls, file: BinaryIO, name: str, way_out: str, reading: Reading) -> "_PngRows | None":
        """Opens a PNG; None if it is not one, or if its rows are not in order."""
        file.seek(0)
        if file.read(8) != _PNG:
            return None
        start = b""
        while True:
            heading = file.read(8)
            if len(heading) < 8:
                return None  # the decoder will report what is wrong
            length, kind = struct.unpack(">I4s", heading)
            if kind == b"IDAT":
                break
            start += heading + file.read(length + 4)
        if start[4:8] != b"IHDR" or len(start) < 25:
            return None
        width, height, bits, colors, _, _, interlaced = struct.unpack(">IIBBBBB", start[8:21])
        channels = _PNG_CHANNELS.get(colors, 0)
        if interlaced or max(channels * bits // 8, 1) not in _SAME_FILTERS or not channels:
            return None
        if not has_end_of_png(file):
            raise truncated(name, way_out)
        layout = (width, height, bits, colors)
        return cls(file, start, layout, name, way_out, reading)

    def _rewind(self) -> None:
        self._file.seek(8 + len(self._start))
        self._inflated, self._left = zlib.decompressobj(), 0
        self._sum = 0
        self._buffer = bytearray()
        self._next = 0  # the next row to be decoded
        self._above = bytes(self._row)
        # The decoded rows before `_next`.
        self._band = np.zeros((0, self.size[1], self._reading.channels), np.uint8)

    def read(self, start: int, stop: int) -> np.ndarray:
        # An error is kept, so that the same rows fail whatever was read before.
        if self._failed is not None and stop >= self._failed[0]:
            raise self._failed[1]
        try:
            return self._read(start, stop)
        except DataError as error:
            self._failed = (stop, error)
            self._rewind()
            raise

    def _read(self, start: int, stop: int) -> np.ndarray:
        if start < self._next - len(self._band):
            self._rewind()
        first, pieces = self._next - len(self._band), [self._band]
        while self._next < stop:
            count = min(stop - self._next, _ROWS)
            pieces.append(self._decoded(self._scanlines(count), count))
            self._next += count
            while pieces and first + len(pieces[0]) <= start:
                first += len(pieces.pop(0))
        if len(pieces) > 1:
            dropped = max(start - first, 0)
            first += dropped
            self._band = np.concatenate([pieces[0][dropped:], *pieces[1:]])
        else:
            self._band = pieces[0]
        return self._band[start - first : stop - first]

    def close(self) -> None:
        self._file.close()

    def _scanlines(self, count: int) -> bytes:
        """The next rows after decompression: for each row, its filter's number and its bytes."""
        needed = count * (self._row + 1)
        while len(self._buffer) < needed:
            piece = self._compressed()
            if not piece:
                raise truncated(self._name, self._way_out)
            try:
                self._buffer += self._inflated.decompress(piece)
            except zlib.error as error:
                raise self._broken(str(error)) from error
        rows = bytes(self._buffer[:needed])
        del self._buffer[:needed]
        if self._next + count == self.size[0]:
            while self._compressed():  # reads on to check the checksum of the last chunk
                pass
        return rows

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"{self._name}: cannot be decoded ({why}); replace it, {self._way_out}",
            "unreadable_image",
        )

    def _compressed(self) -> bytes:
        """The next bytes of the IDAT chunks; none after the last one."""
        while not self._left:
            heading = self._file.read(8)
            if len(heading) < 8 or heading[4:] != b"IDAT":
                return b""
            self._left, self._sum = int.from_bytes(heading[:4], "big"), zlib.crc32(b"IDAT")
            if not self._left:
                self._file.seek(4, io.SEEK_CUR)
        piece = self._file.read(min(self._left, _PIECE))
        self._left -= len(piece)
        self._sum = zlib.crc32(piece, self._sum)
        if not self._left and int.from_bytes(self._file.read(4), "big") != self._sum:
            raise self._broken("the checksum of its bytes is wrong")
        return piece

    def _decoded(self, scanlines: bytes, count: int) -> np.ndarray:
        """Decodes rows, the first of which follows `self._above`: uint8 `[count, W, C]`."""
        # The filters use only the bytes of the previous pixel and of the row above, whatever the
        # values mean.
        width = self._row // self._pixel
        ahead = b"\0" + self._above
        small = _png(width, count + 1, 8, _SAME_FILTERS[self._pixel], ahead + scanlines)
        try:
            values = np.asarray(PIL.PngImagePlugin.PngImageFile(io.BytesIO(small)))
        except (OSError, SyntaxError, ValueError) as error:
            raise self._broken(str(error)) from error
        self._above = values[-1].tobytes()
        if (self._bits, self._colors, self._reading.channels) == (8, 2, 3):
            return values[1:]
        raw = np.zeros((count, self._row + 1), np.uint8)
        raw[:, 1:] = values[1:].reshape(count, self._row)
        again = _png(self.size[1], count, self._bits, self._colors, raw.tobytes(), self._start[25:])
        return decode_image(again, self._name, None, None, self._way_out, self._reading)


def _png(
    width: int, height: int, bits: int, colors: int, scanlines: bytes, others: bytes = b""
) -> bytes:
    """An uncompressed PNG file."""
    layout = struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, 0)
    pixels = zlib.compress(scanlines, 0)
    ends = [_chunk(b"IHDR", layout), others, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    return _PNG + b"".join(ends)


def _chunk(kind: bytes, content: Any) -> bytes:
    heading = struct.pack(">I4s", len(content), kind)
    return heading + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
