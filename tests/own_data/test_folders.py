"""Folders of every format, found without being told which."""

import json
import os
import pathlib

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.own_data import find
from ioub_jax.own_data.folders import HELD_OUT
from tests.data.sources.test_coco_layout import make

XML = """<annotation><filename>{name}</filename><size><width>8</width><height>8</height>
<depth>3</depth></size><object><name>bolt</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax>
<ymax>4</ymax></bndbox></object></annotation>"""
ROW = "0 0.5 0.5 0.25 0.25\n"
VERSION = json.dumps(
    {"name": "mine", "version": "1.0.0", "splits": [{"name": "train"}, {"name": "validation"}]}
)

#: Files; format, keys besides the root, and the splits that are named.
FOLDERS = {
    "COCO": (
        {"train.json": ["1.jpg"], "val.json": ["2.jpg"], "1.jpg": None, "2.jpg": None},
        "coco",
        {"data.coco.train_annotations": "train.json", "data.coco.val_images": "."},
        ["train", "val"],
    ),
    "one COCO file": (
        {"all.json": ["1.jpg"], "1.jpg": None},
        "coco",
        {"data.coco.train_annotations": "all.json", "data.split.val": 0.1},
        ["train"],
    ),
    "a test and no validation": (
        {"train.json": ["1.jpg"], "test.json": ["2.jpg"], "1.jpg": None, "2.jpg": None},
        "coco",
        {"data.split.val": 0.1, "data.coco.test_annotations": "test.json"},
        ["train", "test"],
    ),
    "VOC lists": (
        {
            "Annotations/1.xml": XML,
            "Annotations/2.xml": XML,
            "JPEGImages/1.jpg": None,
            "JPEGImages/2.jpg": None,
            "ImageSets/Main/train.txt": "1\n",
            "ImageSets/Main/test.txt": "2\n",
        },
        "voc",
        {"data.voc.train_split": "train", "data.voc.test_split": "test", "data.split.val": 0.1},
        ["train", "test"],
    ),
    "XML beside the image": (
        {"1.xml": XML, "1.jpg": None},
        "voc",
        {"data.voc.train_split": "all", "data.split.val": 0.1},
        ["train"],
    ),
    "Ultralytics": (
        {
            "data.yaml": "train: images/train\nval: images/val\nnames: [bolt]\n",
            "images/train/1.jpg": None,
            "images/val/2.jpg": None,
            "labels/train/1.txt": ROW,
            "labels/val/2.txt": ROW,
        },
        "yolo",
        {},
        ["train", "val"],
    ),
    "YOLO without anything else": (
        {"images/1.jpg": None, "labels/1.txt": ROW},
        "yolo",
        {"data.yolo.train_split": "all", "data.split.val": 0.1},
        ["train"],
    ),
    "Cityscapes": (
        {"leftImg8bit/train/a/1.png": None, "gtFine/train/a/1.json": "{}", "gtFine/val/b": None},
        "cityscapes",
        {},
        ["train", "val"],
    ),
    "TFDS": (
        {"mine/1.0.0/features.json": "{}", "mine/1.0.0/dataset_info.json": VERSION},
        "tfds",
        {
            "data.tfds.name": "mine:1.0.0",
            "data.tfds.train_split": "train",
            "data.tfds.val_split": "validation",
        },
        ["train", "val"],
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_format_and_the_splits_are_found(tmp_path, name):
    files, data_format, keys, splits = FOLDERS[name]
    make(tmp_path, files)
    found = find(tmp_path)
    assert found.format == found.keys["data.source"] == data_format
    assert {key: found.keys[key] for key in keys} == keys
    named = [split for split, words in found.splits.items() if words != HELD_OUT]
    assert named == splits
    assert ("data.split.val" in found.keys) == ("val" not in splits)
    assert "val" in found.splits
    assert found.others == ()


@pytest.mark.parametrize("place", [".", "mine", "mine/1.0.0"])
def test_a_prepared_data_set_is_found_from_any_folder_above_it(tmp_path, place):
    make(tmp_path, FOLDERS["TFDS"][0])
    keys = find(tmp_path / place).keys
    assert keys["data.tfds.name"] == "mine:1.0.0"
    assert pathlib.Path(keys["data.tfds.data_dir"]).samefile(tmp_path)


def test_a_configuration_of_a_prepared_data_set_is_part_of_its_name(tmp_path):
    of_config = json.loads(VERSION) | {"configName": "small"}
    folder = {"features.json": "{}", "dataset_info.json": json.dumps(of_config)}
    make(tmp_path, {f"mine/small/1.0.0/{name}": text for name, text in folder.items()})
    assert find(tmp_path).keys["data.tfds.name"] == "mine/small:1.0.0"


def test_of_several_formats_one_is_read_and_the_others_are_named(tmp_path):
    make(tmp_path, FOLDERS["COCO"][0] | FOLDERS["YOLO without anything else"][0])
    assert (find(tmp_path).format, find(tmp_path).others) == ("coco", ("YOLO",))
    assert find(tmp_path, "yolo").format == "yolo"
    with pytest.raises(DataError, match="there is no VOC XML"):
        find(tmp_path, "voc")


def test_a_file_names_the_data_set_that_is_meant(tmp_path):
    make(tmp_path, FOLDERS["COCO"][0])
    found = find(tmp_path / "val.json")
    assert found.keys["data.coco.train_annotations"] == "val.json"
    assert found.keys["data.split.val"] == 0.1


@pytest.mark.parametrize(
    ("files", "given", "sentence"),
    [
        ({}, "no", "{root}/no: there is no such file or folder; give the folder of the data set"),
        ({}, ".", "{root}: there is no data set of a known format (no file at all); what can be"),
        (
            {"1.jpg": None, "2.jpg": None, "a/notes.csv": "1,2"},
            ".",
            "{root}: there is no data set of a known format (2 .jpg, 1 .csv); what can be read is",
        ),
        ({"a.json": "[]"}, "a.json", "{root}/a.json: is no data set of a known format; give a"),
        (
            {"mine/1.0.0/features.json": "{}"},
            ".",
            "{root}/mine/1.0.0/dataset_info.json: this is not the file that TFDS writes beside",
        ),
        (
            {"a.yaml": "names: [a]\ntrain: x", "b.yaml": "names: [b]\ntrain: x"},
            ".",
            "{root}: a.yaml and b.yaml each describe a data set; set config.data.yolo.root to",
        ),
    ],
)
def test_what_is_no_data_set_is_told_in_a_sentence(tmp_path, files, given, sentence):
    make(tmp_path, files)
    with pytest.raises(DataError) as caught:
        find(tmp_path / given)
    told = str(caught.value).replace(os.path.realpath(tmp_path), str(tmp_path))
    assert told.startswith(sentence.format(root=tmp_path))


def test_the_newest_version_of_a_prepared_data_set_is_read(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        folder = {"features.json": "{}", "dataset_info.json": VERSION}
        make(tmp_path, {f"mine/{version}/{name}": text for name, text in folder.items()})
    assert find(tmp_path).keys["data.tfds.name"] == "mine:1.10.0"


def test_of_several_prepared_data_sets_none_is_taken(tmp_path):
    for name in ("coco", "voc"):
        folder = {"features.json": "{}", "dataset_info.json": VERSION}
        make(tmp_path, {f"{name}/1.0.0/{file}": text for file, text in folder.items()})
    with pytest.raises(DataError, match=r"several prepared data sets \(coco, voc\); give the fold"):
        find(tmp_path)
    assert find(tmp_path / "voc").keys["data.tfds.name"] == "voc:1.0.0"


def test_a_broken_data_set_of_another_format_is_told(tmp_path):
    make(tmp_path, FOLDERS["COCO"][0] | {"data.yaml": "train: ["})
    found = find(tmp_path)
    assert found.format == "coco"
    assert any(note.startswith("In YOLO, it is broken: ") for note in found.notes)
