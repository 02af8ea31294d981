import io

import numpy as np
import PIL.Image
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.image_rows import WholeImage, open_rows, read_shrunk
from ioub_jax.data.images import Reading, decode_image
from tests.encoded import encoded, png, tiff

HEIGHT, WIDTH = 70, 53


def noise(channels, dtype=np.uint8):
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype)


def saved(mode, file_format, **options):
    image = PIL.Image.fromarray(noise(3))
    image = image.quantize(13) if mode == "16 colors" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def tiled_tiff(values, side=16):
    """A TIFF of tiles, which Pillow does not write: an uncompressed one, rewritten."""
    height, width, bands = values.shape
    rows, columns = -(-height // side), -(-width // side)
    padded = np.zeros((rows * side, columns * side, bands), values.dtype)
    padded[:height, :width] = values
    tiles = padded.reshape(rows, side, columns, side, bands).swapaxes(1, 2)
    contents = [tile.tobytes() for tile in tiles.reshape(-1, side, side, bands)]
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    sizes = [len(content) for content in contents]
    numbers = {
        256: width, 257: height, 258: (8,) * bands, 259: 1, 262: 2, 277: bands, 322: side,
        323: side, 324: tuple([10**6] * len(sizes)), 325: tuple(sizes),
    }  # fmt: skip
    for tag, number in numbers.items():
        tags[tag] = number
    begin = 8 + len(tags.tobytes(8))
    tags[324] = tuple(begin + int(offset) for offset in np.cumsum([0, *sizes[:-1]]) + 10**6)
    begin = 8 + len(tags.tobytes(8))
    tags[324] = tuple(begin + int(offset) for offset in np.cumsum([0, *sizes[:-1]]))
    ahead = tags.tobytes(8)
    assert 8 + len(ahead) <= begin
    return (b"II*\0\x08\0\0\0" + ahead).ljust(begin, b"\0") + b"".join(contents)


IN_PARTS = {
    **{f"PNG of {n} channels": png(noise(n)) for n in (1, 2, 3, 4)},
    **{f"PNG of 16 bits, {n} channels": png(noise(n, np.uint16)) for n in (1, 2)},
    **{f"PNG of mode {mode}": saved(mode, "PNG") for mode in ("P", "1", "16 colors")},
    **{
        f"TIFF of mode {mode}, {packed}": saved(mode, "TIFF", compression=packed, strip_size=900)
        for mode, packed in (
            ("RGB", "tiff_lzw"),
            ("RGBA", "tiff_deflate"),
            ("L", "packbits"),
            ("P", "raw"),
            ("1", "group4"),
            ("CMYK", "tiff_lzw"),
            ("RGB", "jpeg"),
        )
    },
    "TIFF of 16 bits": tiff(noise(3, np.uint16)),
    "TIFF of tiles": tiled_tiff(noise(3)),
}
WHOLE = {
    "PNG of 16-bit colors": png(noise(3, np.uint16)),
    "JPEG": encoded(HEIGHT, WIDTH, "JPEG"),
    "WebP": encoded(HEIGHT, WIDTH, "WEBP"),
    "BMP": encoded(HEIGHT, WIDTH, "BMP"),
    "turned TIFF": saved("RGB", "TIFF", tiffinfo={274: 3}),
}


@pytest.mark.parametrize("kind", [*IN_PARTS, *WHOLE])
def test_rows_are_those_of_the_image(kind):
    data = (IN_PARTS | WHOLE)[kind]
    expected = decode_image(data, kind)
    rows = open_rows(io.BytesIO(data), kind)
    assert rows.size == expected.shape[:2] and rows.in_parts == (kind in IN_PARTS)
    # Forwards, with an overlap; then anywhere, above what was read before too.
    for start, stop in [(0, 30), (20, 50), (40, 70), (69, 70), (3, 4), (10, 65), (0, 70)]:
        np.testing.assert_array_equal(rows.read(start, stop), expected[start:stop])
    rows.close()


def test_an_image_that_is_turned_is_decoded_whole():
    exif = PIL.Image.Exif()
    exif[274] = 6  # lies on its side
    data = saved("RGB", "PNG", exif=exif)
    upright = Reading("apply")
    rows = open_rows(io.BytesIO(data), "x", (WIDTH, HEIGHT), reading=upright)
    assert not rows.in_parts
    expected = decode_image(data, "x", reading=upright)
    np.testing.assert_array_equal(rows.read(5, 9), expected[5:9])
    assert open_rows(io.BytesIO(data), "x", (HEIGHT, WIDTH)).in_parts


class Counting(io.BytesIO):
    """A file that knows how many bytes were read of it."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize("kind", ["TIFF of 16 bits", "TIFF of tiles"])
def test_of_a_tiff_only_what_is_needed_is_read(kind):
    if kind == "TIFF of tiles":
        data = tiled_tiff(np.zeros((1024, 64, 3), np.uint8))
    else:
        data = saved("RGB", "TIFF", compression="tiff_lzw", strip_size=900)
    file = Counting(data)
    rows = open_rows(file, kind)
    file.count = 0
    rows.read(0, 8)
    assert 0 < file.count < len(data) / 4


def test_of_a_png_a_band_is_kept():
    rows = open_rows(io.BytesIO(png(np.zeros((2000, 9, 3), np.uint8))), "x")
    for start in range(0, 1900, 50):
        rows.read(start, start + 100)
        assert len(rows._band) == 100
    assert rows._next == 1950


def cut_off(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (cut_off(IN_PARTS["PNG of 3 channels"]), "truncated"),
        (cut_off(IN_PARTS["TIFF of tiles"]), "truncated"),
        (cut_off(WHOLE["JPEG"]), "truncated"),
        (png(noise(3)).replace(b"IDAT\x78", b"IDAT\x00"), "cannot be decoded"),
        (b"", "is empty or not an image"),
        (encoded(20, 20, "TIFF", pages=2), "has 2 pages"),
    ],
)
def test_what_is_broken_is_told(data, words):
    with pytest.raises(DataError, match=f"^name: .*{words}.*, or leave it out.$"):
        open_rows(io.BytesIO(data), "name").read(0, 20)


def test_which_rows_can_be_read_does_not_depend_on_what_was_read_before():
    data = png(np.random.default_rng(0).integers(0, 256, (600, 300, 3), np.uint8))
    data = data[:300_000] + b"\xff" * 9 + data[300_009:]

    def can_be_read(rows, start, stop):
        try:
            rows.read(start, stop)
        except DataError:
            return False
        return True

    ranges = [(start, start + 60) for start in range(0, 600, 60)]
    alone = [can_be_read(open_rows(io.BytesIO(data), "x"), *range_) for range_ in ranges]
    assert alone[0] and not alone[-1] and sorted(alone, reverse=True) == alone
    rows = open_rows(io.BytesIO(data), "x")
    assert [can_be_read(rows, *range_) for range_ in reversed(ranges)] == alone[::-1]
    assert [can_be_read(rows, *range_) for range_ in ranges] == alone


def test_another_size_than_annotated_is_told():
    for data in (IN_PARTS["PNG of 3 channels"], IN_PARTS["TIFF of tiles"], WHOLE["JPEG"]):
        with pytest.raises(DataError, match="is 53x70 pixels but its annotation says 54x70"):
            open_rows(io.BytesIO(data), "name", (70, 54))


def test_an_image_is_shrunk_band_by_band():
    # Squares of 3 x 3 pixels of one value each, and a row and a column that are left over.
    values = np.random.default_rng(0).integers(0, 256, (200, 33, 3), np.uint8)
    pixels = np.full((601, 100, 3), 7, np.uint8)
    pixels[:600, :99] = values.repeat(3, axis=0).repeat(3, axis=1)
    shrunk, side = read_shrunk(WholeImage(pixels), 201)
    assert side == 3
    np.testing.assert_array_equal(shrunk, values)
    same, side = read_shrunk(WholeImage(pixels), 601)
    assert side == 1 and same.shape == pixels.shape


def test_what_follows_the_end_of_a_png_is_no_matter():
    """Cameras and editors append data of their own."""
    data = png(noise(3)) + b"\0" * 300
    rows = open_rows(io.BytesIO(data), "x")
    np.testing.assert_array_equal(rows.read(0, HEIGHT), noise(3))
    with pytest.raises(DataError, match="truncated"):
        open_rows(io.BytesIO(png(noise(3))[:-12]), "x")


@pytest.mark.parametrize("channels", [1, 4])
def test_a_png_of_8_bits_has_the_channels_of_the_model(channels):
    reading = Reading(channels=channels)
    data = png(noise(4 if channels == 4 else 3))
    rows = open_rows(io.BytesIO(data), "x", reading=reading)
    expected = decode_image(data, "x", reading=reading)
    np.testing.assert_array_equal(rows.read(0, 40), expected[:40])
    np.testing.assert_array_equal(rows.read(20, HEIGHT), expected[20:])


def test_gray_and_narrow_images_are_shrunk():
    gray = np.full((600, 900, 1), 9, np.uint8)
    shrunk, side = read_shrunk(WholeImage(gray), 300)
    assert (shrunk.shape, side) == ((200, 300, 1), 3) and (shrunk == 9).all()
    # Squares of 10 pixels, of which a column of 4 has none that is complete.
    narrow = np.full((1000, 4, 3), 9, np.uint8)
    shrunk, side = read_shrunk(WholeImage(narrow), 100)
    assert (shrunk.shape, side) == ((100, 1, 3), 10) and (shrunk == 9).all()
    flat, _ = read_shrunk(WholeImage(narrow.swapaxes(0, 1)), 100)
    assert flat.shape == (1, 100, 3)
