"""What other tools write, read as the one thing that it can mean, or told as what it is."""

import json
import pathlib
import re

import numpy as np
import pytest
from pycocotools import mask as masks

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco import CocoSource
from tests.data.coco_folder import NAMES, edit_annotation, edit_image, edit_list


def encoded(height, width, x, y, columns, rows):
    """COCO's string of the mask of a rectangle."""
    pixels = np.zeros((height, width), np.uint8, order="F")
    pixels[y : y + rows, x : x + columns] = 1
    return masks.encode(pixels)["counts"].decode()


# What is put right, how often, and the boxes of image 2 after it: it has [0, 0, 40, 60] and
# [1.5, 2.5, 11.5, 12].
CHANGES = {
    "rounding over the edge": (
        edit_annotation(1, bbox=[-1, -0.5, 42, 61.5]),
        {},
        # xyxy (-1, -0.5, 41, 61) in an image of 40x60.
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "2 pixels over the right edge": (
        edit_annotation(2, bbox=[30, 2, 12, 4]),
        {"clipped": 1},
        [[0, 0, 40, 60], [30, 2, 40, 6]],
    ),
    "far over all edges": (
        edit_annotation(2, bbox=[-500, -600, 1200, 1300]),
        {"clipped": 1},
        [[0, 0, 40, 60], [0, 0, 40, 60]],
    ),
    "width and height negative": (
        edit_annotation(2, bbox=[20, 12, -3, -4]),
        {"exchanged": 1},
        [[0, 0, 40, 60], [17, 8, 20, 12]],
    ),
    "width negative and beyond the edge": (
        edit_annotation(2, bbox=[20, 2, -30, 4]),
        {"exchanged": 1, "clipped": 1},
        [[0, 0, 40, 60], [0, 2, 20, 6]],
    ),
    "turned by 90 degrees": (
        # Around (20, 30): 30 x 8 becomes 8 x 30.
        edit_annotation(2, bbox=[5, 26, 30, 8], attributes={"rotation": 90.0}),
        {"rotated": 1},
        [[0, 0, 40, 60], [16, 15, 24, 45]],
    ),
    "turned by 270 degrees, elsewhere": (
        edit_annotation(2, bbox=[5, 26, 30, 8], rotation="-90"),
        {"rotated": 1},
        [[0, 0, 40, 60], [16, 15, 24, 45]],
    ),
    "turned beyond the edge": (
        # A square of 40 around (20, 30): its corners are 20 * sqrt(2) from there.
        edit_annotation(2, bbox=[0, 10, 40, 40], attributes={"rotation": 45}),
        {"rotated": 1, "clipped": 1},
        [[0, 0, 40, 60], [0, 30 - 20 * 2**0.5, 40, 30 + 20 * 2**0.5]],
    ),
    "polygons and no box": (
        edit_annotation(2, bbox=..., segmentation=[[3, 4, 9, 4, 9, 8], [2, 7, 5, 11.5]]),
        {"outlined": 1},
        [[0, 0, 40, 60], [2, 4, 9, 11.5]],
    ),
    "a turned polygon and no box": (
        edit_annotation(2, bbox=None, segmentation=[[3, 4, 9, 9]], attributes={"rotation": 45}),
        {"outlined": 1},
        [[0, 0, 40, 60], [3, 4, 9, 9]],
    ),
    "a mask and an empty box": (
        # 60 rows: columns 1 and 2 whole, and two pixels of column 3.
        edit_annotation(2, bbox=[], segmentation={"size": [60, 40], "counts": [60, 122, 2218]}),
        {"outlined": 1},
        [[0, 0, 40, 60], [1, 0, 4, 60]],
    ),
    "a compressed mask and a box of zeros": (
        edit_annotation(
            2,
            bbox=[0, 0, 0, 0],
            segmentation={"size": [60, 40], "counts": encoded(60, 40, 7, 8, 3, 5)},
        ),
        {"outlined": 1},
        [[0, 0, 40, 60], [7, 8, 10, 13]],
    ),
    "keypoints beyond the edge": (
        edit_annotation(2, bbox=None, keypoints=[30, 2, 2, 0, 0, 0, 43, 9, 1]),
        {"outlined": 1, "clipped": 1},
        [[0, 0, 40, 60], [30, 2, 40, 9]],
    ),
    "told to ignore, which COCO's metrics overlook": (
        edit_annotation(2, ignore=1),
        {"ignore": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "the same, as a text and beside other texts": (
        edit_annotation(2, ignore="true", iscrowd="0", area="120"),
        {"ignore": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "a crowd that is to be ignored": (
        edit_annotation(1, ignore=1),
        {},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "a key of somebody's own that is called ignore": (
        edit_annotation(2, ignore="sometimes"),
        {},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "annotation id used twice": (
        edit_annotation(2, id=12),
        {"renumbered": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "annotation id of another image": (
        edit_annotation(2, id="11"),
        {"renumbered": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "annotation listed three times": (
        edit_list("annotations", lambda entries: [*entries, entries[2], entries[2] | {"id": 99}]),
        {"repeated": 2},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "another class in one place": (
        edit_list("annotations", lambda entries: [*entries, entries[2] | {"category_id": 7}]),
        {"renumbered": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12], [1.5, 2.5, 11.5, 12]],
    ),
    "an object in the place of a crowd": (
        edit_list("annotations", lambda entries: [*entries, entries[1] | {"id": 9, "iscrowd": 0}]),
        {},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12], [0, 0, 40, 60]],
    ),
    "ids of another type": (
        edit_list("annotations", lambda es: [e | {"image_id": str(e["image_id"])} for e in es]),
        {"converted": 4},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "one id of another type": (
        edit_annotation(2, image_id=2.0, category_id="2"),
        {"converted": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "separators of Windows": (
        edit_image(1, file_name="sub folder\\b.png"),
        {"renamed": 1},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
    "names of URLs": (
        lambda folder: (
            edit_image(0, file_name="images/a.jpg?raw=1")(folder),
            edit_image(1, file_name="http://x.org/sub%20folder/b.png")(folder),
            edit_image(2, file_name="gr%C3%B6%C3%9Fe%20%E6%BC%A2%E5%AD%97.jpg")(folder),
        ),
        {"renamed": 3},
        [[0, 0, 40, 60], [1.5, 2.5, 11.5, 12]],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_can_mean_only_one_thing_is_put_right_and_counted(folder, name):
    apply, changes, boxes = CHANGES[name]
    apply(folder)
    source = folder.source()
    np.testing.assert_allclose(source.annotations(1).boxes, boxes, rtol=1e-6)
    assert dict(source.census.changes) == changes and source.skipped == []
    assert not source.annotations(1).ignored.any() and len(source) == 3
    assert source[1].image.shape == (60, 40, 3)
    assert source.census.boxes == len(json.loads(folder.json.read_text())["annotations"])


def test_the_annotated_area_of_a_clipped_box_stays(folder):
    folder.edit("annotations", 1, bbox=[-1, -0.5, 42, 61.5])
    np.testing.assert_array_equal(folder.source().annotations(1).area, [2400, 50.5])


def test_flags_may_be_strings_and_booleans(folder):
    for index, (crowd, difficult, ignored) in enumerate(
        (("1", True, None), (1.0, "", "TRUE"), (True, "1.0", "0"), ("", "0", False))
    ):
        folder.edit("annotations", index, iscrowd=crowd, difficult=difficult, ignored=ignored)
    examples = [folder.source().annotations(index) for index in range(3)]
    flags = [(e.crowd.tolist(), e.difficult.tolist(), e.ignored.tolist()) for e in examples]
    assert flags == [
        ([True], [True], [False]),
        ([True, True], [False, True], [True, False]),
        ([False], [False], [False]),
    ]


MISSING = {
    "another suffix": (
        lambda folder: folder.image(1).rename(folder.root / "images/a.bmp"),
        r"images/a\.jpg: is missing \(image 1 of instances\.json\), there is 'a\.bmp'; correct th",
    ),
    "a folder that is part of the name": (
        lambda folder: (
            (folder.root / "photos").mkdir(),
            folder.image(1).rename(folder.root / "photos/a.jpg"),
            folder.edit("images", 0, file_name="photos/a.jpg"),
        ),
        r"is missing .*; add the file or set config\.data\.coco\.train_images to '/.*(?<!images)'",
    ),
    "a folder below": (
        lambda folder: (
            (folder.root / "images/day").mkdir(),
            folder.image(1).rename(folder.root / "images/day/a.jpg"),
        ),
        r"add the file or set config\.data\.coco\.train_images to '/.*/images/day', which has",
    ),
    "beside the JSON": (
        lambda folder: folder.image(1).rename(folder.root / "a.jpg"),
        r"add the file or set config\.data\.coco\.train_images to '/.*', which has a file ",
    ),
    "two that may be meant": (
        lambda folder: (
            [
                (folder.root / "images" / name).write_bytes(folder.image(1).read_bytes())
                for name in ("A.jpg", "a.JPG")
            ]
            + [folder.image(1).unlink()]
        ),
        r"images/a\.jpg: is missing \(image 1 of instances\.json\), 2 files may be meant, 'A\.jpg' "
        r"and 'a\.JPG'; correct the file_name, or",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_image_is_told_as_what_it_is(folder, name):
    apply, words = MISSING[name]
    apply(folder)
    with pytest.raises(DataError, match=words) as caught:
        CocoSource(folder.json, folder.root / "images", split="train")
    assert caught.value.kind == "missing_image"


def test_the_folder_that_a_sentence_names_is_the_right_one(folder):
    (folder.root / "images").rename(folder.root / "photos")
    (folder.root / "images").mkdir()
    for index, name in enumerate(NAMES.values()):
        folder.edit("images", index, file_name=f"photos\\{name}")
    with pytest.raises(DataError) as caught:
        folder.source()
    meant = re.search("_images to '(.*?)'", str(caught.value)).group(1)
    assert pathlib.Path(meant) == folder.root
    assert len(CocoSource(folder.json, meant)) == 3


OTHER_FILES = {
    "YOLO's data.yaml": (
        "data.yaml",
        "path: .\nnames: [a]\n",
        "looks like YOLO's .*source=yolo reads it",
    ),
    "XML": ("a.xml", "<annotation/>", "looks like XML, such as Pascal VOC's"),
    "labels": ("a.txt", "0 .5 .5 .1 .1\n", "looks like text, such as YOLO's"),
    "a table": ("a.csv", "x,y\n", "looks like a table"),
    "Label Studio's JSON-MIN": (
        "min.json",
        [{"image": "/data/a.jpg", "label": [], "id": 1, "annotator": 1, "lead_time": 2.5}],
        "it contains a list instead of an object, it looks like Label Studio's JSON-MIN; export as",
    ),
    "Label Studio's JSON": (
        "ls.json",
        [{"id": 1, "annotations": [], "predictions": [], "data": {"image": "a.jpg"}}],
        "it looks like Label Studio's JSON; export as COCO",
    ),
    "datumaro": (
        "default.json",
        {"dm_format_version": "1.0", "infos": {}, "categories": {}, "items": []},
        "it lacks 'images' .*it looks like datumaro's JSON",
    ),
    "CreateML": (
        "createml.json",
        [{"image": "a.jpg", "annotations": [{"label": "a", "coordinates": {}}]}],
        "it looks like a CreateML file",
    ),
    "VIA's annotations": (
        "via.json",
        {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}},
        "it looks like annotations of the VGG Image Annotator",
    ),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_of_other_formats_are_named(tmp_path, name):
    file, content, words = OTHER_FILES[name]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        CocoSource(tmp_path / file, tmp_path)
    assert caught.value.kind == "broken_annotation" and "not a COCO instances file" in str(
        caught.value
    )


@pytest.mark.parametrize("name", ["('a.json','b.json')", "a.json,b.json", "*.json"])
def test_one_file_is_read(tmp_path, name):
    with pytest.raises(
        DataError, match=r"cannot be read .*; name several files one by one, set con"
    ):
        CocoSource(tmp_path / name, tmp_path)
