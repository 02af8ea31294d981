"""Objects of VOC's XMLs that have no box, and XMLs that are another format's."""

import math
import os
import pathlib

import cv2
import numpy as np
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.voc import VocSource

SIZE = "<size><width>64</width><height>48</height></size>"
OUTSIDE = "<polygon><x1>70</x1><y1>5</y1><x2>90</x2><y2>9</y2></polygon>"


def box(*corners, tags=("xmin", "ymin", "xmax", "ymax")):
    inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners, strict=True))
    return f"<bndbox>{inside}</bndbox>"


def polygon(*points):
    inside = "".join(
        f"<x{number}>{x}</x{number}><y{number}>{y}</y{number}>"
        for number, (x, y) in enumerate(points, start=1)
    )
    return f"<polygon>{inside}</polygon>"


def write(folder, inside, name="a", tag="annotation", size=SIZE):
    (folder / f"{name}.xml").write_text(f"<{tag}>{size}{inside}</{tag}>")
    cv2.imwrite(str(folder / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))


def cat(inside):
    return f"<object><name>cat</name>{inside}</object>"


# What an object has, the boxes of the image as it is written, and what is counted.
OBJECTS = {
    "a polygon": (cat(polygon((5, 9), (20, 8), (12, 30))), [[5, 8, 20, 30]], {"outlined": 1}),
    "a polygon beside a box": (cat(polygon((5, 9), (9, 30)) + box(1, 2, 3, 4)), [[1, 2, 3, 4]], {}),
    "LabelMe's polygon": (
        cat(
            "<deleted>0</deleted><polygon><username>me</username><pt><x>5</x><y>9</y></pt>"
            "<pt><x>20</x><y>30</y><time>1</time></pt></polygon>"
        ),
        [[5, 9, 20, 30]],
        {"outlined": 1},
    ),
    "what is deleted in LabelMe": (
        cat(box(1, 2, 3, 4)) + cat("<deleted>1</deleted>" + polygon((5, 9), (20, 30))),
        [[1, 2, 3, 4]],
        {},
    ),
    # 20 x 10 around (30, 20), turned by a quarter of a circle: 10 x 20.
    "roLabelImg's box": (
        cat(
            f"<robndbox><cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>{math.pi / 2}</angle>"
            "</robndbox>"
        ),
        [[25, 10, 35, 30]],
        {"rotated": 1},
    ),
    "a polygon beyond the edge": (
        cat(polygon((5, 9), (80, 30))), [[5, 9, 64, 30]], {"outlined": 1, "clipped": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_without_a_box(tmp_path, name):
    inside, boxes, changes = OBJECTS[name]
    write(tmp_path, inside)
    source = VocSource(tmp_path, pixels="zero_based")
    np.testing.assert_allclose(source.annotations(0).boxes, boxes, atol=1e-5)
    assert source.census.changes == changes and source.classes == ("cat",)


def test_labelme_counts_from_0_and_calls_the_size_otherwise(tmp_path):
    points = "<pt><x>5</x><y>9</y></pt><pt><x>20</x><y>30</y></pt>"
    size = "<imagesize><nrows>48</nrows><ncols>64</ncols></imagesize>"
    write(tmp_path, cat(f"<polygon>{points}</polygon>"), size=size)
    source = VocSource(tmp_path)
    assert source.annotations(0).boxes.tolist() == [[5, 9, 20, 30]]
    assert source.sizes.tolist() == [[48, 64]]


SKIP_BOX = "fix it, or set config.data.on_error='skip' to leave the box out."
SKIP_IMAGE = "or set config.data.on_error='skip' to leave the image out."
NO_NUMBER = "lacks a number among xmin, ymin, xmax, ymax"
# What is written, how many boxes and images are left out under 'skip', and the whole sentence.
BAD = {
    "a polygon of a point": (
        {"inside": cat(polygon((5, 9)))},
        f"FOLDER/a.xml: box 1 (cat; nan, nan, nan, nan) {NO_NUMBER}; {SKIP_BOX}",
    ),
    "a polygon that is cut off": (
        {"inside": cat("<polygon><x1>5</x1><y1>9</y1><x2>7</x2></polygon>")},
        f"FOLDER/a.xml: box 1 (cat; nan, nan, nan, nan) {NO_NUMBER}; {SKIP_BOX}",
    ),
    "a polygon with a word": (
        {"inside": cat(polygon((5, 9), (7, "left"), (9, 9)))},
        f"FOLDER/a.xml: box 1 (cat; 5, nan, 9, nan) {NO_NUMBER}; {SKIP_BOX}",
    ),
    "a polygon elsewhere": (
        {"inside": cat(OUTSIDE)},
        "FOLDER/a.xml: box 1 (cat; 70, 5, 90, 9) is outside its image of 64x48; fix or delete it, "
        "or set config.data.on_error='skip' to leave the box out.",
    ),
    "a line": (
        {"inside": cat(polygon((5, 9), (20, 9)))},
        "FOLDER/a.xml: box 1 (cat; 5, 9, 20, 9) has no area, xmin is xmax or ymin is ymax; fix or "
        "delete it, or set config.data.on_error='skip' to leave the box out.",
    ),
    "a rotated box without its angle": (
        {"inside": cat("<robndbox><cx>9</cx><cy>9</cy><w>3</w><h>3</h></robndbox>")},
        f"FOLDER/a.xml: box 1 (cat; nan, nan, nan, nan) {NO_NUMBER}; {SKIP_BOX}",
    ),
    "nothing at all": (
        {"inside": cat("")},
        f"FOLDER/a.xml: box 1 (cat; nan, nan, nan, nan) {NO_NUMBER}; {SKIP_BOX}",
    ),
    "CVAT's XML": (
        {"inside": "<image id='0' name='a.png'/>", "tag": "annotations"},
        "FOLDER/a.xml: is not a VOC annotation, its root element is <annotations>, it looks like "
        "CVAT's XML; export as COCO there, or convert it with globox 2.9.0: globox convert FILE "
        f"coco.json -f cvat -F coco -A, {SKIP_IMAGE}",
    ),
    "XML of something else": (
        {"inside": "<dependencies/>", "tag": "project"},
        "FOLDER/a.xml: is not a VOC annotation, its root element is <project>; remove the file, "
        f"{SKIP_IMAGE}",
    ),
    "LabelMe's size that is not a number": (
        {"inside": "", "size": "<imagesize><nrows>x</nrows><ncols>64</ncols></imagesize>"},
        f"FOLDER/a.xml: has the <size> '64' x 'x'; correct or remove it, {SKIP_IMAGE}",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_told_in_a_sentence(tmp_path, name):
    written, sentence = BAD[name]
    write(tmp_path, **written)
    write(tmp_path, cat(box(1, 2, 3, 4)), "b")
    with pytest.raises(DataError) as caught:
        VocSource(tmp_path, pixels="zero_based")
    assert str(caught.value) == sentence.replace("FOLDER", str(tmp_path))
    source = VocSource(tmp_path, pixels="zero_based", on_error="skip")
    (problem,) = source.skipped
    left = [source.annotations(index).boxes[~source.annotations(index).ignored].tolist()
            for index in range(len(source))]  # fmt: skip
    assert left[-1] == [[1, 2, 3, 4]] and sum(map(len, left)) == 1
    assert len(source) == (1 if problem.leaves_out == "image" else 2)


# What is in the folder besides b.xml with its image, what is asked for, and the whole sentence.
FOLDERS = {
    "a list that is not there": (
        ("train.txt", "b\n"),
        {"split": "val"},
        "FOLDER/ImageSets/Main/val.txt: there is no such split file (the folder has ['train']); "
        "choose another in config.data.voc; 'all' stands for every annotated image.",
    ),
    "a list by a path that is not there": (
        ("train.txt", "b\n"),
        {"split": "lists/train.txt"},
        "FOLDER/ImageSets/Main/lists/train.txt.txt: there is no such split file (the folder has "
        "['train']); choose another in config.data.voc; 'all' stands for every annotated image.",
    ),
    "a list of comments": (
        ("train.txt", "# nothing\n"),
        {"split": "train"},
        "FOLDER: split 'train' has no images to load, check config.data.voc.",
    ),
    "a list of one class, beside the images": (
        ("cat_train.txt", "b 1\nc -1\n"),
        {"split": "cat_train"},
        "FOLDER/cat_train.txt: is the devkit's list of one class ('b 1'); choose a list of images, "
        "such as 'trainval', in config.data.voc, and its class in config.data.voc.classes.",
    ),
    "further columns of an image that is not there": (
        ("train.txt", "b 1 1 1\nlost 2 1 1\n"),
        {"split": "train"},
        "FOLDER/lost 2 1 1.jpg: is missing (the split lists it); add the file, " + SKIP_IMAGE,
    ),
    "a convention that there is not": (
        ("notes.txt", ""),
        {"pixels": "exclusive"},
        "pixels is 'exclusive' and must be one of ('devkit', 'zero_based', 'one_based_exclusive').",
    ),
    "a data set somewhere below": (
        ("notes.txt", ""),
        {"root": ".."},
        "OUTER/Annotations: there is no such folder; set config.data.voc.train_folders, val_folders"
        " or test_folders to one or more of ('data',).",
    ),
    "splits far below": (
        ("notes.txt", ""),
        {"root": "../..", "also": "val"},
        "FAR/Annotations: there is no such folder; set config.data.voc.root to OUTER.",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_not_there_is_told_in_a_sentence(tmp_path, name):
    (file, text), options, sentence = FOLDERS[name]
    options = dict(options)
    folder = tmp_path / "outer" / "data"
    places = [folder]
    if also := options.pop("also", None):
        places = [folder.parent / "train", folder.parent / also]
    for place in places:
        place.mkdir(parents=True)
        write(place, cat(box(1, 2, 3, 4)), "b")
        (place / file).write_text(text)
    root = folder / options.pop("root", ".")
    with pytest.raises(ValueError) as caught:
        VocSource(pathlib.Path(os.path.normpath(root)), **options)
    for word, path in (("FOLDER", folder), ("OUTER", folder.parent), ("FAR", tmp_path)):
        sentence = sentence.replace(word, str(path))
    assert str(caught.value) == sentence
