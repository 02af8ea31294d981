"""An image is the same pixels as a file, as a Pillow image and as an array, or is refused."""

import io
import pathlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.images import (
    Reading,
    decode_image,
    pixels_of_array,
    pixels_of_pillow,
    read_image,
    value_span,
)
from tests.encoded import encoded, huge_png, png, tiff

HEIGHT, WIDTH = 12, 17
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 2**16, (HEIGHT, WIDTH), np.uint16)
FORMATS = ("PNG", "TIFF", "JPEG", "BMP", "WEBP", "GIF")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F")
REFUSED = {"LAB": "mode LAB", "RGBX": "4 bands|mode RGBX", "F": "32-bit float"}
LEAVE = "or leave it out."


def _of_mode(mode):
    gray = PIL.Image.fromarray(NOISE[..., 0])
    if mode == "I;16B":
        return PIL.Image.frombytes(mode, (WIDTH, HEIGHT), DEEP.astype(">u2").tobytes())
    if mode.startswith("I;16"):
        return PIL.Image.frombytes(mode, (WIDTH, HEIGHT), DEEP.astype("<u2").tobytes())
    if mode == "I":
        return PIL.Image.fromarray(DEEP.astype(np.int32))
    image = (gray if mode in ("1", "L", "F", "LA", "PA") else PIL.Image.fromarray(NOISE)).convert(
        mode
    )
    if mode in ("LA", "RGBA"):
        image.putalpha(gray.rotate(90).resize(gray.size))
    return image


def _files():
    """A file of each mode and format that Pillow writes and opens in that mode."""
    for mode in (*MODES, "I;16", "I;16B", "I;16L"):
        for file_format in FORMATS:
            options = {"lossless": True} if file_format == "WEBP" else {}
            file = io.BytesIO()
            try:
                _of_mode(mode).save(file, file_format, **options)
            except (OSError, ValueError):
                continue
            yield f"{mode} as {file_format}", file.getvalue()


FILES = dict(_files())


def _outcome(function, *arguments):
    try:
        return function(*arguments)
    except DataError as error:
        return str(error).partition(": ")[2]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_file_and_its_pillow_image_are_the_same_pixels(name, loaded):
    data, mode = FILES[name], name.split()[0]
    image = PIL.Image.open(io.BytesIO(data))
    if loaded:
        image.load()
    of_file = _outcome(decode_image, data, "x", None, None, LEAVE)
    of_pillow = _outcome(pixels_of_pillow, image, LEAVE)
    if isinstance(of_file, str):
        assert of_pillow == of_file and mode in REFUSED, "refused, in the same words"
        return
    assert of_file.shape == of_pillow.shape == (HEIGHT, WIDTH, 3)
    # JPEG decoders of other builds may round otherwise.
    tolerance = 1 if name.endswith("JPEG") else 0
    assert np.abs(of_file.astype(int) - of_pillow).max() <= tolerance


def test_the_table_has_many_rows():
    assert len(FILES) > 40
    assert {name.split()[0] for name in FILES} >= set(MODES) - {"HSV"}


@pytest.mark.parametrize("mode", [*MODES, "I;16", "I;16B", "I;16L"])
def test_every_mode_in_memory_is_read_or_refused_by_name(mode):
    image = _of_mode(mode)
    if mode in REFUSED:
        with pytest.raises(DataError, match=rf"A Pillow image: .*{REFUSED[mode]}"):
            pixels_of_pillow(image)
        return
    # Of 16 bits the high byte.
    expected = DEEP >> 8 if mode.startswith("I") else np.asarray(image.convert("RGB"))
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=-1)
    np.testing.assert_array_equal(pixels_of_pillow(image), expected)


# ------------------------------------------------------------------ more than 8 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [10, 12, 14, 16])
def test_the_highest_eight_of_the_bits_are_the_pixels(channels, depth):
    values = np.random.default_rng(channels).integers(0, 2**depth, (5, 7, channels), np.uint16)
    values[0, 0, 0] = 2**depth - 1
    files = [png(values)]
    if channels in (1, 3):
        files.append(tiff(values))
    expected = values[..., :3] if channels > 2 else values[..., :1]
    # 12 bits 0xABC are the pixel 0xAB: 4 bits fall.
    expected = np.broadcast_to(expected >> (depth - 8), (5, 7, 3))
    reading = Reading(bit_depth=depth)
    for data in files:
        image = decode_image(data, "x", reading=reading)
        np.testing.assert_array_equal(image, expected)
    if channels != 2:
        np.testing.assert_array_equal(pixels_of_array(values, reading=reading), expected)
    if channels == 1:
        with PIL.Image.open(io.BytesIO(files[0])) as image:
            np.testing.assert_array_equal(pixels_of_pillow(image, reading=reading), expected)


def test_eight_bits_in_a_file_of_sixteen_are_the_pixels():
    values = np.arange(35, dtype=np.uint16).reshape(5, 7, 1)
    image = decode_image(png(values), "x", reading=Reading(bit_depth=8))
    np.testing.assert_array_equal(image, np.broadcast_to(values, (5, 7, 3)))
    assert value_span(png(values), "x") == (0, 34)


def test_a_value_beyond_the_bit_depth_is_named_with_the_flag():
    values = np.full((5, 7, 1), 4096, np.uint16)
    words = (
        r"x\.png: has the value 4,096, and 12 bits end at 4,095; set config\.data\.bit_depth=14, or"
    )
    with pytest.raises(DataError, match=words) as caught:
        decode_image(png(values), "x.png", reading=Reading(bit_depth=12))
    assert caught.value.kind == "bit_depth"


@pytest.mark.parametrize(
    "data", [png(DEEP[..., None].repeat(3, 2)), tiff(DEEP[..., None].repeat(3, 2))]
)
def test_colors_whose_low_bits_pillow_drops_are_refused_where_they_matter(data):
    image = PIL.Image.open(io.BytesIO(data))
    with pytest.raises(DataError, match=r"16-bit colors, but Pillow's mode RGB keeps only 8 bits"):
        pixels_of_pillow(image, reading=Reading(bit_depth=14))
    np.testing.assert_array_equal(pixels_of_pillow(image), decode_image(data, "x"))


@pytest.mark.parametrize(("value", "words"), [(2**16, "4096 to 65536"), (-1, "-1 to 4096")])
def test_whole_numbers_beyond_sixteen_bits_are_refused(value, words):
    values = np.full((4, 4), 4096, np.int32)
    values[0, 0] = value
    with pytest.raises(DataError, match=rf"is of mode I with the values {words}, but only 0 to"):
        pixels_of_pillow(PIL.Image.fromarray(values))


# ------------------------------------------------------------------ kinds that are refused

BANDS = np.zeros((4, 4, 1), np.uint8)
REFUSED_FILES = {
    "float": (tiff(BANDS.astype(np.float32), kind=3), "is 32-bit float, which cannot be read"),
    "double of 3 bands": (
        tiff(BANDS.astype(np.float64).repeat(3, 2), kind=3),
        "is 64-bit float, which cannot be read; convert it to 8 or 16 bits",
    ),
    "signed": (tiff(BANDS.astype(np.int16), kind=2), "is 16-bit signed, which cannot be read"),
    "4 bands": (tiff(BANDS.repeat(4, 2), extra=(0,)), "has 4 bands that are not RGB, gray or"),
    "4 bands of 16 bits": (
        tiff(BANDS.astype(np.uint16).repeat(4, 2), extra=(0,)),
        "has 4 bands that are not RGB, gray or either with transparency",
    ),
    "7 bands, said to be gray": (
        tiff(BANDS.repeat(7, 2), colors=1, extra=(0,) * 6),
        "has 7 bands that are not RGB",
    ),
    "2 bands": (tiff(BANDS.repeat(2, 2), extra=(0,)), "has 2 bands that are not RGB"),
    "pages": (encoded(4, 4, "TIFF", pages=5), "has 5 pages; save one of them as a file"),
    "animated PNG": (encoded(4, 4, "PNG", pages=3), "has 3 frames; save one of them"),
    "animated GIF": (encoded(4, 4, "GIF", pages=3), "has several frames; save one of them"),
    "animated WebP": (encoded(4, 4, "WEBP", pages=3), "has several frames; save one of them"),
    "too many pixels": (huge_png(), r"is 40000x40000 pixels, more than the 1,073,741,824 \(or"),
    "a side beyond OpenCV's": (
        png(np.zeros((1, 2**20 + 1, 1), np.uint8)),
        r"is 1048577x1 pixels, more than the 1,073,741,824 \(or 1,048,576 along a side\) that",
    ),
    "half a TIFF": (encoded(40, 40, "TIFF")[:-900], r"cannot be decoded \("),
    "half a GIF": (encoded(40, 40, "GIF")[:-900], r"cannot be decoded \("),
}


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_a_kind_that_is_not_read_is_refused_by_name(name):
    data, words = REFUSED_FILES[name]
    with pytest.raises(DataError, match=f"^x: {words}") as caught:
        decode_image(data, "x")
    message = str(caught.value)
    assert message.endswith("or set config.data.on_error='skip' to train without it.")
    assert caught.value.kind == "unreadable_image" and "\n" not in message


@pytest.mark.parametrize("file_format", ["TIFF", "PNG", "GIF", "WEBP"])
def test_one_of_several_frames_can_be_given_as_a_pillow_image(file_format):
    with PIL.Image.open(io.BytesIO(encoded(8, 8, file_format, pages=3))) as image:
        with pytest.raises(DataError, match=r"has 3 frames or pages; give image\.copy\(\) of"):
            pixels_of_pillow(image)
        image.seek(1)
        frame = image.copy()
    np.testing.assert_array_equal(pixels_of_pillow(frame), np.asarray(frame.convert("RGB")))


def test_a_preview_in_a_photo_and_a_small_copy_of_a_page_are_no_pages(tmp_path):
    photo = encoded(8, 8, "MPO", pages=2, quality=95)
    assert decode_image(photo, "x").shape == (8, 8, 3)
    with PIL.Image.open(io.BytesIO(photo)) as image:
        assert pixels_of_pillow(image).shape == (8, 8, 3)
    path = tmp_path / "pyramid.tif"
    big, small = PIL.Image.fromarray(NOISE), PIL.Image.fromarray(NOISE[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}  # "a reduced-resolution version of another image"
    big.save(path, save_all=True, append_images=[small])
    np.testing.assert_array_equal(read_image(path), NOISE)


# ------------------------------------------------------------------ EXIF orientations


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_applied_as_pillow_does_or_ignored(file_format, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = encoded(8, 16, file_format, exif=exif, **(
        {"quality": 90} if file_format == "JPEG" else {"lossless": True}
    ))  # fmt: skip
    with PIL.Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    applied = decode_image(data, "x", upright.shape[:2], reading=Reading(exif="apply"))
    assert np.abs(applied.astype(int) - upright).max() <= (1 if file_format == "JPEG" else 0)
    for reading in (Reading(), Reading(exif="apply")):
        of_file = decode_image(data, "x", reading=reading)
        with PIL.Image.open(io.BytesIO(data)) as image:
            of_pillow = pixels_of_pillow(image, reading=reading)
        assert np.abs(of_file.astype(int) - of_pillow).max() <= 1
    # Nothing reads a TIFF as it is stored.
    stored = upright.shape[:2] if file_format == "TIFF" else (8, 16)
    assert decode_image(data, "x").shape[:2] == stored


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_jpeg_is_turned_as_well(orientation, reduction):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    row, column = np.mgrid[:64, :96]
    smooth = np.stack([row * 3, column * 2, row + column], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(smooth).save(file, "JPEG", exif=exif, quality=95)
    size = (64, 96) if orientation < 5 else (96, 64)
    whole = decode_image(file.getvalue(), "x", size, reading=Reading(exif="apply"))
    at_least = tuple(side // reduction for side in size)
    small = decode_image(file.getvalue(), "x", size, at_least, reading=Reading(exif="apply"))
    assert small.shape[:2] == at_least
    # The mean over each square of the whole image.
    blocks = whole.reshape(at_least[0], reduction, at_least[1], reduction, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 3


def test_a_size_as_turned_by_exif_is_explained_where_it_stops_training():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = encoded(8, 16, "JPEG", exif=exif)
    words = (
        r"is 16x8 pixels but its annotation says 8x16: it was annotated as turned by its EXIF "
        r"orientation 6, which is ignored here; set config\.data\.exif='apply', or set"
    )
    with pytest.raises(DataError, match=words):
        decode_image(data, "x", (16, 8))
    words = r"is 8x16 pixels once EXIF orientation 6 is applied but its annotation says 9x9; if"
    with pytest.raises(DataError, match=words):
        decode_image(data, "x", (9, 9), reading=Reading(exif="apply"))


# ------------------------------------------------------------------ arrays


class OfAnotherLibrary:
    """What jax and torch have in common."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return self._values


class OnAnAccelerator:
    """As a torch tensor on a GPU."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")


def test_arrays_of_any_library_are_images():
    np.testing.assert_array_equal(pixels_of_array(OfAnotherLibrary(NOISE)), NOISE)
    gray = np.repeat(NOISE[..., :1], 3, axis=2)
    for image in (NOISE[..., 0], NOISE[..., :1]):
        np.testing.assert_array_equal(pixels_of_array(OfAnotherLibrary(image)), gray)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (NOISE / 255.0, r"array of float64 \[12, 17, 3\]; its values must be uint8, 0 to 255, so"),
        (NOISE > 7, r"array of bool \[12, 17, 3\]; its values must be uint8"),
        (NOISE.transpose(2, 0, 1), r"uint8 \[3, 12, 17\] \(its channels come first: move them"),
        (NOISE[0, 0], r"array of uint8 \[3\]; its shape must be \[height, width, 3\]"),
        (
            OnAnAccelerator(),
            r"OnAnAccelerator which numpy cannot convert to an array \(can't "
            "convert cu",
        ),
    ],
)
def test_an_array_that_is_no_image_is_told_what_it_is_and_what_to_give(image, words):
    with pytest.raises(DataError, match=words):
        pixels_of_array(image)


def test_what_came_from_the_field_is_read(shared_data):
    folder = shared_data.parent / "field"
    if not folder.is_dir():
        pytest.skip("the field's files are not here")
    path = pathlib.Path(folder / "pillow_16_bit/sixteen.png")
    with PIL.Image.open(path) as image:
        np.testing.assert_array_equal(pixels_of_pillow(image), read_image(path))
