import io
import json
import logging
import pathlib
import pickle
import shutil

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.sources import fingerprint
from ioub_jax.data.sources.learned import Rules, count_learned
from ioub_jax.data.sources.yolo import YoloSource
from ioub_jax.data.sources.yolo_rows import RowReader
from tests.data.yolo_folder import write

SIZE = (200, 100)  # width and height
ROW = "0 0.5 0.5 0.2 0.4\n"
BOX = [80, 30, 120, 70]  # the middle fifth of 200 columns, two fifths of 100 rows
WHOLE = [0, 0, 200, 100]
YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [bolt, nut, washer]\n"
GOOD = {
    "data.yaml": YAML,
    "images/train/a.png": SIZE,
    "images/train/b.png": SIZE,
    "images/train/c.png": SIZE,
    "labels/train/a.txt": ROW,
    "labels/train/b.txt": ROW,
    "labels/train/c.txt": ROW,
}


@pytest.fixture
def folder(tmp_path):
    """Three good images, `a`, `b` and `c`, with a bolt each."""
    return write(tmp_path, **GOOD)


def objects(source, index):
    """Label and box of each object of an image, and of each region to ignore."""
    example = source.annotations(index)
    pairs = list(zip(example.labels.tolist(), example.boxes.tolist(), strict=True))
    kept = [pair for pair, ignored in zip(pairs, example.ignored, strict=True) if not ignored]
    return kept, [pair for pair in pairs if pair not in kept]


def read(tmp_path, text, yaml=YAML, **options):
    """What the rows of one image are read as."""
    files = {"data.yaml": yaml, "images/train/a.png": SIZE, "labels/train/a.txt": text}
    return YoloSource(write(tmp_path, **files), **options)


# ------------------------------------------------------------------ what rows are read as

POINTS = "0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7"  # the corners of BOX
POSE = "0.5 0.5 0.2 0.4  0.1 0.1 2  0.9 0.9 1"
KEYPOINTS = YAML + "kpt_shape: [2, 3]\n"
ROWS = {
    "a box": (ROW, [(0, BOX)]),
    "ids as floats": ("1.0 0.5 0.5 0.2 0.4\n", [(1, BOX)]),
    "exponents, signs and no zero": ("2 +.5 5e-1 2.0E-1 .4\n", [(2, BOX)]),
    "no end of the last line": ("1 0.5 0.5 0.2 0.4", [(1, BOX)]),
    "Windows' lines, blank ones, tabs, spaces": ("\r\n 0\t0.5  0.5 0.2\t0.4 \r\n \r\n", [(0, BOX)]),
    "a byte order mark": ("\ufeff" + ROW, [(0, BOX)]),
    "UTF-16, as PowerShell writes": (ROW.encode("utf-16"), [(0, BOX)]),
    "an oriented box": (f"1 {POINTS}\n", [(1, BOX)]),
    "a triangle": ("1 0.4 0.7 0.6 0.7 0.5 0.3\n", [(1, BOX)]),
    "a polygon that is closed": (f"1 {POINTS} 0.4 0.3\n", [(1, BOX)]),
    "a detection with its confidence": ("1 0.5 0.5 0.2 0.4 0.87\n", [(1, BOX)]),
    "an oriented detection": (f"1 {POINTS} 0.87\n", [(1, BOX)]),
    "a segmented detection": (f"1 {POINTS} 0.5 0.5 0.87\n", [(1, BOX)]),
    "five points, two numbers of which are on edges": (
        "0 0.4 0.3 0.6 0.3 0.6 0.7 0 0.5 0.4 1\n",
        [(0, [0, 30, 120, 100])],
    ),
    "a polygon along two edges": ("0 0 0 1 0 1 1 0 1 0 0.5\n", [(0, WHOLE)]),
    "several": (f"{ROW}2 0.25 0.25 0.5 0.5\n", [(0, BOX), (2, [0, 0, 100, 50])]),
    "nothing": ("", []),
    "spaces alone": (" \n\n", []),
}


@pytest.mark.parametrize("text, expected", ROWS.values(), ids=ROWS)
def test_what_rows_are_read_as(tmp_path, text, expected):
    source = read(tmp_path, text)
    kept, ignored = objects(source, 0)
    assert [label for label, _ in kept] == [label for label, _ in expected]
    np.testing.assert_allclose([box for _, box in kept], [box for _, box in expected], atol=1e-4)
    assert ignored == [] and source.census.changes == {}
    assert source.census.boxes == len(expected)


@pytest.mark.parametrize("row", [f"1 {POSE}", f"1 {POSE} 0.87", ROW, "1 0.5 0.5 0.2 0.4 0.9"])
def test_keypoints_are_left_alone_where_the_yaml_has_them(tmp_path, row):
    kept, _ = objects(read(tmp_path, row, KEYPOINTS), 0)
    np.testing.assert_allclose([box for _, box in kept], [BOX], atol=1e-4)


def test_confidences_are_told(tmp_path, caplog):
    read(tmp_path, "1 0.5 0.5 0.2 0.4 0.87\n")
    assert caplog.messages == [
        f"{tmp_path} train: 1 row has a confidence, as those of detections; it is not used, and "
        "the detections count as annotations."
    ]


# Each row, the box, and what is counted of it.
CHANGED = {
    # 1.5 pixels of 200 beyond the right edge: .9 + .1075 = 1.0075.
    "sticks out": ("0 0.9 0.5 0.215 0.4", [158.5, 30, 200, 70], {"clipped": 1}),
    # 1.0001 * 200 = 200.02: within a tenth of a pixel that is rounding.
    "sticks out by rounding": ("0 0.9 0.5 0.2002 0.4", [159.98, 30, 200, 70], {}),
    "a polygon that sticks out": ("0 -0.1 0.3 0.6 0.3 0.6 1.2", [0, 30, 120, 100], {"clipped": 1}),
    "larger than its image": ("0 0.5 0.5 1.5 1.5", WHOLE, {"clipped": 1}),
    "negative width": ("0 0.5 0.5 -0.2 0.4", BOX, {"exchanged": 1}),
    "the same row twice": (f"{ROW}{ROW}", BOX, {"repeated": 1}),
}


@pytest.mark.parametrize("text, box, changes", CHANGED.values(), ids=CHANGED)
def test_what_is_put_right_is_counted(tmp_path, text, box, changes):
    source = read(tmp_path, text)
    (kept,), _ = objects(source, 0)
    np.testing.assert_allclose(kept[1], box, atol=1e-4)
    assert source.census.changes == changes


def test_so_many_that_stick_out_are_told(tmp_path, caplog):
    # Corners where center and size are meant.
    read(tmp_path, "0 0.4 0.3 0.6 0.7\n0 0.7 0.7 0.8 0.9\n0 0.1 0.1 0.3 0.2\n")
    assert caplog.messages == [
        f"{tmp_path}: 3 of 3 boxes stick out of their images and are clipped; if their numbers are "
        "not the center, width and height, ioub check_data finds out what they are."
    ]


@given(
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    digits=st.integers(4, 12),
)
def test_a_box_comes_back_from_its_row_and_from_its_polygon(corners, digits):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    numbers = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    polygon = (x1, y0, x0, y0, x0, y1, x1, y1)
    reader = RowReader()
    for row in (numbers, polygon):
        reader.add(0, "0 " + " ".join(f"{number:.{digits}f}" for number in row))
    rows = reader.rows()
    assert not rows.faults
    # A center and half of a side are each off by half of the last digit and by a quarter.
    np.testing.assert_allclose(rows.corners, [[x0, y0, x1, y1]] * 2, rtol=0, atol=10**-digits)


# ------------------------------------------------------------------ what bad input gets

SKIP_BOX = ", or set config.data.on_error='skip' to leave the box out."
SKIP_BOXES = ", or set config.data.on_error='skip' to leave the boxes out."
SKIP_IMAGE = ", or set config.data.on_error='skip' to leave the image out."
A_ROW = "a row is class cx cy w h, or class x1 y1 x2 y2 x3 y3 ..."


def rows(*texts):
    """The rows of b.txt, the first of which is good."""
    return {"labels/train/b.txt": ROW + "".join(f"{text}\n" for text in texts)}


# The kind, the files that are damaged (None: removed), the whole sentence, in which ROOT is the
# folder, and what `skip` leaves: the images, and of `b` the regions to ignore (label and box).
DAMAGE = {
    "too few numbers": (
        "bad_box",
        rows("0 0.5 0.5 0.2"),
        f"ROOT/labels/train/b.txt:2: '0 0.5 0.5 0.2' has 3 numbers after its class; {A_ROW}"
        + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "separated by commas": (
        "bad_box",
        rows("0,0.5,0.5,0.2,0.4"),
        "ROOT/labels/train/b.txt:2: '0,0.5,0.5,0.2,0.4' has 0 numbers after its class; separate "
        "numbers by spaces, not commas" + SKIP_BOX,
        ("abc", [(-1, WHOLE)]),
    ),
    "decimal commas": (
        "bad_box",
        rows("0 0,5 0,5 0,2 0,4"),
        "ROOT/labels/train/b.txt:2: '0 0,5 0,5 0,2 0,4' has '0,5', which is not a number; write "
        "decimal points, not commas" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "no number": (
        "bad_box",
        rows("0 0.5 0.5 0.2 wide"),
        "ROOT/labels/train/b.txt:2: '0 0.5 0.5 0.2 wide' has 'wide', which is not a number; repair "
        "the row" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "not finite": (
        "bad_box",
        rows("0 0.5 nan 0.2 0.4"),
        "ROOT/labels/train/b.txt:2: '0 0.5 nan 0.2 0.4' has a number that is not finite; repair "
        "the row" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "a name in place of an id": (
        "unknown_category",
        rows("nut 0.5 0.5 0.2 0.4"),
        "ROOT/labels/train/b.txt:2: 'nut 0.5 0.5 0.2 0.4' begins with 'nut', which is not the id "
        "of a class; repair the row" + SKIP_BOX,
        ("abc", [(-1, BOX)]),
    ),
    "half an id": (
        "unknown_category",
        rows("0.5 0.5 0.5 0.2 0.4"),
        "ROOT/labels/train/b.txt:2: '0.5 0.5 0.5 0.2 0.4' begins with '0.5', which is not the id "
        "of a class; repair the row" + SKIP_BOX,
        ("abc", [(-1, BOX)]),
    ),
    "a negative id": (
        "unknown_category",
        rows("-1 0.5 0.5 0.2 0.4"),
        "ROOT/labels/train/b.txt:2: '-1 0.5 0.5 0.2 0.4' begins with '-1', which is not the id of "
        "a class; repair the row" + SKIP_BOX,
        ("abc", [(-1, BOX)]),
    ),
    "an id beyond the names": (
        "unknown_category",
        rows("3 0.5 0.5 0.2 0.4", "7 0.25 0.5 0.1 0.4", "7 0.5 0.5 0.2 0.4"),
        "ROOT/labels/train/b.txt:2: has class 3, but the ids in ROOT/data.yaml are 0 to 2 (3 "
        "rows have ids that it lacks: 7 (2), 3 (1)); name it there or correct the row"
        + SKIP_BOXES,
        ("abc", [(-1, BOX), (-1, [40, 30, 60, 70]), (-1, BOX)]),
    ),
    "an unknown id and no area": (
        "unknown_category",
        rows("3 0.5 0.5 0.0 0.4"),
        "ROOT/labels/train/b.txt:2: has class 3, but the ids in ROOT/data.yaml are 0 to 2 (1 "
        "row has an id that it lacks: 3 (1)); name it there or correct the row" + SKIP_BOX,
        ("abc", [(-1, [80, 30, 120, 70])]),
    ),
    "an unknown id and no box": (
        "bad_box",
        rows("7 0.5 0.5 wide 0.4"),
        "ROOT/labels/train/b.txt:2: '7 0.5 0.5 wide 0.4' has 'wide', which is not a number; repair "
        "the row" + SKIP_BOX,
        ("abc", [(-1, WHOLE)]),
    ),
    "pixels": (
        "bad_box",
        rows("0 100 50 40 40"),
        "ROOT/labels/train/b.txt:2: '0 100 50 40 40' has 100, which is not a share of a side of "
        "its image of 200x100 (1 of 4 rows has such a number); if they are pixels, divide x and "
        "width by the image's width, y and height by its height" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "per cent": (
        "bad_box",
        {f"labels/train/{name}.txt": "0 50 50 20 40\n1 50 50 20 40\n" for name in "abc"},
        "ROOT/labels/train/a.txt:1: '0 50 50 20 40' has 50, which is not a share of a side of its "
        "image of 200x100 (6 of 6 rows have such numbers); if they are percentages, divide them by "
        "100" + SKIP_BOXES,
        ("abc", [(0, WHOLE), (1, WHOLE)]),
    ),
    "a polygon in pixels": (
        "bad_box",
        rows("0 80 30 120 30 120 70"),
        "ROOT/labels/train/b.txt:2: '0 80 30 120 30 120 70' has 120, which is not a share of a "
        "side of its image of 200x100 (1 of 4 rows has such a number); if they are pixels, divide "
        "x and width by the image's width, y and height by its height" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "keypoints without kpt_shape": (
        "bad_box",
        rows(f"0 {POSE}"),
        "ROOT/labels/train/b.txt:2: '0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 1' may be a box with 2 "
        "keypoints; state that in the yaml with kpt_shape: [2, 3]" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "other keypoints than kpt_shape": (
        "bad_box",
        rows(f"0 {POSE} 0.5 0.5 2") | {"data.yaml": KEYPOINTS},
        "ROOT/labels/train/b.txt:2: '0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 1 0.5 0.5 2' has 13 "
        "numbers after its class, but the yaml's kpt_shape requires 10; repair the row"
        + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    "a sixth number that is no confidence": (
        "bad_box",
        rows("0 0.5 0.5 0.2 0.4 3"),
        "ROOT/labels/train/b.txt:2: '0 0.5 0.5 0.2 0.4 3' ends with 3, which is not a confidence, "
        f"0 to 1, after 4 numbers; {A_ROW}" + SKIP_BOX,
        ("abc", [(0, WHOLE)]),
    ),
    # A line of .4 of the height is 40 pixels: the square over it.
    "no width": (
        "no_area",
        rows("1 0.5 0.5 0 0.4"),
        "ROOT/labels/train/b.txt:2: the box (nut; 100, 30, 100, 70 in pixels) has no area; repair "
        "or delete the row" + SKIP_BOX,
        ("abc", [(1, BOX)]),
    ),
    "a polygon that is a point": (
        "no_area",
        rows("1 0.5 0.5 0.5 0.5 0.5 0.5"),
        "ROOT/labels/train/b.txt:2: the box (nut; 100, 50, 100, 50 in pixels) has no area; repair "
        "or delete the row" + SKIP_BOX,
        ("abc", [(1, WHOLE)]),
    ),
    "outside": (
        "outside",
        rows("1 1.5 0.5 0.2 0.4"),
        "ROOT/labels/train/b.txt:2: the box (nut; 280, 30, 320, 70 in pixels) is outside its image "
        "of 200x100; repair or delete the row" + SKIP_BOX,
        ("abc", [(1, WHOLE)]),
    ),
    "no text": (
        "broken_annotation",
        {"labels/train/b.txt": b"\x89PNG\xff"},
        "ROOT/labels/train/b.txt: is not UTF-8 text (byte 0); repair the file" + SKIP_IMAGE,
        ("ac", None),
    ),
    "no image": (
        "unreadable_image",
        {"images/train/b.png": b"no image"},
        "ROOT/images/train/b.png: is not an image with a readable size, and its annotation has "
        "none; replace the file" + SKIP_IMAGE,
        ("ac", None),
    ),
    "a label file without an image": (
        "missing_image",
        {"images/train/b.png": None},
        "ROOT/labels/train/b.txt: has no image (1 label file has none); add what is missing or "
        "delete the file" + SKIP_IMAGE,
        ("ac", None),
    ),
    "label files without images, in a folder of their own": (
        "missing_image",
        {"images/train/b.png": None, "labels/train/sub/d.txt": ROW},
        "ROOT/labels/train/b.txt: has no image (2 label files have none); add what is missing or "
        "delete the files, or set config.data.on_error='skip' to leave the images out.",
        ("ac", None),
    ),
    "two images for a label file": (
        "duplicate_image",
        {"images/train/b.jpg": SIZE},
        "ROOT/images/train/b.png: has the label file of b.jpg; keep one of the two images, or give "
        "it a label file with its own name" + SKIP_IMAGE,
        ("abc", []),
    ),
    "a list with an image that is missing": (
        "missing_image",
        {"data.yaml": YAML.replace("images/train", "train.txt"),
         "train.txt": "./images/train/a.png\n./images/train/x.png\nimages/train/c.png\n"},
        "ROOT/train.txt:2: './images/train/x.png' is missing (1 of 3); add the file or delete the "
        "line" + SKIP_IMAGE,
        ("ac", None),
    ),
    "a list with images that are missing": (
        "missing_image",
        {"data.yaml": YAML.replace("images/train", "train.txt"),
         "train.txt": "images/train/a.png\nx.png\n\ny.png\nimages/train/c.png\n"},
        "ROOT/train.txt:2: 'x.png' is missing (2 of 4); add the files or delete the lines, or set "
        "config.data.on_error='skip' to leave the images out.",
        ("ac", None),
    ),
    "a list with an image twice": (
        "duplicate_image",
        {"data.yaml": YAML.replace("images/train", "train.txt"),
         "train.txt": "images/train/a.png\nimages/train/c.png\n\n./images/train/a.png\n"},
        "ROOT/train.txt:4: lists './images/train/a.png' again (1 line too many); delete the line, "
        "or set "
        "config.data.on_error='skip' to read it once.",
        ("ac", None),
    ),
}  # fmt: skip


def damaged(folder, files):
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        else:
            write(folder, **{name: content})
    return folder


@pytest.mark.parametrize("kind, files, sentence, left", DAMAGE.values(), ids=DAMAGE)
def test_what_is_broken_is_told_in_one_sentence(folder, kind, files, sentence, left):
    with pytest.raises(DataError) as caught:
        YoloSource(damaged(folder, files))
    assert str(caught.value) == sentence.replace("ROOT", str(folder))
    assert caught.value.kind == kind


@pytest.mark.parametrize("kind, files, sentence, left", DAMAGE.values(), ids=DAMAGE)
def test_what_is_broken_is_left_out_and_counted(folder, kind, files, sentence, left):
    names, ignored = left
    source = YoloSource(damaged(folder, files), on_error="skip")
    (problem,) = source.skipped
    assert problem.kind == kind
    assert str(problem) == str(Problem(kind, sentence.replace("ROOT", str(folder))))
    described = [source.describe(index).rpartition("/")[2][0] for index in range(len(source))]
    assert described == list(names)
    if ignored is not None:
        _, regions = objects(source, names.index("b"))
        assert regions == ignored
    # What is learned and what is not add up to what the files list.
    for tally in (learned := count_learned(source, Rules())).boxes, learned.images:
        assert tally.learned + sum(tally.left_out.values()) == tally.listed
    assert learned.boxes.listed == source.census.boxes


@pytest.mark.parametrize("image", [b"no image", None])
def test_boxes_of_images_that_are_left_out_are_listed(folder, image):
    source = YoloSource(damaged(folder, {"images/train/b.png": image}), on_error="skip")
    assert (len(source), source.census.images, source.census.boxes) == (2, 3, 3)
    assert count_learned(source, Rules()).boxes.left_out == {"image": 1}


# What no `skip` can mend.
REFUSED = {
    "no root": (None, {}, "config.data.yolo.root is not set; set it to the folder with the "
        "data.yaml, or with the images and labels."),
    "no folder": ("nowhere", {}, "ROOT/nowhere: there is no such folder; correct "
        "config.data.yolo.root."),
    "nothing of YOLO": ("", {"a.png": b""}, "ROOT: has neither a data.yaml or obj.data nor images "
        "with label files (rows of a class and numbers, in 'labels' beside 'images', or .txt "
        "beside the images); set config.data.yolo.root to a folder that has them."),
    "a folder too high": ("", {"set/data.yaml": "train: images\nnames: [a]\n"}, "ROOT: has no "
        "data.yaml itself; set config.data.yolo.root to ROOT/set."),
    "two descriptions": ("", {"a.yaml": "train: a\nnames: [a]\n", "b.yaml": "names: [a]\n"},
        "ROOT: a.yaml and b.yaml each describe a data set; set config.data.yolo.root to one of "
        "them, such as ROOT/a.yaml."),
    "broken YAML": ("", {"data.yaml": "train: images\nnames: [a, b\n"}, "ROOT/data.yaml: is broken "
        "YAML in line 3 (expected ',' or ']', but got '<stream end>'); correct it."),
    "lists in lists": ("", {"data.yaml": "train: images\nnames: " + "[" * 500 + "]" * 500},
        "ROOT/data.yaml: is broken YAML (unreadable); correct it."),
    "an escape that is no character": ("", {"data.yaml": 'train: "\\UFFFFFFFF"\nnames: [a]\n'},
        "ROOT/data.yaml: is broken YAML (unreadable); correct it."),
    "an object of Python": ("", {"data.yaml":
        "train: images\nnames: !!python/object/apply:os.system ['touch ROOT/executed']\n"},
        "ROOT/data.yaml: asks for a program's object ('python/object/apply:os.system', line "
        "2); remove that."),
    "the YAML of something else": ("args.yaml", {"args.yaml": "task: detect\nval: true\n"},
        "ROOT/args.yaml: does not describe a data set, since it has neither 'names' nor 'train' "
        "(its keys: 'task', 'val'); set config.data.yolo.root to one that has, or to the folder "
        "of the images and labels."),
    "names that are none": ("", {"data.yaml": "train: images\nnames: 3\n"},
        "ROOT/data.yaml: has '3' as 'names', which must be a list, or ids with names."),
    "an id that is none": ("", {"data.yaml": "train: images\nnames: {bolt: 0}\n"},
        "ROOT/data.yaml: has the id 'bolt' among 'names', which must be 0, 1, ...; correct it."),
    "a name twice": ("", {"data.yaml": "train: images\nnames: [bolt, nut, bolt]\n"},
        "ROOT/data.yaml: calls the classes 0 and 2 'bolt'; give each its own name."),
    "no name": ("", {"data.yaml": "train: images\nnames: [bolt, '']\n"},
        "ROOT/data.yaml: has '' as the name of class 1; write one that can be shown."),
    "another number of names": ("", {"data.yaml": "train: images\nnc: 3\nnames: [bolt, nut]\n"},
        "ROOT/data.yaml: has 'nc' 3 and 2 'names'; correct one of them."),
    "nc that is none": ("", {"data.yaml": "train: images\nnc: two\n"},
        "ROOT/data.yaml: has 'two' as 'nc', which must be a number of classes."),
    "a key twice": ("", {"data.yaml": "train: images\nnames: [a]\ntrain: other\n"},
        "ROOT/data.yaml: has 'train' twice, again in line 3; keep one."),
    "kpt_shape that is none": ("", {"data.yaml": "train: a\nnames: [a]\nkpt_shape: 17\n"},
        "ROOT/data.yaml: has '17' as 'kpt_shape', which must be as [17, 3]; correct it."),
    "a split that is no path": ("", {"data.yaml": "train: {a: b}\nnames: [a]\n"},
        "ROOT/data.yaml: has {'a': 'b'} as 'train', which must be a path or a list."),
    "a split that is not there": ("", {"data.yaml": "train: images/trian\nnames: [a]\n"},
        "ROOT/data.yaml: train is 'images/trian', which does not exist; correct it, or add what it "
        "names."),
    "no such split": ("", {"images/a.png": SIZE, "labels/a.txt": ROW},
        "ROOT: has no split 'train' (there is 'all'); set config.data.yolo.train_split=all to "
        "train on its images, or give a folder or a list of images there."),
    "no split in the yaml": ("", {"data.yaml": "val: images\nnames: [a]\n"},
        "ROOT/data.yaml: has no split 'train' (there is 'val'); choose one of 'val' in "
        "config.data.yolo, or give a folder or a list of images there."),
    "a list of nothing that is there": ("", {"data.yaml": "train: t.txt\nnames: [a]\n",
        "t.txt": "\nx/a.png\nx/b.png\n"}, "ROOT/t.txt: none of the 2 images that it lists exists, "
                                          "the first is 'x/a.png' (line 2); add them below ROOT."),
    "names in a file that is not there": ("", {"obj.data": "train = t.txt\nnames = obj.names\n"},
        "ROOT/obj.data: names is 'obj.names', which does not exist; correct it, or add the file."),
    "two lists of names": ("", {"images/train/a.png": SIZE, "labels/train/a.txt": ROW,
        "classes.txt": "a\n", "obj.names": "b\n"},
        "ROOT/obj.names: names other classes than ROOT/classes.txt; keep the right one."),
    "no label file at all": ("", {"data.yaml": "train: images\nnames: [a]\n",
        "images/a.png": SIZE, "images/b.png": SIZE, "other/a.txt": ROW},
        "ROOT/images/a.png: has no label file, and neither has any of the 2 images of the split "
        "'train' (looked for a.txt in ROOT/images); put the label files into a folder 'labels' "
        "beside a folder 'images' of the images, or next to the images."),
    "no image that can be read": ("", {"data.yaml": "train: images\nnames: [a]\n",
        "images/a.png": b"", "labels/a.txt": ROW},
        "ROOT: none of the 1 images of the split 'train' can be used, the first because of "
        "ROOT/images/a.png: is not an image with a readable size, and its annotation has none; "
        "replace the file."),
}  # fmt: skip


@pytest.mark.parametrize("root, files, sentence", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_at_all(tmp_path, root, files, sentence):
    files = {
        name: content.replace("ROOT", str(tmp_path)) if isinstance(content, str) else content
        for name, content in files.items()
    }
    write(tmp_path, **files)
    with pytest.raises(DataError) as caught:
        YoloSource("" if root is None else tmp_path / root, on_error="skip")
    assert str(caught.value) == sentence.replace("ROOT", str(tmp_path))
    assert not (tmp_path / "executed").exists()


# ------------------------------------------------------------------ images, classes, exports


def test_images_without_label_files_are_background(folder, caplog):
    caplog.set_level(logging.INFO)
    (folder / "labels/train/a.txt").unlink()
    (folder / "labels/train/c.txt").write_text("")
    source = YoloSource(folder)
    assert [len(source.annotations(index).boxes) for index in range(3)] == [0, 1, 0]
    assert [source.image_id(index) for index in range(3)] == [1, 2, 3]
    assert source.annotation_file(0) is None
    assert source.annotation_file(1) == folder / "labels/train/b.txt"
    told = f"{folder} train: 1 of 3 images without a label file, and therefore without objects."
    assert caplog.messages == [told]


def test_it_is_a_source_like_the_others(folder):
    source = pickle.loads(pickle.dumps(YoloSource(folder)))
    example = source[1]
    assert example.image.shape == (100, 200, 3) and example.image_id == 2
    np.testing.assert_allclose(example.area, [40 * 40])
    assert source.sizes.tolist() == [[100, 200]] * 3
    assert source.category_ids == (0, 1, 2) and source.classes == ("bolt", "nut", "washer")
    one = source.select(np.array([2]))
    assert one.image_id(0) == 3 and one.annotation_file(0).name == "c.txt"
    print_ = fingerprint.fingerprint_of(source)
    assert print_ == fingerprint.fingerprint_of(YoloSource(folder))
    (folder / "labels/train/c.txt").write_text(ROW.replace("0.4", "0.5"))
    assert print_ != fingerprint.fingerprint_of(YoloSource(folder))


NUTS = "1 0.5 0.5 0.2 0.4\n1 0.5 0.5 0 0.4\n1 0.5 0.5 wide 0.4\n"
MIXED = {"labels/train/b.txt": f"{NUTS}2 0.5 0.5 0.2 0.4\n"}


def test_a_part_of_the_classes_may_be_learned(folder):
    source = YoloSource(write(folder, **MIXED), classes=("washer", "bolt"))
    assert source.classes == ("washer", "bolt") and source.category_ids == (2, 0)
    # The nuts are neither objects nor regions to ignore, and the broken ones are not told.
    assert [objects(source, index)[0][0][0] for index in range(3)] == [1, 0, 1]
    assert objects(source, 1)[1] == []
    assert source.census.other_classes == 3 and source.census.boxes == 6
    assert count_learned(source, Rules()).boxes.left_out == {"other_classes": 3}


def test_a_class_that_is_none_is_named(folder):
    with pytest.raises(DataError) as caught:
        YoloSource(folder, classes=("nutt",))
    assert str(caught.value) == (
        f"{folder}/data.yaml: config.data.yolo.classes names 'nutt', which is not a class of the "
        "data set, perhaps meant as 'nut'; choose each once from bolt, nut, washer."
    )
    with pytest.raises(DataError, match="names 'nut', twice; choose each once from"):
        YoloSource(folder, classes=("nut", "nut"))
    assert YoloSource(folder, classes=("bolt", "gear"), may_lack=True).classes == ("bolt",)


def test_classes_without_names_are_called_by_their_ids_or_by_the_option(folder):
    (folder / "data.yaml").unlink()
    write(folder, **MIXED)
    write(folder, **{"labels/train/b.txt": "3 0.5 0.5 0.2 0.4\n"})
    source = YoloSource(folder)
    assert source.classes == ("0", "3") and source.category_ids == (0, 3)
    assert YoloSource(folder, classes=("3",)).category_ids == (3,)
    named = YoloSource(folder, classes=("bolt", "nut", "washer", "gear"))
    assert named.classes == ("bolt", "nut", "washer", "gear")
    assert objects(named, 1)[0][0][0] == 3
    with pytest.raises(DataError, match=r"b.txt:1: has class 3, but the ids in .* are 0 to 1 "):
        YoloSource(folder, classes=("bolt", "nut"))


def test_ids_counted_from_1_are_told(folder):
    write(folder, **{f"labels/train/{name}.txt": f"{number} 0.5 0.5 0.2 0.4\n"
                     for number, name in enumerate("abc", start=1)})  # fmt: skip
    with pytest.raises(DataError) as caught:
        YoloSource(folder, on_error="skip")  # which would leave the others with wrong names
    assert str(caught.value) == (
        f"{folder}/labels/train/c.txt:1: has class 3, but the ids in {folder}/data.yaml are 0 to "
        "2 (1 row has an id that it lacks: 3 (1)); the ids seem to be counted from 1: subtract 1 "
        "from each."
    )


# The image and its label file.
PLACES = {
    "beside": ("x/a.png", "x/a.txt"),
    "the last images": ("images/x/images/a.png", "images/x/labels/a.txt"),
    "beside in a folder called images": ("images/a.png", "images/a.txt"),
    "Windows' letter case": ("Images/A.png", "Labels/a.TXT"),
    "darknet's VOC": ("VOC2007/JPEGImages/a.jpg", "VOC2007/labels/a.txt"),
    "several points": ("images/a.rf.1.png", "labels/a.rf.1.txt"),
}


@pytest.mark.parametrize("image, label_file", PLACES.values(), ids=PLACES)
def test_where_the_label_file_of_an_image_is(tmp_path, image, label_file):
    write(tmp_path, **{image: SIZE, label_file: ROW, "classes.txt": "bolt"})
    source = YoloSource(tmp_path, "all")
    assert source.annotation_file(0) == tmp_path / label_file
    np.testing.assert_allclose(source.annotations(0).boxes, [BOX], atol=1e-4)


def test_no_image_gets_the_label_file_of_another_that_differs_in_letter_case(tmp_path):
    write(tmp_path, **{"a.png": SIZE, "A.png": SIZE, "A.txt": ROW})
    if len(list(tmp_path.glob("*.png"))) < 2:
        pytest.skip("this file system ignores letter case")
    source = YoloSource(tmp_path, "all")
    assert [source.annotation_file(index) for index in (0, 1)] == [tmp_path / "A.txt", None]


def test_boxes_are_shares_of_the_upright_image_where_that_is_read(tmp_path):
    turned = PIL.Image.new("RGB", SIZE)
    exif = turned.getexif()
    exif[0x0112] = 6  # on its side: 100 wide and 200 high once it is turned
    data = io.BytesIO()
    turned.save(data, "JPEG", exif=exif)
    write(tmp_path, **{"a.jpg": data.getvalue(), "a.txt": ROW})
    upright = YoloSource(tmp_path, "all", exif="apply")
    assert upright.sizes.tolist() == [[200, 100]]
    # Of 100 columns the middle fifth, of 200 rows the middle two fifths.
    np.testing.assert_allclose(upright.annotations(0).boxes, [[40, 60, 60, 140]], atol=1e-4)
    stored = YoloSource(tmp_path, "all")
    np.testing.assert_allclose(stored.annotations(0).boxes, [BOX], atol=1e-4)


EXPORTS = pathlib.Path(__file__).resolve().parents[1] / "yolo_exports"
# What of the truth each tool keeps, in pixels: supervision writes whole ones, datumaro six digits.
KEPT = {
    "globox_2.9.0": 1e-3,
    "supervision_0.31.2": 1.0 + 1e-3,
    "datumaro_1.13.12_yolo": 1e-3,
    "datumaro_1.13.12_yolo_ultralytics": 1e-3,
}


@pytest.mark.parametrize("tool, kept", KEPT.items(), ids=KEPT)
def test_what_tools_write_is_read_as_the_truth(tmp_path, tool, kept):
    truth = json.loads((EXPORTS / "truth.json").read_text())
    shutil.copytree(EXPORTS / tool, tmp_path, dirs_exist_ok=True)
    for image in truth["images"]:
        (label_file,) = tmp_path.rglob(image["file_name"].replace(".jpg", ".txt"))
        folder = pathlib.Path(str(label_file.parent).replace("labels", "images"))
        write(folder, **{image["file_name"]: (image["width"], image["height"])})
    source = YoloSource(tmp_path, "all")
    places = {pathlib.Path(source.describe(index)).name: index for index in range(len(source))}
    assert len(places) == 5 and source.census.changes == {}
    errors = []
    for image in truth["images"]:
        found, example = [], source.annotations(places[image["file_name"]])
        for label, box in zip(example.labels.tolist(), example.boxes.tolist(), strict=True):
            found.append((source.category_ids[label] + 1, box))  # the truth counts from 1
        expected = []
        for annotation in truth["annotations"]:
            x, y, width, height = annotation["bbox"]
            if annotation["image_id"] == image["id"]:
                expected.append((annotation["category_id"], [x, y, x + width, y + height]))
        assert [label for label, _ in sorted(found)] == [label for label, _ in sorted(expected)]
        for (_, box), (_, true) in zip(sorted(found), sorted(expected), strict=True):
            errors.append(np.abs(np.subtract(box, true)).max())
    assert len(errors) == 12 and max(errors) <= kept
