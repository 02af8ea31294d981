"""Headers of image files, read from the first bytes without decoding."""

import dataclasses
import io
from typing import Any, BinaryIO

import PIL.GifImagePlugin
import PIL.Image
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
import PIL.WebPImagePlugin

#: OpenCV refuses larger images, and longer sides.
MOST_PIXELS, LONGEST_SIDE = 2**30, 2**20
UPRIGHT = 1
_ORIENTATION = 0x0112  # the tag of EXIF
_SIDEWAYS = (5, 6, 7, 8)  # the orientations that exchange width and height

_JPEG, _PNG, _GIF, _RIFF, _WEBP = b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"WEBP"
_TIFF = (b"II*\0", b"MM\0*")
_BIG_TIFF = (b"II+\0", b"MM\0+")
# Markers of the start of a JPEG's frame, which holds its precision, size and number of channels.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA

# Tags of TIFF, and the meaning of some of their values.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COLORS, _SAMPLES, _EXTRA, _FORMAT = (
    254, 256, 257, 258, 262, 277, 338, 339,
)  # fmt: skip
_PLANES = 284
_REDUCED_OR_MASK = 0b101
_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # by the value of the tag `_COLORS`
_RGB = 2
_ALPHA = (1, 2)
#: Modes of Pillow with a band besides the colors; the bands of all others are colors only.
_WITH_ONE_MORE = ("LA", "La", "RGBA", "RGBa", "RGBX")
_FORMATS = {2: "signed", 3: "float", 5: "complex", 6: "complex float"}
_MOST_PAGES = 10_000  # a limit for files whose pages form a circle


@dataclasses.dataclass(frozen=True)
class Header:
    """Properties that decide how an image file is read.

    Attributes:
      size: height and width of the decoded image; None if they are not read from the header.
      by_pillow: whether Pillow decodes the file, because OpenCV cannot or decodes it differently.
      deep: whether the channels have more than 8 bits; None if this is not read from the header.
      refusal: why the file is refused and the way out, as part of a sentence; '' if it is not.
    """

    size: tuple[int, int] | None = None
    by_pillow: bool = False
    deep: bool | None = None
    refusal: str = ""


def read_header(file: BinaryIO, channels: int = 3) -> Header:
    """Reads the properties that decide how an image is read.

    They keep their defaults for formats that are left to OpenCV, and for broken headers.

    Args:
      file: the image file, at its beginning.
      channels: the number of channels, as in `images.Reading`.
    """
    start = file.read(32)
    file.seek(0)
    try:
        if start.startswith(_JPEG):
            header = _read_jpeg(file)
        elif start.startswith(_PNG):
            header = _read_png(file)
        elif start.startswith(_GIF):
            header = _read_gif(file)
        elif start.startswith((*_TIFF, *_BIG_TIFF)):
            header = _read_tiff(file, channels)
        elif start.startswith(_RIFF) and start[8:12] == _WEBP:
            is_animated = start[12:16] == b"VP8X" and start[20] & 2
            header = Header(deep=False, refusal=_several("frames") if is_animated else "")
        else:
            header = Header()
    # Pillow passes on whatever its plugins raise: SyntaxError, ValueError, struct.error.
    except Exception:
        return Header()  # the decoder will report what is wrong
    height, width = header.size or (0, 0)
    if height * width <= MOST_PIXELS and max(height, width) <= LONGEST_SIDE:
        return header
    return dataclasses.replace(
        header,
        refusal=f"is {width}x{height} pixels, more than the {MOST_PIXELS:,} (or {LONGEST_SIDE:,} "
        "along a side) that can be decoded; cut it into parts or shrink it",
    )


def _several(what: str, count: int | None = None) -> str:
    number = "several" if count is None else f"{count:,}"
    return f"has {number} {what}; save one of them as a file, since none is chosen here"


def _read_jpeg(file: BinaryIO) -> Header:
    """Walks from segment to segment to the start of the frame."""
    file.seek(2)
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF and marker[1] != _SCAN:
        if marker[1] == 0xFF:  # a fill byte before the marker
            file.seek(-1, io.SEEK_CUR)
            continue
        length = int.from_bytes(file.read(2), "big")
        if marker[1] not in _FRAMES:
            file.seek(length - 2, io.SEEK_CUR)
            continue
        frame = file.read(6)
        bits, channels = frame[0], frame[5]
        size = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
        if bits != 8:
            return Header(size, refusal=f"is a JPEG of {bits} bits; convert it to 8 or 16-bit PNG")
        return Header(size, by_pillow=channels == 4, deep=False)
    return Header()


def _read_png(file: BinaryIO) -> Header:
    image = PIL.PngImagePlugin.PngImageFile(file)
    refusal = _several("frames", image.n_frames) if image.n_frames > 1 else ""
    return Header(image.size[::-1], deep=_is_deep_png(image), refusal=refusal)


def _read_gif(file: BinaryIO) -> Header:
    image = PIL.GifImagePlugin.GifImageFile(file)
    refusal = _several("frames") if image.is_animated else ""
    return Header(image.size[::-1], by_pillow=True, deep=False, refusal=refusal)


def _read_tiff(file: BinaryIO, channels: int) -> Header:
    """Reads the tags themselves, since Pillow opens only files whose pixels it knows."""
    pages = _tiff_pages(file)
    tags = pages[0]
    # Pillow and OpenCV turn every TIFF upright, whatever `Reading.exif` is.
    size = upright_size((int(tags[_HEIGHT]), int(tags[_WIDTH])), tags.get(_ORIENTATION, UPRIGHT))
    if len(pages) > 1:
        return Header(size, refusal=_several("pages", len(pages)))
    refusal = refusal_of_tiff(tags, channels)
    bits = max(tags.get(_BITS, (1,)))
    # Pillow keeps only the high byte of 16-bit colors; OpenCV keeps both.
    return Header(size, _channels(tags) == 1 or bits <= 8, bits > 8, refusal)


def _tiff_pages(file: BinaryIO) -> list[Any]:
    """The tags of each page, without the pages of reduced copies and masks."""
    start = file.read(8)
    if start.startswith(_BIG_TIFF):
        start += file.read(8)
    directory = PIL.TiffImagePlugin.ImageFileDirectory_v2
    pages: list[Any] = []
    tags: Any = directory(start)
    for _ in range(_MOST_PAGES):
        if not tags.next:
            break
        offset, tags = tags.next, directory(start)
        file.seek(offset)
        tags.load(file)
        if not pages or not tags.get(_SUBFILE, 0) & _REDUCED_OR_MASK:
            pages.append(tags)
    return pages


def _channels(tags: Any) -> int:
    return _CHANNELS.get(tags.get(_COLORS, 1), 0)


def refusal_of_tiff(tags: Any, wanted: int = 3) -> str:
    """Reason why a page with these tags is refused, in the form of `Header.refusal`.

    Args:
      tags: the tags of the page.
      wanted: the number of channels, as in `images.Reading`.
    """
    bits = max(tags.get(_BITS, (1,)))
    kind = max(tags.get(_FORMAT, (1,)))
    bands, channels = tags.get(_SAMPLES, 1), _channels(tags)
    if wanted not in (1, 3) and kind not in _FORMATS and bits in (8, 16):
        if tags.get(_PLANES, 1) == 1:
            return ""  # the bands are used as they are
        return "has its bands one after the other; write those of a pixel side by side"
    has_alpha = bands == channels + 1 and tags.get(_EXTRA, (0,))[0] in _ALPHA
    if kind in _FORMATS and not (kind == 2 and bits == 32):  # Pillow writes its mode I like this
        return f"is {bits}-bit {_FORMATS[kind]}, which cannot be read; convert it to 8 or 16 bits"
    if channels == 0 or not (bands == channels or has_alpha):
        return (
            f"has {bands} bands that are not RGB, gray or either with transparency; "
            "convert it to three bands or one"
            + (", or set config.model.in_channels=4 to train on all" if bands == 4 else "")
        )
    if bits > 16 and not (bits == 32 and bands == 1):
        return f"has {bands} bands of {bits} bits, which cannot be read; convert it to 8 or 16 bits"
    if bits > 8 and channels > 1 and (tags.get(_COLORS) != _RGB or bits != 16):
        return f"has {bits}-bit colors other than RGB of 16 bits; convert it to RGB"
    return ""


def bands_of(file: BinaryIO) -> int:
    """Number of bands of an image file; 0 if it is unknown.

    For a TIFF it is the number in its tags. In other formats CMYK counts as three bands, since it
    is another way to write three colors.

    Args:
      file: the image file, at its beginning.
    """
    start = file.read(4)
    file.seek(0)
    try:
        if start in (*_TIFF, *_BIG_TIFF):
            return int(_tiff_pages(file)[0].get(_SAMPLES, 1))
        image = open_with_pillow(file)
    # Pillow passes on whatever its plugins raise.
    except Exception:
        return 0
    bands = len(image.getbands())
    return 3 if bands > 3 and image.mode not in _WITH_ONE_MORE else bands


def _is_deep_png(image: Any) -> bool:
    """True if a PNG whose pixels Pillow has not decoded yet has 16 bits per channel."""
    return any(str(tile[3]).endswith(";16B") for tile in image.tile)


def has_lost_bits(image: PIL.Image.Image) -> bool:
    """True if Pillow is known to keep only the high byte of the values in an image's file.

    This is known for a TIFF, and for a PNG before its pixels are decoded.
    """
    if image.mode.startswith("I"):
        return False
    if isinstance(image, PIL.TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_BITS, (1,))) > 8
    return isinstance(image, PIL.PngImagePlugin.PngImageFile) and _is_deep_png(image)


def open_with_pillow(file: BinaryIO) -> PIL.Image.Image:
    """Opens an image, using the plugin's class directly for common formats.

    `PIL.Image.open` warns about large images, refuses very large ones, and knows formats whose
    decoding runs other programs.

    Raises:
      Exception: whatever Pillow's plugins raise if the file is broken or has an unknown format.
    """
    start = file.read(12)
    file.seek(0)
    if start.startswith(_JPEG):
        return PIL.JpegImagePlugin.JpegImageFile(file)
    if start.startswith(_PNG):
        return PIL.PngImagePlugin.PngImageFile(file)
    if start.startswith((*_TIFF, *_BIG_TIFF)):
        return PIL.TiffImagePlugin.TiffImageFile(file)
    if start.startswith(_GIF):
        return PIL.GifImagePlugin.GifImageFile(file)
    if start.startswith(_RIFF) and start[8:12] == _WEBP:
        return PIL.WebPImagePlugin.WebPImageFile(file)
    return PIL.Image.open(file)


def orientation_of(image: PIL.Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1 if it has none.

    It is 1 for every TIFF, since Pillow and OpenCV turn a TIFF upright when they decode it.
    """
    if image.format == "TIFF":
        return UPRIGHT
    # A PNG's own getexif would decode the pixels to see whether EXIF comes after them.
    orientation = PIL.Image.Image.getexif(image).get(_ORIENTATION, UPRIGHT)
    return orientation if orientation in range(2, 9) else UPRIGHT


def read_orientation(file: BinaryIO) -> int:
    """The EXIF orientation of an image file; 1 if it has none or cannot be read."""
    try:
        return orientation_of(open_with_pillow(file))
    # Pillow passes on whatever its plugins raise.
    except Exception:
        return UPRIGHT


def is_sideways(orientation: int) -> bool:
    """True if an EXIF orientation exchanges width and height."""
    return orientation in _SIDEWAYS


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Height and width of an image of `size` after it is turned upright."""
    return size[::-1] if is_sideways(orientation) else size
