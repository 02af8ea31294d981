"""Images with other channels than RGB and grey: the bands of a file as they are stored."""

import contextlib
import io
import struct
from typing import Any

import cv2
import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_headers import bands_of

_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOURS, _EXTRA = 262, 338
_SHORT, _RGB, _UNKNOWN = 3, 2, 0


def grey_of(image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 1]` of uint8 `[H, W, 3]` RGB, by ITU-R 601: .299, .587 and .114."""
    grey: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return grey[:, :, None]


def decode_bands(data: bytes, name: str, channels: int, way_out: str) -> np.ndarray:
    """The bands of an image file that has as many as there are channels.

    PNG, WebP and TIFF of red, green, blue and one more band (in the place of transparency, or one
    of which the file says nothing), and PNG of grey and one more. OpenCV decodes no file of five
    bands or more.

    Args:
      data: the file.
      name: what an error calls it.
      channels: how many bands are wanted, neither 1 nor 3.
      way_out: the end of an error's sentence.

    Returns:
      uint8 or uint16 `[H, W, channels]`.

    Raises:
      DataError: it has another number of bands, or cannot be decoded.
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
    # OpenCV has blue, green, red and the other, or grey three times and the other.
    return np.ascontiguousarray(image[:, :, [2, 1, 0, 3] if channels == 4 else [0, 3]])


def bands_of_array(values: np.ndarray, name: str, channels: int, way_out: str) -> np.ndarray:
    """An array `[H, W, bands]` with as many bands as there are channels; raises `DataError`."""
    if values.ndim != 3 or values.shape[2] != channels:
        bands = values.shape[2] if values.ndim == 3 else 1
        raise wrong_count(name, bands, channels, way_out)
    return values


def wrong_count(name: str, bands: int, channels: int, way_out: str) -> DataError:
    """The error for an image whose number of bands is not that of the channels."""
    has = "1 channel" if bands == 1 else f"{bands} channels"
    return DataError(
        f"{name}: has {has}, where config.model.in_channels={channels} requires {channels}; set "
        f"that to the number in the images, or give images of {channels} channels, {way_out}",
        "unreadable_image",
    )


def _as_rgb_tiff(data: bytes) -> bytes:
    """A TIFF with tags for RGB and one band more.

    OpenCV reads four bands where the file calls them RGB and something unknown. Called grey and
    three unknown ones, as satellite images often are, it reads one; called transparency, it
    multiplies the others by it.
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
        if tag in (_COLOURS, _EXTRA):
            value = _RGB if tag == _COLOURS else _UNKNOWN
            form = order + ("HHQ" if is_big else "HHI")
            struct.pack_into(form, patched, position, tag, _SHORT, 1)
            struct.pack_into(order + "H", patched, value_at, value)
    return bytes(patched)
