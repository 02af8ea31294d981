import io

import cv2
import numpy as np
import PIL.Image
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.images import decode_image, read_image, reduction_for
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.sources.file_source import FileSource

HEIGHT, WIDTH = 48, 64


def _ramp(height=HEIGHT, width=WIDTH):
    """A smooth picture in which every pixel and every channel is different."""
    row, column = np.mgrid[:height, :width]
    return np.stack([column * 3, row * 4, row + column], axis=-1).astype(np.uint8)


def _encode(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def _picture(mode="RGB"):
    image = PIL.Image.fromarray(_ramp())
    if mode in ("RGBA", "LA"):
        image.putalpha(PIL.Image.fromarray(_ramp()[..., 0]))
    return image.convert(mode)


def _rotated():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to display"
    return exif


# The file, and by how many gray levels it may differ from what Pillow makes of it.
MODES = {
    "grayscale JPEG": (_encode(_picture("L"), "JPEG"), 1),
    "color JPEG": (_encode(_picture(), "JPEG"), 1),
    "progressive JPEG": (_encode(_picture(), "JPEG", progressive=True), 1),
    "CMYK JPEG": (_encode(_picture("CMYK"), "JPEG"), 3),
    "JPEG with an EXIF rotation": (_encode(_picture(), "JPEG", exif=_rotated()), 1),
    "PNG with an EXIF rotation": (_encode(_picture(), "PNG", exif=_rotated()), 0),
    "color PNG": (_encode(_picture(), "PNG"), 0),
    "grayscale PNG": (_encode(_picture("L"), "PNG"), 0),
    "transparent PNG": (_encode(_picture("RGBA"), "PNG"), 0),
    "transparent grayscale PNG": (_encode(_picture("LA"), "PNG"), 0),
    "palette PNG": (_encode(_picture("P"), "PNG"), 0),
    "palette PNG with a transparent color": (_encode(_picture("P"), "PNG", transparency=3), 0),
    "1-bit PNG": (_encode(_picture("1"), "PNG"), 0),
    "WebP": (_encode(_picture(), "WEBP", lossless=True), 0),
    "BMP": (_encode(_picture(), "BMP"), 0),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_the_rgb_that_pillow_gives(mode):
    data, tolerance = MODES[mode]
    image = decode_image(data, mode, size=(HEIGHT, WIDTH))
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    expected = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_their_high_eight(channels):
    # 257 g + 3 has the high byte g: 0x0101 g is the byte g twice, and 3 does not carry for g < 253.
    gray_levels = _ramp()[..., :channels] % 252
    pixels = gray_levels[..., ::-1].astype(np.uint16) * 257 + 3  # OpenCV writes BGR
    data = cv2.imencode(".png", pixels)[1].tobytes()
    expected = np.broadcast_to(gray_levels, (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(decode_image(data, "x.png"), expected)


DAMAGED = {
    "no bytes": (b"", "is empty or not an image that OpenCV can decode; replace the file"),
    "a web page": (b"<html>404</html>" * 9, "is empty or not an image that OpenCV can decode"),
    "half a JPEG": (_encode(_picture(), "JPEG")[:-200], "the image is truncated"),
    "half a PNG": (_encode(_picture(), "PNG")[:-20], "the image is truncated"),
    # The bit of 2^31 in the length of the chunk behind the header, which begins at byte 33.
    "a PNG with a flipped bit": (
        bytes(byte ^ 128 * (place == 33) for place, byte in enumerate(_encode(_picture(), "PNG"))),
        "the image is truncated",
    ),
    "half a WebP": (_encode(_picture(), "WEBP")[:-200], "is empty or not an image"),
    "half a BMP": (_encode(_picture(), "BMP")[:-2000], "is empty or not an image"),
    "another size": (
        _encode(_picture().resize((32, 40)), "PNG"),
        "is 32x40 pixels but its annotation says 64x48; if the image was resized after",
    ),
    "a JPEG of another size": (
        _encode(_picture().resize((32, 40)), "JPEG"),
        "is 32x40 pixels but its annotation says 64x48; if the image was resized after",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_no_whole_image_of_its_size_gets_a_sentence(damage, tmp_path):
    data, sentence = DAMAGED[damage]
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_image(path, size=(HEIGHT, WIDTH))
    message = str(caught.value)
    assert message.startswith(f"{path}: {sentence}") and "\n" not in message
    assert message.endswith("or set config.data.on_error='skip' to train without it.")
    assert caught.value.kind == ("image_size" if "size" in damage else "unreadable_image")


def test_a_missing_file_gets_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"lost\.jpg: cannot be read \(No such file") as caught:
        read_image(tmp_path / "lost.jpg")
    assert caught.value.kind == "missing_image"


@pytest.mark.parametrize(
    ("at_least", "reduction"),
    [
        ((48, 64), 1),
        ((25, 32), 1),  # 48 / 2 < 25
        ((24, 32), 2),
        ((24, 33), 1),
        ((12, 16), 4),
        ((6, 8), 8),
        ((1, 1), 8),
    ],
)
def test_a_jpeg_is_reduced_only_as_far_as_suffices(at_least, reduction):
    assert reduction_for((HEIGHT, WIDTH), at_least) == reduction
    jpeg = decode_image(_encode(_picture(), "JPEG"), "x.jpg", (HEIGHT, WIDTH), at_least)
    assert jpeg.shape == (HEIGHT // reduction, WIDTH // reduction, 3)
    expected = cv2.resize(_ramp(), jpeg.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(jpeg.astype(int) - expected).mean() < 3
    png = decode_image(_encode(_picture(), "PNG"), "x.png", (HEIGHT, WIDTH), at_least)
    np.testing.assert_array_equal(png, _ramp())


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("size", [(97, 130), (111, 95), (96, 128)])
def test_odd_sides_are_rounded_up(reduction, size):
    data = _encode(PIL.Image.fromarray(_ramp(*size)), "JPEG")
    image = decode_image(data, "x.jpg", size, tuple(side // reduction for side in size))
    assert image.shape[:2] == tuple(-(-side // reduction) for side in size)


def test_a_reduced_jpeg_of_another_size_gets_a_sentence():
    data = _encode(_picture(), "JPEG")
    with pytest.raises(DataError, match=r"is 64x48 pixels but its annotation says 128x96"):
        decode_image(data, "x.jpg", (96, 128), (48, 64))


def test_boxes_and_areas_move_with_a_reduced_image(tmp_path):
    path = tmp_path / "x.jpg"
    PIL.Image.fromarray(_ramp()).save(path)
    example = create_example(np.array([[8, 4, 24, 44]]), np.zeros(1), 7, area=np.array([500]))
    annotations = collect_annotations([example], np.array([[HEIGHT, WIDTH]]))
    source = FileSource(annotations, [str(path)], ("thing",), (1,), [])
    reduced = source.load(0, at_least=(12, 16))
    assert reduced.image.shape == (12, 16, 3) and reduced.image_id == 7
    # A quarter of each side, so a sixteenth of the area.
    np.testing.assert_array_equal(reduced.boxes, [[2, 1, 6, 11]])
    np.testing.assert_array_equal(reduced.area, [31.25])
    assert reduced.boxes.dtype == reduced.area.dtype == np.float32
    np.testing.assert_array_equal(source[0].boxes, [[8, 4, 24, 44]])
    np.testing.assert_array_equal(source.load(0).image, source[0].image)


def test_every_image_of_a_real_data_set_is_as_pillow_reads_it(shared_data):
    modes = set()
    for path in (shared_data / "coco_mini/train2017").glob("*.jpg"):
        with PIL.Image.open(path) as image:
            modes.add(image.mode)
            expected = np.asarray(image.convert("RGB"))
        difference = cv2.absdiff(read_image(path, size=expected.shape[:2]), expected)
        assert difference.mean() < 1
    assert modes == {"RGB", "L"}
