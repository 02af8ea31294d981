"""Image files to RGB arrays."""

import pathlib

import cv2
import numpy as np

from ioub_jax.data.checks import DataError

_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_PNG = b"\x89PNG"
_WAY_OUT = "or set config.data.on_error='skip' to train without it."
# A JPEG decoder makes a half, a quarter or an eighth of an image straight from its coefficients,
# in a fraction of the time. (OpenCV names the flags of the smaller ones for grey and BGR only.)
_REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}


def read_image(
    path: pathlib.Path,
    size: tuple[int, int] | None = None,
    at_least: tuple[int, int] | None = None,
    way_out: str = _WAY_OUT,
) -> np.ndarray:
    """Reads an image file as RGB.

    Greyscale, palette, CMYK, 16-bit and transparent images become RGB. An EXIF rotation is not
    applied, because the boxes of VOC and COCO refer to the pixels as they are stored.

    Args:
        path: The file.
        size: Height and width that the annotations give the image, checked.
        at_least: Height and width that suffice. A JPEG of more than twice that is decoded at a
            half, quarter or eighth of its size; needs `size`.
        way_out: The end of an error's sentence: what else can be done than to mend the file.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        DataError: If the file is missing, empty, cut off, no image or not of that size.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file, {way_out}",
            "missing_image",
        ) from error
    return decode_image(data, str(path), size, at_least, way_out)


def decode_image(
    data: bytes,
    name: str,
    size: tuple[int, int] | None = None,
    at_least: tuple[int, int] | None = None,
    way_out: str = _WAY_OUT,
) -> np.ndarray:
    """As `read_image`, for the bytes of a file; `name` is what an error calls it."""
    # OpenCV fills the missing rows of a truncated JPEG with grey and reports nothing.
    if is_truncated(data):
        raise DataError(
            f"{name}: the image is truncated, it ends before its last row; "
            f"copy or download it again, {way_out}",
            "unreadable_image",
        )
    reduction = 1
    if size is not None and at_least is not None and data.startswith(_START):
        reduction = reduction_for(size, at_least)
    # A file of zero bytes raises inside OpenCV, any other unreadable one gives None.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCTIONS[reduction]
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise DataError(
            f"{name}: is empty or no image that OpenCV can decode; replace the file, {way_out}",
            "unreadable_image",
        )
    if size is not None and image.shape[:2] != tuple(-(-side // reduction) for side in size):
        height, width = (side * reduction for side in image.shape[:2])
        raise DataError(
            f"{name}: is {'about ' * (reduction > 1)}{width}x{height} pixels but its annotation "
            f"says {size[1]}x{size[0]}; make them agree, {way_out}",
            "image_size",
        )
    return image


def reduction_for(size: tuple[int, int], at_least: tuple[int, int]) -> int:
    """The largest of 8, 4, 2, 1 that leaves an image of `size` at least as large as asked for."""
    for reduction in _REDUCTIONS:
        if all(side >= reduction * least for side, least in zip(size, at_least, strict=True)):
            return reduction
    return 1


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG file lacks its end marker; other formats are taken to be whole.

    An embedded thumbnail has an end marker of its own, so a JPEG is searched from its first scan,
    where the marker cannot occur by chance. Bytes after the marker are harmless.
    """
    if data.startswith(_PNG):
        return b"IEND" not in data[-64:]
    if not data.startswith(_START):
        return False
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _SCAN:
            return data.rfind(_END, position) < 0  # a whole file has it at its end
        if marker == 0xFF:  # a fill byte before the marker
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position + 4 > len(data)
