"""Images with channels other than RGB or gray: the bands of a file as they are stored."""

import contextlib
import io
import struct
from typing import Any

import cv2
import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import bands_of

_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLORS, _EXTRA = 262, 338
_SHORT, _RGB, _UNKNOWN = 3, 2, 0


def gray_of(image: np.ndarray) -> np.ndarray:
    """Converts uint8 `[H, W, 3]` RGB to uint8 `[H, W, 1]` gray.

    The weights are those of ITU-R 601: .299, .587 and .114.
    """
    gray: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return gray[:, :, None]


def decode_bands(data: bytes, name: str, channels: int, way_out: str) -> np.ndarray:
    """Decodes all bands of an image file, which must have as many bands as there are channels.

    Two kinds of files are supported: PNG, WebP and TIFF with red, green, blue and a fourth band,
    which is stored as transparency or without a stated meaning; and PNG with gray and a second
    band. OpenCV cannot decode files with five or more bands.

    Args:
      data: the contents of the file.
      name: the name of the file in errors.
      channels: the number of channels, neither 1 nor 3.
      way_out: the end of an error's sentence.

    Returns:
      uint8 or uint16 `[H, W, channels]`.

    Raises:
      DataError: the file has another number of bands, or cannot be decoded.
    """
    bands = bands_of(io.BytesIO(data))
    if bands not in (0, channels):
        raise wrong_count(name, bands, channels, way_out)
    image: Any = None
    with contextlib.suppress(cv2.error, struct.error):
        data = _as_rgb_tiff(data) if data.startswith(_TIFFS) else data
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.ndim != 3 or image.shape[2] != 4 or channels > 4:
        raise DataError(
            f"{name}: its {bands or 'unknown number of'} bands cannot be decoded together; write "
            "it as PNG or TIFF of 8 or 16 bits, with the bands of a pixel side by side, "
            f"{way_out}",
            "unreadable_image",
        )
    # OpenCV returns blue, green, red and the fourth band, or gray three times and the second band.
    return np.ascontiguousarray(image[:, :, [2, 1, 0, 3] if channels == 4 else [0, 3]])


def bands_of_array(values: np.ndarray, name: str, channels: int, way_out: str) -> np.ndarray:
    """Returns an array `[H, W, bands]` whose number of bands is that of the channels.

    Raises:
      DataError: the array has another number of bands.
    """
    if values.ndim != 3 or values.shape[2] != channels:
        bands = values.shape[2] if values.ndim == 3 else 1
        raise wrong_count(name, bands, channels, way_out)
    return values


def wrong_count(name: str, bands: int, channels: int, way_out: str) -> DataError:
    """The error for an image whose number of bands differs from the number of channels."""
    has = "1 channel" if bands == 1 else f"{bands} channels"
    return DataError(
        f"{name}: has {has}, where config.model.in_channels={channels} requires {channels}; set "
        f"that to the number in the images, or give images of {channels} channels, {way_out}",
        "unreadable_image",
    )


def _as_rgb_tiff(data: bytes) -> bytes:
    """A TIFF with its tags changed to those of RGB and one band of unknown meaning.

    OpenCV reads four bands only from such a file. If the tags say gray and three bands of unknown
    meaning, as is common for satellite images, it reads one band. If the fourth band is tagged as
    transparency, it multiplies the other bands by it.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:3] == b"+" or data[3:4] == b"+"
    offset_type, count_type, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    start = struct.unpack_from(order + offset_type, data, 8 if is_big else 4)[0]
    count = struct.unpack_from(order + count_type, data, start)[0]
    first = start + struct.calcsize(count_type)
    patched = bytearray(data)
    for position in range(first, first + entry * count, entry):
        tag = struct.unpack_from(order + "H", data, position)[0]
        value_at = position + entry - struct.calcsize(offset_type)
        if tag in (_COLORS, _EXTRA):
            value = _RGB if tag == _COLORS else _UNKNOWN
            form = order + ("HHQ" if is_big else "HHI")
            struct.pack_into(form, patched, position, tag, _SHORT, 1)
            struct.pack_into(order + "H", patched, value_at, value)
    return bytes(patched)
