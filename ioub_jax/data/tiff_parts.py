"""Strips or tiles of a TIFF, copied to a smaller TIFF without decoding pixels."""

import dataclasses
import struct
from collections.abc import Sequence
from typing import BinaryIO

# Type of a tag -> number of bytes of a value.
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SHORT, _LONG = 3, 4
(
    _IMAGE_WIDTH,
    _IMAGE_LENGTH,
    _COMPRESSION,
    _STRIP_OFFSETS,
    _ORIENTATION,
    _ROWS_PER_STRIP,
    _STRIP_COUNTS,
    _PLANES,
    _TILE_WIDTH,
    _TILE_LENGTH,
    _TILE_OFFSETS,
    _TILE_COUNTS,
) = 256, 257, 259, 273, 274, 278, 279, 284, 322, 323, 324, 325
# Tags that determine the meaning of the values: bits, colors, fill order, samples, predictor,
# palette, extra samples, sample format, JPEG's tables, YCbCr's coefficients, subsampling, positions
# and white.
_KEPT = (258, 262, 266, 277, 317, 320, 338, 339, 347, 529, 530, 531, 532)
_OLD_JPEG = 6
_MOST_BYTES = 1 << 28  # the largest size of a tag's values


@dataclasses.dataclass(frozen=True)
class TiffParts:
    """Positions of the strips or tiles of a TIFF.

    Attributes:
      size: height and width of the image.
      order: '<' or '>', the byte order.
      is_tiled: whether the image has tiles, several of which may lie side by side, or strips.
      part: height and width of a strip or tile.
      offsets: position of each strip or tile in the file.
      counts: number of bytes of each strip or tile.
      kept: the tags to copy to the small file: number, type, count of values, bytes.
    """

    size: tuple[int, int]
    order: str
    is_tiled: bool
    part: tuple[int, int]
    offsets: Sequence[int]
    counts: Sequence[int]
    kept: tuple[tuple[int, int, int, bytes], ...]

    @property
    def end(self) -> int:
        """The smallest number of bytes of a complete file."""
        return max(map(sum, zip(self.offsets, self.counts, strict=True)))

    def file_of(self, file: BinaryIO, start: int, stop: int) -> tuple[int, bytes]:
        """The strips or tiles that contain the given rows, as a small TIFF.

        Args:
          file: the whole image.
          start: the first row.
          stop: the row after the last one.

        Returns:
          the row of the image that is the first row of the small TIFF, and the small TIFF.
        """
        height, width = self.size
        across = -(-width // self.part[1])
        first, last = start // self.part[0], -(-stop // self.part[0])
        contents = []
        for index in range(first * across, last * across):
            file.seek(self.offsets[index])
            contents.append(file.read(self.counts[index]))
        rows = min(last * self.part[0], height) - first * self.part[0]
        return first * self.part[0], self._written(rows, contents)

    def _written(self, rows: int, contents: Sequence[bytes]) -> bytes:
        """A TIFF with the given number of rows, from the contents of its strips or tiles."""
        numbers = {_IMAGE_WIDTH: [self.size[1]], _IMAGE_LENGTH: [rows]}
        offsets, counts = _STRIP_OFFSETS, _STRIP_COUNTS
        if self.is_tiled:
            offsets, counts = _TILE_OFFSETS, _TILE_COUNTS
            numbers |= {_TILE_WIDTH: [self.part[1]], _TILE_LENGTH: [self.part[0]]}
        else:
            numbers[_ROWS_PER_STRIP] = [self.part[0]]
        numbers |= {offsets: [0] * len(contents), counts: list(map(len, contents))}
        others = 8 + 2 + 12 * (len(numbers) + len(self.kept)) + 4
        begin = others + sum(len(values) + len(values) % 2 for *_, values in self.kept)
        begin += sum(4 * len(values) for values in numbers.values())
        position = begin
        for index, content in enumerate(contents):
            numbers[offsets][index] = position
            position += len(content)
        tags = [*self.kept]
        for tag, values in numbers.items():
            packed = struct.pack(f"{self.order}{len(values)}I", *values)
            tags.append((tag, _LONG, len(values), packed))
        directory, outside = _directory(self.order, sorted(tags), others)
        heading = (b"II" if self.order == "<" else b"MM") + struct.pack(f"{self.order}HI", 42, 8)
        head = (heading + directory + outside).ljust(begin, b"\0")
        return head + b"".join(contents)


def _directory(
    order: str, tags: Sequence[tuple[int, int, int, bytes]], outside: int
) -> tuple[bytes, bytes]:
    """The directory of tags, and the values that do not fit into its entries.

    The latter must be placed at the position `outside` of the file.
    """
    entries, others = struct.pack(f"{order}H", len(tags)), b""
    for tag, kind, count, values in tags:
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        if len(values) <= 4:
            entries += values.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", outside + len(others))
            others += values + b"\0" * (len(values) % 2)
    return entries + bytes(4), others


def read_parts(file: BinaryIO) -> TiffParts | None:
    """Positions of the parts of an image; None if it is not a TIFF that can be split.

    A TIFF cannot be split if it has an orientation other than upright, if its bands are stored
    separately, or if it uses the old JPEG compression from before 1995.

    Args:
      file: the image, at its beginning.
    """
    try:
        order, tags = _read_tags(file)
    except (KeyError, ValueError, struct.error):
        return None
    kept = tuple((tag, *tags[tag]) for tag in (*_KEPT, _COMPRESSION) if tag in tags)

    def numbers(tag: int, default: int | None = None) -> Sequence[int]:
        if tag not in tags and default is not None:
            return [default]
        kind, count, values = tags[tag]
        return struct.unpack(f"{order}{count}{_NUMBERS[kind]}", values)

    try:
        if (
            numbers(_ORIENTATION, 1)[0] != 1
            or numbers(_PLANES, 1)[0] != 1
            or numbers(_COMPRESSION, 1)[0] == _OLD_JPEG
        ):
            return None
        height, width = numbers(_IMAGE_LENGTH)[0], numbers(_IMAGE_WIDTH)[0]
        is_tiled = _TILE_OFFSETS in tags
        if is_tiled:
            part = numbers(_TILE_LENGTH)[0], numbers(_TILE_WIDTH)[0]
            offsets, counts = numbers(_TILE_OFFSETS), numbers(_TILE_COUNTS)
        else:
            part = min(numbers(_ROWS_PER_STRIP, height)[0], height), width
            offsets, counts = numbers(_STRIP_OFFSETS), numbers(_STRIP_COUNTS)
    except (KeyError, struct.error):
        return None
    if min(height, width, *part) < 1:
        return None
    expected = -(-height // part[0]) * -(-width // part[1])
    if len(offsets) != expected or len(counts) != expected:
        return None
    return TiffParts((height, width), order, is_tiled, part, offsets, counts, kept)


def _read_tags(file: BinaryIO) -> tuple[str, dict[int, tuple[int, int, bytes]]]:
    """The byte order, and tag -> (type, count of values, their bytes) of the first page.

    Raises:
      KeyError, ValueError, struct.error: the file is not a valid TIFF.
    """
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    version = struct.unpack(f"{order}H", file.read(2))[0]
    if version == 42:
        length, entry, room = f"{order}H", f"{order}HHI", 4
        offset = struct.unpack(f"{order}I", file.read(4))[0]
    elif version == 43:
        length, entry, room = f"{order}Q", f"{order}HHQ", 8
        offset = struct.unpack(f"{order}HHQ", file.read(12))[2]
    else:
        raise ValueError(version)
    file.seek(offset)
    number = struct.unpack(length, file.read(struct.calcsize(length)))[0]
    size = struct.calcsize(entry) + room
    entries = file.read(number * size)
    tags = {}
    for start in range(0, number * size, size):
        tag, kind, count = struct.unpack_from(entry, entries, start)
        values = entries[start + size - room : start + size]
        needed = _WIDTHS.get(kind, 1) * count
        if needed > _MOST_BYTES:
            raise ValueError(needed)
        if needed > room:
            file.seek(struct.unpack(f"{order}{'I' if room == 4 else 'Q'}", values)[0])
            values = file.read(needed)
        tags[tag] = (kind, count, values[:needed])
    return order, tags
