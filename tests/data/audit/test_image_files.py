"""What image files say of themselves: size, EXIF orientation, whether they decode."""

import dataclasses

import numpy as np
import PIL.Image
import pytest

from ioub_jax.data.audit.image_files import check_headers, decode_all
from ioub_jax.data.sources import FileSource, ShapesSource
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from tests.encoded import encoded, huge_png, tiff


def write_image(path, size=(24, 32), orientation=None):
    """A JPEG of noise of a height and width."""
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    PIL.Image.fromarray(pixels).save(path, exif=exif)


def open_source(paths, size=(24, 32)):
    examples = [create_example([], [], number) for number in range(len(paths))]
    sizes = np.array([size] * len(paths))
    return FileSource(collect_annotations(examples, sizes), list(map(str, paths)), ("a",), (1,), [])


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "good.jpg")
    return tmp_path


def test_good_images_have_nothing_to_tell(folder):
    source = open_source([folder / "good.jpg"] * 3)
    assert check_headers(source) == ([], [])
    assert decode_all(source) == ([], [])


def test_every_bad_header_is_told(folder):
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    write_image(folder / "small.jpg", (12, 16))
    write_image(folder / "turned.jpg", (32, 24))
    names = ["empty", "good", "gone", "small", "text", "turned"]
    problems, findings = check_headers(open_source([folder / f"{name}.jpg" for name in names]))
    assert findings == []
    assert [(p.kind, p.sentence.split(": ")[0]) for p in problems] == [
        ("unreadable_image", str(folder / "empty.jpg")),
        ("missing_image", str(folder / "gone.jpg")),
        ("image_size", str(folder / "small.jpg")),
        ("unreadable_image", str(folder / "text.jpg")),
        ("image_size", str(folder / "turned.jpg")),
    ]
    assert "is 16x12 pixels but its annotation says 32x24; if the image was resized" in str(
        problems[2]
    )
    assert "width and height are swapped in the annotation" in str(problems[4])


def test_kinds_that_are_not_read_are_told_without_decoding(folder):
    contents = {
        "float.tif": tiff(np.zeros((24, 32, 1), np.float32), kind=3),
        "pages.tif": encoded(24, 32, "TIFF", pages=2),
        "huge.png": huge_png(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    problems, _ = check_headers(open_source([folder / name for name in contents]))
    assert [problem.kind for problem in problems] == ["unreadable_image"] * 3
    for problem, words in zip(
        problems, ("is 32-bit float", "has 2 pages", "is 40000x40000 pixels"), strict=True
    ):
        assert words in str(problem.sentence)
        assert problem.sentence.endswith("or set config.data.on_error='skip' to train without it.")


def test_exif_orientations_are_counted_and_named(folder):
    for orientation in (1, 3, 8):
        write_image(folder / f"{orientation}.jpg", orientation=orientation)
    source = open_source([folder / "good.jpg"] + [folder / f"{n}.jpg" for n in (1, 3, 8)])
    problems, (finding,) = check_headers(source)
    assert problems == []
    assert (finding.kind, finding.count, finding.must_be_fixed) == ("exif_orientation", 2, False)
    assert "ignored" in finding.advice
    assert finding.sentences == tuple(
        f"{folder / name}: EXIF orientation {name[0]}." for name in ("3.jpg", "8.jpg")
    )
    assert decode_all(source) == ([], [])


def test_a_size_annotated_as_turned_by_exif_is_explained(folder):
    write_image(folder / "sideways.jpg", (32, 24), orientation=6)
    problems, findings = check_headers(open_source([folder / "sideways.jpg"]))
    assert "annotated as turned by its EXIF orientation 6" in str(problems[0])
    assert len(findings) == 1


def test_decoding_finds_what_headers_do_not_tell_and_goes_on(folder):
    data = (folder / "good.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) * 3 // 4])
    paths = [folder / f"{name}.jpg" for name in ("cut", "good", "gone", "cut")]
    source = open_source(paths)
    assert [p.kind for p in check_headers(source)[0]] == ["missing_image"]
    found, findings = decode_all(source)
    assert findings == []
    assert [p.kind for p in found] == ["unreadable_image", "missing_image", "unreadable_image"]
    assert "truncated" in str(found[0])


def test_a_source_without_files_has_no_headers():
    source = ShapesSource(num_images=2, image_size=(32, 32), seed=0, split="train")
    assert check_headers(source) == ([], [])
    assert decode_all(source) == ([], [])


def test_headers_tell_how_many_bands_there_are(tmp_path):
    bands = np.zeros((5, 7, 4), np.uint8)
    (tmp_path / "four.tif").write_bytes(tiff(bands, colors=1, extra=(0, 0, 0)))
    (tmp_path / "three.tif").write_bytes(tiff(bands[..., :3]))
    source = open_source([tmp_path / "four.tif", tmp_path / "three.tif"], (5, 7))
    assert ["four.tif: has 4 bands that" in str(one) for one in check_headers(source)[0]] == [True]
    source = source.read_with(dataclasses.replace(source.reading, channels=4))
    problems, _ = check_headers(source)
    sentence = "three.tif: has 3 channels, where config.model.in_channels=4 requires 4"
    assert [sentence in str(problem) for problem in problems] == [True]
