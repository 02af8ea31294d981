"""EXIF orientations and bit depths of a data set, told and acted on as it is opened."""

import io
import logging

import numpy as np
import PIL.Image
import pytest

from ioub_jax.configs import defaults
from ioub_jax.data import sources
from ioub_jax.data.checks import DataError
from ioub_jax.data.images import Reading
from ioub_jax.data.sources import image_survey
from ioub_jax.from_config import audit_parts, data_parts
from tests.encoded import png, write_coco

LYING = (64, 96)


def _config(root, **changes):
    """The configuration of a folder that `write_coco` wrote."""
    config = defaults.get_config()
    config.data.update({"source": "coco", "keep_empty": True, "canvases": ((8, 8),)} | changes)
    for split in ("train", "val"):
        config.data.coco[f"{split}_annotations"] = "train.json"
        config.data.coco[f"{split}_images"] = "images"
    config.data.coco.root = str(root)
    return config


def _open(root, **changes):
    return data_parts.create_source(_config(root, **changes).data, "train")


def _write_deep(root, largest):
    """A data set of one image for each largest value, of 16 bits unless it is None."""
    contents = []
    for value in largest:
        values = np.zeros((8, 8, 1), np.uint8 if value is None else np.uint16)
        values[2, 3] = 200 if value is None else value
        contents.append(png(values))
    write_coco(root, contents, [(8, 8)] * len(largest), [[1, 1, 4, 4]], suffix="png")


def _photo(orientation):
    """A photo of `LYING` as stored, with its left half white."""
    pixels = np.zeros((*LYING, 3), np.uint8)
    pixels[:, :48] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", exif=exif, quality=95)
    return file.getvalue()


@pytest.mark.parametrize(
    ("largest", "depth"),
    [
        ([255, 3], 8),
        ([256], 10),
        ([1023], 10),
        ([1024, 3], 12),
        ([3800, None], 12),
        ([4096], 14),
        ([16384], 16),
        ([65535], 16),
        ([None], 16),
    ],
)
def test_the_bit_depth_is_the_smallest_that_holds_the_largest_value(
    tmp_path, caplog, largest, depth
):
    _write_deep(tmp_path, largest)
    with caplog.at_level(logging.INFO):
        source = _open(tmp_path)
    assert sources.bit_depth_of(source) == depth
    told = [record.getMessage() for record in caplog.records]
    if largest == [None]:
        assert told == []
        return
    deep = [value for value in largest if value is not None]
    assert told == [
        f"coco train: {len(deep)} of {len(largest)} images have 16 bits a channel; their largest "
        f"value is {max(deep):,}, so they are read as {depth} bits (config.data.bit_depth={depth})."
    ]
    assert source[0].image.max() == deep[0] >> (depth - 8)


def test_the_training_data_decide_and_what_is_configured_decides_first(tmp_path):
    _write_deep(tmp_path, [900])
    for given, configured, depth in ((14, None, 14), (None, 16, 16), (14, 12, 12)):
        source = data_parts.create_source(
            _config(tmp_path, bit_depth=configured).data, "val", bit_depth=given
        )
        assert sources.bit_depth_of(source) == depth
        assert source[0].image.max() == 900 >> (depth - 8)
    source = _open(tmp_path, bit_depth=8)
    with pytest.raises(DataError, match=r"has the value 900, and 8 bits end at 255; set .*=10"):
        source[0]


def test_of_many_images_the_same_few_are_looked_into(tmp_path, monkeypatch, caplog):
    _write_deep(tmp_path, [300, 60_000, 700])
    monkeypatch.setattr(image_survey, "LOOKED_INTO", 2)
    with caplog.at_level(logging.INFO):
        source = _open(tmp_path)
    # The first and the last: 700 needs 10 bits, which the second image does not have.
    assert sources.bit_depth_of(source) == 10
    assert "2 of 2 images looked into (of 3) have 16 bits" in caplog.text
    with pytest.raises(DataError, match=r"has the value 60,000, .*; set config.data.bit_depth=16"):
        source[1]


@pytest.mark.parametrize("annotated", [LYING, LYING[::-1]])
def test_applied_orientations_turn_pixels_and_sizes_whichever_the_file_has(tmp_path, annotated):
    """Label Studio writes the size as stored, labelme and CVAT as shown; boxes are as shown."""
    box = [6, 8, 24, 80]  # as high as only the upright image is
    write_coco(tmp_path, [_photo(6), _photo(1)], [annotated, LYING], [box, [6, 8, 24, 20]])
    source = _open(tmp_path, exif="apply")
    np.testing.assert_array_equal(source.sizes, [LYING[::-1], LYING])
    np.testing.assert_array_equal(source[0].boxes, [[6, 8, 30, 88]])
    # Turned by 90 degrees clockwise, the left half is the upper one.
    assert source[0].image[:44].min() > 200 and source[0].image[52:].max() < 50
    assert source[1].image[:, :44].min() > 200
    reduced = source.load(0, at_least=(48, 32))
    assert reduced.image.shape == (48, 32, 3)
    np.testing.assert_array_equal(reduced.boxes, [[3, 4, 15, 44]])
    found = audit_parts.audit_data_set(_config(tmp_path, exif="apply"), "train", decode=True)
    assert [finding.kind for finding in found.findings if "exif" in finding.kind] == [
        "exif_applied"
    ]
    assert not found.must_be_fixed


@pytest.mark.parametrize("annotated", [LYING, LYING[::-1], None])
def test_applied_orientations_turn_images_of_voc_too(tmp_path, annotated):
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    (tmp_path / "JPEGImages" / "1.jpg").write_bytes(_photo(6))
    size = ""
    if annotated is not None:
        size = f"<size><width>{annotated[1]}</width><height>{annotated[0]}</height></size>"
    corners = "<xmin>7</xmin><ymin>9</ymin><xmax>30</xmax><ymax>88</ymax>"
    (tmp_path / "Annotations" / "1.xml").write_text(
        f"<annotation>{size}<object><name>nut</name><bndbox>{corners}</bndbox></object></annotation>"
    )
    source = sources.VocSource(tmp_path, "all", classes=("nut",), exif="apply")
    np.testing.assert_array_equal(source.sizes, [LYING[::-1]])
    source = source.read_with(Reading(exif="apply"))
    np.testing.assert_array_equal(source[0].boxes, [[6, 8, 30, 88]])
    assert source[0].image[:44].min() > 200


def test_ignored_orientations_are_told_in_one_line(tmp_path, caplog):
    write_coco(tmp_path, [_photo(6), _photo(1), _photo(3)], [LYING] * 3, [[6, 8, 24, 20]])
    source = _open(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "coco train: 2 of 3 images have an EXIF orientation, which is ignored: boxes refer to the "
        "pixels as stored. If they were drawn on upright images, set config.data.exif='apply'."
    ]
    np.testing.assert_array_equal(source.sizes, [LYING] * 3)
    caplog.clear()
    _open(tmp_path, exif="apply")
    assert caplog.records == []


def test_a_size_that_is_neither_is_told(tmp_path):
    write_coco(tmp_path, [_photo(6)], [(50, 50)], [[6, 8, 24, 20]])
    source = _open(tmp_path, exif="apply")
    with pytest.raises(DataError, match=r"is 64x96 pixels once EXIF orientation 6 is applied but"):
        source[0]


@pytest.mark.parametrize(
    ("largest", "bit_depth", "words"),
    [
        ([900, 3800], None, ["span 0 to 3,800, which 12 bits can hold; they are read as 12 bits"]),
        (
            [900, 3800],
            16,
            [
                "read as 16 bits",
                "3,800, below a tenth of the 65,535 that 16 bits have; set config.data.bit_depth=1",
            ],
        ),
        ([20], None, ["8 bits can hold", "20, below a tenth of the 255 that 8 bits have; resc"]),
    ],
)
def test_the_audit_tells_what_the_values_span(tmp_path, largest, bit_depth, words):
    _write_deep(tmp_path, largest)
    found = audit_parts.audit_data_set(_config(tmp_path, bit_depth=bit_depth), "train", decode=True)
    told = [f for f in found.findings if f.kind in ("deep_image", "nearly_black")]
    assert len(told) == len(words)
    for finding, part in zip(told, words, strict=True):
        assert part in finding.advice and finding.count == len(largest)
    assert f"--config.data.bit_depth={12 if max(largest) > 255 else 8}." in told[0].advice


def test_the_audit_tells_dark_images_of_eight_bits_and_values_beyond_the_depth(tmp_path):
    _write_deep(tmp_path, [900, 5000])
    found = audit_parts.audit_data_set(_config(tmp_path, bit_depth=10), "train", decode=True)
    kinds = {finding.kind: finding for finding in found.findings}
    assert found.must_be_fixed and kinds["bit_depth"].count == 1
    assert "span 0 to 5,000, which 14 bits can hold" in kinds["deep_image"].advice
    contents = [png(np.full((8, 8, 3), value, np.uint8)) for value in (3, 25)]
    write_coco(tmp_path, contents, [(8, 8)] * 2, [[1, 1, 4, 4]], suffix="png")
    found = audit_parts.audit_data_set(_config(tmp_path), "train", decode=True)
    (finding,) = (f for f in found.findings if f.kind == "nearly_black")
    # A tenth of 256 is 25.6.
    assert finding.advice.startswith("The largest value of these images is 25, below a tenth of")
