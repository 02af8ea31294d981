"""Images of other channels than RGB: which bands are read, and what is refused."""

import struct

import numpy as np
import PIL.Image
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.images import (
    Reading,
    decode_image,
    pixels_of_array,
    pixels_of_pillow,
    value_span,
)
from tests.encoded import encoded, png, tiff

FOUR = Reading(channels=4)


def noise(channels, dtype=np.uint8, high=None):
    high = high or np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, (5, 7, channels), endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "how",
    [
        "png",
        *[(colors, extra) for colors in (1, 2) for extra in ((), (0,), (1,), (2,), (0,) * 3)],
    ],
    ids=str,
)
def test_four_bands_are_read_as_they_are_stored(how, dtype):
    # Of a TIFF whatever the file calls them: gray or RGB and nothing, something unknown (0),
    # associated (1) or unassociated transparency (2).
    values = noise(4, dtype)
    data = png(values) if how == "png" else tiff(values, colors=how[0], extra=how[1])
    expected = values if dtype == np.uint8 else (values >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(data, "x", (5, 7), reading=FOUR), expected)


def test_the_bit_depth_is_that_of_all_bands():
    values = noise(4, np.uint16, high=900)
    values[0, 0, 3] = 1000
    data = png(values)
    assert value_span(data, "x", 4)[1] == 1000
    reading = Reading(bit_depth=10, channels=4)
    np.testing.assert_array_equal(decode_image(data, "x", reading=reading), values >> 2)
    with pytest.raises(DataError, match=r"has the value 1,000, and 8 bits end at 255"):
        decode_image(data, "x", reading=Reading(bit_depth=8, channels=4))


def test_gray_and_one_more_are_two_bands():
    values = noise(2)
    np.testing.assert_array_equal(
        decode_image(png(values), "x", reading=Reading(channels=2)), values
    )


@pytest.mark.parametrize("kind", ["gray", "gray 16", "rgb", "rgb 16", "transparent", "jpeg"])
def test_with_one_channel_everything_becomes_gray(kind):
    values = {
        "gray": noise(1),
        "gray 16": noise(1, np.uint16),
        "rgb": noise(3),
        "rgb 16": noise(3, np.uint16),
        "transparent": noise(4),
        "jpeg": noise(3),
    }[kind]
    data = encoded(5, 7, "JPEG") if kind == "jpeg" else png(values)
    rgb = decode_image(data, "x").astype(float)
    gray = decode_image(data, "x", reading=Reading(channels=1))
    assert gray.shape == (5, 7, 1) and gray.dtype == np.uint8
    luma = rgb @ [0.299, 0.587, 0.114]
    assert np.abs(gray[..., 0] - luma).max() <= 0.51
    if kind.startswith("gray"):
        np.testing.assert_array_equal(gray[..., 0], rgb[..., 0])


def test_pillow_images_and_arrays_are_the_same_as_their_files():
    values = noise(4)
    for found in (
        pixels_of_pillow(PIL.Image.fromarray(values, "RGBA"), reading=FOUR),
        pixels_of_array(values, reading=FOUR),
        pixels_of_array((values.astype(np.uint16) << 8), reading=FOUR),
    ):
        np.testing.assert_array_equal(found, values)
    six = noise(6)
    np.testing.assert_array_equal(pixels_of_array(six, reading=Reading(channels=6)), six)
    one = Reading(channels=1)
    for array in (values[..., 0], values[..., :1]):
        np.testing.assert_array_equal(pixels_of_array(array, reading=one), values[..., :1])
    assert pixels_of_array(values[..., :3], reading=one).shape == (5, 7, 1)
    assert pixels_of_pillow(PIL.Image.fromarray(values[..., :3]), reading=one).shape == (5, 7, 1)


@pytest.mark.parametrize(
    ("data", "channels", "words"),
    [
        (png(noise(3)), 4, "has 3 channels, where config.model.in_channels=4 requires 4"),
        (png(noise(1)), 4, "has 1 channel, where config.model.in_channels=4 requires 4"),
        (png(noise(2)), 4, "has 2 channels, where config.model.in_channels=4 requires 4"),
        (png(noise(4)), 2, "has 4 channels, where config.model.in_channels=2 requires 2"),
        (encoded(5, 7, "JPEG"), 4, "has 3 channels, where config.model.in_channels=4 requires 4"),
        (tiff(noise(3)), 4, "has 3 channels, where config.model.in_channels=4 requires 4"),
        (tiff(noise(5), extra=(0, 0)), 4, "has 5 channels, where config.model.in_channels=4 req"),
        (tiff(noise(5), extra=(0, 0)), 5, "its 5 bands cannot be decoded together; write it as"),
        (b"no image", 4, "its unknown number of bands cannot be decoded together; write it as"),
        (tiff(noise(4), extra=(0,)), 3, "or set config.model.in_channels=4 to train on all"),
        (tiff(noise(4).astype(np.float32), kind=3), 4, "is 32-bit float, which cannot be read"),
    ],
)
def test_another_number_of_bands_is_one_sentence(data, channels, words):
    with pytest.raises(DataError) as raised:
        decode_image(data, "field.tif", reading=Reading(channels=channels), way_out="or go.")
    sentence = str(raised.value)
    assert sentence.startswith("field.tif: ") and sentence.endswith("or go.") and words in sentence
    assert "\n" not in sentence


def test_bands_one_after_the_other_are_refused():
    data = bytearray(tiff(noise(4), colors=1, extra=(0, 0, 0)))
    # The entry of the compression (259: none, 1) made one of the planes (284: 2).
    at = data.index(struct.pack("<HHI", 259, 3, 1))
    data[at : at + 12] = struct.pack("<HHII", 284, 3, 1, 2)
    with pytest.raises(DataError, match="has its bands one after the other; write those of a pix"):
        decode_image(bytes(data), "x", reading=FOUR)


@pytest.mark.parametrize("big_endian", [False, True])
def test_tiffs_of_both_byte_orders_are_read(big_endian):
    # Pillow writes little-endian files alone: the tags of one are turned around.
    values = noise(4)
    data = tiff(values, colors=1, extra=(0, 0, 0))
    if big_endian:
        data = _turned_around(data, values.tobytes())
    np.testing.assert_array_equal(decode_image(data, "x", reading=FOUR), values)


def _turned_around(data, pixels):
    """A TIFF of one strip with all of its numbers big-endian."""
    count = struct.unpack_from("<H", data, 8)[0]
    entries = [struct.unpack_from("<HHI4s", data, 10 + 12 * k) for k in range(count)]
    start = 10 + 12 * count + 4
    body, placed = b"", []
    for tag, kind, number, value in entries:
        size = {3: 2, 4: 4}[kind] * number
        form = {3: "H", 4: "I"}[kind] * number
        at = struct.unpack("<I", value)[0]
        raw = value[:size] if size <= 4 else data[at : at + size]
        turned = struct.pack(">" + form, *struct.unpack("<" + form, raw))
        if tag == 273:
            placed.append((tag, kind, number, None))
            continue
        if size > 4:
            placed.append((tag, kind, number, struct.pack(">I", start + len(body))))
            body += turned
        else:
            placed.append((tag, kind, number, turned.ljust(4, b"\0")))
    strip = struct.pack(">I", start + len(body))
    head = b"MM\0*" + struct.pack(">IH", 8, count)
    for tag, kind, number, value in placed:
        # The strip's place is a long, whatever it was.
        kind, value = (4, strip) if value is None else (kind, value)
        head += struct.pack(">HHI", tag, kind, number) + value
    return head + struct.pack(">I", 0) + body + pixels


@pytest.mark.parametrize(("bands", "channels"), [(3, 4), (1, 4), (4, 6)])
def test_arrays_and_pillow_images_of_other_channels_are_refused(bands, channels):
    reading = Reading(channels=channels)
    words = f"in_channels={channels} requires {channels}"
    with pytest.raises(DataError, match=words):
        pixels_of_array(noise(bands), reading=reading)
    image = PIL.Image.fromarray(noise(bands)[..., 0] if bands == 1 else noise(bands))
    with pytest.raises(DataError, match=words):
        pixels_of_pillow(image, reading=reading)
