"""Each row of "Exports of annotation tools" in docs/data.md, on a file that the tool has written.

`pytest -rP tests/data/sources/test_tool_exports.py` prints the errors of the table.
"""

import json
import pathlib
import re

import cv2
import numpy as np
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import CocoSource, VocSource, YoloSource

DATA = pathlib.Path(__file__).resolve().parents[1]
PAGE = DATA.parents[1] / "docs" / "data.md"
_SECTION = PAGE.read_text().partition("\n## Exports of annotation tools\n")[2].partition("\n## ")[0]
#: The file of a row -> its largest error in pixels, or 'refused'.
ROWS = {
    file: error
    for file, error in re.findall(
        r"^\|.*\| `(\S+)` \|.*\| (refused|\d[\d.]*)[^|]* \|$", _SECTION, re.M
    )
}
NAMES = ("bolt", "nut", "washer")


@pytest.fixture(scope="module")
def truth():
    """Image without suffix -> (height, width) and the box of each class, which it has once."""
    content = json.loads((DATA / "exports" / "truth.json").read_text())
    found = {
        image["id"]: (image["file_name"], (image["height"], image["width"]), {})
        for image in content["images"]
    }
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        box = [x, y, x + width, y + height]
        found[entry["image_id"]][2][NAMES[entry["category_id"] - 1]] = box
    return {name.removesuffix(".jpg"): of_image for name, *of_image in found.values()}


@pytest.fixture(scope="module")
def images(tmp_path_factory, truth):
    folder = tmp_path_factory.mktemp("images")
    for name, (size, _) in truth.items():
        cv2.imwrite(str(folder / f"{name}.jpg"), np.zeros((*size, 3), np.uint8))
    return folder


def opened(file, images, folder, on_error="raise"):
    """The data set of a row, with its images."""
    path = DATA / file
    if path.suffix == ".json":
        return CocoSource(path, images, on_error=on_error)
    if any(path.rglob("*.xml")):
        has_folder = (path / "Annotations").is_dir()
        (folder / "Annotations").symlink_to(path / "Annotations" if has_folder else path)
        (folder / "images").symlink_to(images)
        return VocSource(folder, "all", on_error=on_error)
    for written in path.rglob("*"):
        copy = folder / written.relative_to(path)
        if written.is_dir():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(written.read_bytes())
        image = images / f"{written.stem}.jpg"
        if written.suffix == ".txt" and image.is_file():
            place = pathlib.Path(str(copy.parent).replace("labels", "images"))
            place.mkdir(parents=True, exist_ok=True)
            (place / image.name).write_bytes(image.read_bytes())
    return YoloSource(folder, "all", on_error=on_error)


def largest_error(source, truth):
    """Of an edge, in pixels; every box of the truth must be there and no other."""
    errors = []
    for index in range(len(source)):
        example = source.annotations(index)
        _, boxes = truth[pathlib.Path(source.describe(index)).stem]
        # Some YOLO exports have no names, and classes in the order of the truth's.
        names = [source.classes[label] for label in example.labels]
        names = [NAMES[int(name)] if name.isdigit() else name for name in names]
        assert sorted(names) == sorted(boxes), source.describe(index)
        for box, name in zip(example.boxes, names, strict=True):
            errors.append(np.abs(box - boxes[name]).max())
    assert len(errors) == 12 and len(source) == 5
    return max(errors)


def test_every_export_has_a_row():
    files = {
        f"{folder}/{path.name}"
        for folder in ("exports", "yolo_exports")
        for path in (DATA / folder).iterdir()
        if re.search(r"_\d+\.\d+\.\d+", path.name)
    }
    assert set(ROWS) == files


@pytest.mark.parametrize("file", ROWS)
def test_a_row_is_what_is_read(file, truth, images, tmp_path):
    if ROWS[file] == "refused":
        return
    error = largest_error(opened(file, images, tmp_path), truth)
    print(f"{file}: {error:.2f} px")
    assert ("0" if error < 0.005 else f"{error:.2f}") == ROWS[file]


def content(file):
    return json.loads((DATA / "exports" / file).read_text())


def test_what_tools_lose():
    """The columns of ids and losses of the rows of COCO's format."""
    ids = {"bolt": 1, "nut": 2, "washer": 3}
    for file, expected in {
        "datumaro_1.13.12_coco.json": ids,  # of 3, 7, 90
        "labelme2coco_0.2.6_coco.json": {"bolt": 0, "nut": 1, "washer": 2},
        "pylabel_0.1.55_coco.json": ids,
        "globox_2.9.0_coco.json": ids,
        "sahi_0.12.8_coco.json": ids,
        "supervision_0.31.2_coco.json": ids,
    }.items():
        categories = content(file)["categories"]
        assert {entry["name"]: entry["id"] for entry in categories} == expected, file
    assert any(entry["area"] % 1 for entry in content("truth.json")["annotations"])
    assert not any(e["area"] % 1 for e in content("datumaro_1.13.12_coco.json")["annotations"])
    assert not any(e["segmentation"] for e in content("globox_2.9.0_coco.json")["annotations"])
    for file in ("sahi_0.12.8_coco.json", "supervision_0.31.2_coco.json"):
        polygons = [entry["segmentation"] for entry in content(file)["annotations"]]
        assert all(x % 1 == 0 for (polygon,) in polygons for x in polygon), file
    *_, last, again = content("pylabel_0.1.55_coco.json")["annotations"]
    assert last == again


def of_xmls(folder):
    """The names of the XMLs below a folder, and all coordinates as they are written."""
    paths = sorted((DATA / "exports" / folder).rglob("*.xml"))
    text = "".join(path.read_text() for path in paths)
    return [path.stem for path in paths], re.findall(r"<[xy]m(?:in|ax)>\s*([^<\s]+)", text)


@pytest.mark.parametrize(
    ("folder", "has_fractions", "missing"),
    [
        ("datumaro_1.13.12_voc_detection", True, ["im_4"]),
        ("globox_2.9.0_voc", True, []),
        ("label_studio_sdk_2.1.2_voc", False, ["im_4"]),
        ("pylabel_0.1.55_voc", False, []),
        ("supervision_0.25.1_voc", False, []),
        ("supervision_0.31.2_voc", False, []),
        ("supervision_0.31.2_voc_of_boxes", False, []),
    ],
)
def test_what_tools_lose_in_voc(folder, has_fractions, missing, truth):
    names, coordinates = of_xmls(folder)
    assert len(coordinates) == 12 * 4
    assert any(float(number) % 1 for number in coordinates) == has_fractions
    # im_4 is the image without objects.
    assert sorted(set(truth) - set(names)) == missing


@pytest.mark.parametrize(
    ("folder", "digits", "numbers", "ids"),
    [
        ("yolo_exports/datumaro_1.13.12_yolo", {6}, {4}, "012"),
        ("yolo_exports/datumaro_1.13.12_yolo_ultralytics", {6}, {4}, "012"),
        ("yolo_exports/globox_2.9.0", None, {4}, "012"),
        ("exports/pylabel_0.1.55_yolo", {4}, {4}, ["3", "7", "90"]),
        ("yolo_exports/supervision_0.31.2", {5}, {8}, "012"),
    ],
)
def test_what_tools_lose_in_yolo(folder, digits, numbers, ids):
    """Digits after the point, numbers in a row (8: a polygon), and the ids of the classes."""
    files = list((DATA / folder).rglob("im_*.txt"))
    rows = [row.split() for path in files for row in path.read_text().splitlines() if row]
    assert len(files) == 5 and len(rows) == 12
    assert {len(row) - 1 for row in rows} == numbers
    assert sorted({row[0] for row in rows}, key=int) == list(ids)
    found = {len(number.partition(".")[2]) for row in rows for number in row[1:]}
    assert found == digits if digits else max(found) > 14


def test_names_of_classes_in_yolo():
    """Globox writes none; pylabel's list of three names has no place for its ids."""
    assert not any((DATA / "yolo_exports/globox_2.9.0").rglob("*.yaml"))
    description = (DATA / "exports/pylabel_0.1.55_yolo/data.yaml").read_text()
    assert all(name in description for name in NAMES) and "nc: 3" in description


def test_a_box_of_labelme2coco_that_is_none_is_named(images, truth):
    """A line of 45 degrees has `"bbox": []`; without it the boxes are the truth's."""
    file = "exports/labelme2coco_0.2.6_coco.json"
    with pytest.raises(
        DataError, match=r"annotation 13 \(of image 5.* has the bbox \[\] and no segm"
    ):
        opened(file, images, None)
    source = opened(file, images, None, "skip")
    assert source.classes == NAMES and len(source.skipped) == 1
    examples = [source.annotations(index) for index in range(5)]
    assert [example.ignored.tolist() for example in examples[:4]] == [[False] * 3] * 4
    assert examples[4].ignored.tolist() == [True]
    for example, (_, boxes) in zip(examples[:4], truth.values(), strict=False):
        expected = [boxes[NAMES[label]] for label in example.labels]
        np.testing.assert_allclose(example.boxes, expected, atol=1e-4)


def test_the_class_numbers_of_pylabel_are_refused(images, tmp_path):
    """They are COCO's category ids, 3, 7 and 90, in a file with three names."""
    words = r"has class 3, but the ids in .* are 0 to 2 .12 rows .*: 3 .4., 7 .4., 90 .4.."
    with pytest.raises(DataError, match=words):
        opened("exports/pylabel_0.1.55_yolo", images, tmp_path)
