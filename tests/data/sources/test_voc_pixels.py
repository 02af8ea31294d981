"""How VOC's pixels are counted: what the files of real tools give away, and what is told of it."""

import json
import pathlib

import cv2
import numpy as np
import pytest

from ioub_jax.data.sources import CocoSource, VocSource
from ioub_jax.data.sources.voc_pixels import (
    CONVENTIONS,
    Evidence,
    choose_pixels,
    decide,
    gather_evidence,
)

EXPORTS = pathlib.Path(__file__).resolve().parents[1] / "exports"
#: One data set as tools have written it: how its pixels are counted, and the largest error of an
#: edge in pixels. Tools that write whole pixels round or cut, by less than one. supervision 0.31.2
#: makes boxes of masks where there are polygons: those are a pixel too large in the file already.
#: Label Studio cuts width and height after x and y, so its right edge is up to 2 px short.
TOOLS = {
    "datumaro_1.13.12_voc_detection": ("zero_based", 1e-4),
    "globox_2.9.0_voc": ("zero_based", 1e-4),
    "label_studio_sdk_2.1.2_voc": ("zero_based", 2.0),
    "pylabel_0.1.55_voc": ("zero_based", 1.0),
    "supervision_0.25.1_voc": ("one_based_exclusive", 1.0),
    "supervision_0.31.2_voc": ("devkit", 1.5),
    "supervision_0.31.2_voc_of_boxes": ("devkit", 0.51),
    "globox_2.9.0_coco.json": (None, 1e-4),
    "sahi_0.12.8_coco.json": (None, 1e-4),
    "supervision_0.31.2_coco.json": (None, 1e-4),
}


@pytest.fixture(scope="module")
def truth():
    """Name of an image -> its boxes by their classes, each once in an image."""
    content = json.loads((EXPORTS / "truth.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    found = {file: {} for file in files.values()}
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        box = [x, y, x + width, y + height]
        found[files[entry["image_id"]]][names[entry["category_id"]]] = box
    return content["images"], found


@pytest.fixture(scope="module")
def images(tmp_path_factory, truth):
    """A folder with the images of the exports, which are black."""
    folder = tmp_path_factory.mktemp("images")
    for image in truth[0]:
        pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
        cv2.imwrite(str(folder / image["file_name"]), pixels)
    return folder


def _open(tool, images, tmp_path):
    """The data set of a tool, with the images, without a key that says how it is written."""
    if tool.endswith(".json"):
        return CocoSource(EXPORTS / tool, images)
    xmls = EXPORTS / tool / "Annotations"
    (tmp_path / "Annotations").symlink_to(xmls if xmls.is_dir() else EXPORTS / tool)
    (tmp_path / "images").symlink_to(images)
    return VocSource(tmp_path, "all")


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_has_written_is_read_to_the_truth(tool, truth, images, tmp_path, caplog):
    source = _open(tool, images, tmp_path)
    pixels, largest = TOOLS[tool]
    assert len(source) == 5 and source.classes == ("bolt", "nut", "washer")
    errors = []
    for index in range(len(source)):
        example, expected = source.annotations(index), truth[1][source.describe(index)[-8:]]
        names = [source.classes[label] for label in example.labels]
        assert sorted(names) == sorted(expected)
        errors += [
            np.abs(box - expected[name]).max()
            for box, name in zip(example.boxes, names, strict=True)
        ]
    print(f"{tool}: {max(errors):.4f} px")
    assert len(errors) == 12 and max(errors) < largest
    if pixels is not None:
        assert source.pixels == pixels and decide(source.evidence).is_certain
        assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("tool", ["globox_2.9.0_voc", "supervision_0.25.1_voc"])
@pytest.mark.parametrize("name", ["im_0", "im_1", "im_2"])
def test_a_single_file_is_often_enough(tool, name, images, tmp_path):
    (tmp_path / f"{name}.xml").write_bytes((EXPORTS / tool / f"{name}.xml").read_bytes())
    (tmp_path / f"{name}.jpg").write_bytes((images / f"{name}.jpg").read_bytes())
    source = VocSource(tmp_path, "all")
    # No box of supervision's im_0 and im_2 touches the right or the lower edge.
    is_seen = tool.startswith("globox") or name == "im_1"
    assert (source.pixels == TOOLS[tool][0]) == is_seen
    assert decide(source.evidence).is_certain == is_seen


def evidence(**counts):
    """Evidence of 50 boxes of which nothing is known but this."""
    numbers = dict.fromkeys(
        ("fractions", "decimals", "zeros", "ones", "below", "at_edge", "beyond", "far_beyond"), 0
    )
    return Evidence(**{"boxes": 50, "tool": "", "files": 0} | numbers | counts)


# What is known, what is decided, and whether that is certain.
DECISIONS = {
    "fractions": ({"fractions": 26}, "zero_based", True),
    "fractions of a few, as in VOC2011": ({"fractions": 25}, "devkit", False),
    "zeros": ({"zeros": 3, "below": 3}, "zero_based", True),
    "a zero": ({"zeros": 1, "below": 1}, "zero_based", False),
    "zeros and ones of one who cuts": ({"zeros": 9, "ones": 4, "below": 9}, "zero_based", True),
    "slips in the devkit's": (
        {"zeros": 2, "ones": 60, "below": 2, "at_edge": 9}, "devkit", True
    ),
    "one beyond": ({"beyond": 3, "ones": 5}, "one_based_exclusive", True),
    "one box of few": ({"beyond": 1, "boxes": 9}, "one_based_exclusive", True),
    "one box of many": ({"beyond": 1, "boxes": 900}, "devkit", False),
    "one beyond and more": ({"beyond": 9, "far_beyond": 1}, "devkit", False),
    "one beyond, but zeros": ({"beyond": 9, "zeros": 2, "below": 2}, "zero_based", False),
    "careless ends": ({"beyond": 3, "at_edge": 40, "ones": 30}, "devkit", True),
    "ones and edges": ({"ones": 1, "at_edge": 1}, "devkit", True),
    "ones alone": ({"ones": 9}, "devkit", False),
    "edges alone": ({"at_edge": 9}, "devkit", False),
    "Label Studio": ({"tool": "Label Studio", "ones": 9, "at_edge": 9}, "zero_based", True),
    "LabelImg": ({"tool": "LabelImg"}, "devkit", True),
    "the template of the devkit": (
        {"tool": "the devkit", "zeros": 9, "below": 9}, "zero_based", True
    ),
    "supervision": ({"tool": "supervision"}, "devkit", False),
    "whole floats": ({"decimals": 50}, "zero_based", False),
    "whole floats of the devkit": ({"decimals": 50, "ones": 9, "at_edge": 9}, "devkit", True),
    "nothing": ({}, "devkit", False),
    "no boxes": ({"boxes": 0}, "devkit", True),
}  # fmt: skip


@pytest.mark.parametrize("name", DECISIONS)
def test_what_evidence_decides(name):
    counts, pixels, is_certain = DECISIONS[name]
    decision = decide(evidence(**counts))
    assert (decision.pixels, decision.is_certain) == (pixels, is_certain)
    sentence = decision.sentence("data")
    assert "\n" not in sentence and sentence.endswith(".")
    # Where there is doubt, what the others would mean.
    for other in set(CONVENTIONS) - {pixels}:
        assert (f"--config.data.voc.pixels={other} moves" in sentence) != is_certain


def test_what_is_counted():
    corners = np.array(
        [[0, 1, 64, 48], [1.5, 0, 65, 50], [np.nan, 1, 2, 3], [-2, 7, 9, 9]], np.float64
    )
    sizes = np.array([[48, 64]] * 4)
    found = gather_evidence(corners, sizes, np.array([0, 1, 1, 0], bool), ["LabelImg", "", ""])
    assert found == evidence(
        boxes=3, fractions=1, decimals=1, zeros=2, ones=1, below=3, at_edge=2, beyond=1,
        far_beyond=1, files=2,
    )  # fmt: skip


def test_what_is_given_counts_and_what_speaks_against_it_is_told(caplog):
    seen = evidence(fractions=50)
    with caplog.at_level("INFO"):
        assert choose_pixels("devkit", seen, "data") == "devkit"
    (message,) = caplog.messages
    assert message == (
        "data: pixels are read as 'devkit', although 50 of 50 boxes have fractions, which pixels "
        "do not have, as in 'zero_based'; if these are right, that moves left and top edges by +1 "
        "px."
    )
    caplog.clear()
    choose_pixels("zero_based", seen, "data")
    choose_pixels("zero_based", evidence(), "data")
    choose_pixels(None, evidence(boxes=0), "data")
    assert not caplog.messages
    with pytest.raises(ValueError, match=r"^pixels is 'pixel' and must be one of \('devkit', "):
        choose_pixels("pixel", seen, "data")


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ("devkit", [4, 5, 10, 12]),
        ("zero_based", [5, 6, 10, 12]),
        ("one_based_exclusive", [4, 5, 9, 11]),
    ],
)
def test_the_boxes_of_each_convention(tmp_path, pixels, expected):
    (tmp_path / "a.xml").write_text(
        "<annotation><size><width>64</width><height>48</height></size><object><name>a</name>"
        "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>10</xmax><ymax>12</ymax></bndbox></object>"
        "</annotation>"
    )
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    source = VocSource(tmp_path, pixels=pixels)
    assert source.annotations(0).boxes.tolist() == [expected]
