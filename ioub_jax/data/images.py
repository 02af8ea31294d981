"""Image files to RGB arrays."""

import pathlib

import cv2
import numpy as np

from ioub_jax.data.checks import DataError

_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_PNG = b"\x89PNG"


def read_image(path: pathlib.Path) -> np.ndarray:
    """Reads an image file as RGB.

    Greyscale and palette images become RGB. An EXIF rotation is not applied, because the boxes of
    VOC and COCO refer to the pixels as they are stored.

    Args:
        path: The file.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        DataError: If the file is missing, empty, cut off or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file, {_WAY_OUT}"
        ) from error
    # OpenCV fills the missing rows of a truncated JPEG with grey and reports nothing.
    if is_truncated(data):
        raise DataError(
            f"{path}: the image is truncated, it ends before its last row; "
            f"copy or download it again, {_WAY_OUT}"
        )
    # A file of zero bytes raises inside OpenCV, any other unreadable one gives None.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise DataError(
            f"{path}: is empty or no image that OpenCV can decode; replace the file, {_WAY_OUT}"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


_WAY_OUT = "or set config.data.on_error='skip' to train without it."


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
            return data.find(_END, position) < 0
        if marker == 0xFF:  # a fill byte before the marker
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position + 4 > len(data)
