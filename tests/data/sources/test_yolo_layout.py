import logging

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import yolo_layout
from tests.data.yolo_folder import write

ROW = "0 0.5 0.5 0.2 0.2\n"
ULTRALYTICS = {
    "images/train/a.png": b"",
    "images/train/deep/b.JPG": b"",
    "images/val/c.png": b"",
    "labels/train/a.txt": ROW,
    "labels/val/c.txt": ROW,
}
ROBOFLOW = {
    "train/images/a.png": b"",
    "train/labels/a.txt": ROW,
    "valid/images/c.png": b"",
    "valid/labels/c.txt": ROW,
    "test/images/d.png": b"",
    "test/labels/d.txt": ROW,
}
FLAT = {"a.png": b"", "a.txt": ROW, "b.png": b"", "classes.txt": "bolt\nnut\n"}
SPLIT_ULTRALYTICS = {"train": ["images/train/a.png", "images/train/deep/b.JPG"]}
SPLIT_ULTRALYTICS["val"] = ["images/val/c.png"]
SPLIT_ROBOFLOW = {
    "train": ["train/images/a.png"],
    "val": ["valid/images/c.png"],
    "test": ["test/images/d.png"],
}
TWO = {0: "bolt", 1: "nut"}

# What is there, the images of each split, and the names of the classes.
LAYOUTS = {
    "Ultralytics' folders alone": (ULTRALYTICS, SPLIT_ULTRALYTICS, None),
    "Roboflow's folders alone": (ROBOFLOW, SPLIT_ROBOFLOW, None),
    "a yaml relative to itself": (
        ULTRALYTICS | {"data.yaml": "train: images/train\nval: images/val\nnames: [bolt, nut]\n"},
        SPLIT_ULTRALYTICS,
        TWO,
    ),
    "Ultralytics' own path, of another machine": (
        ULTRALYTICS
        | {"x.yaml": "path: ../datasets/x\ntrain: images/train\nval: images/val\ntest:\n"
           "names:\n  0: bolt\n  1: nut\ndownload: |\n  import os\n"},
        SPLIT_ULTRALYTICS,
        TWO,
    ),
    "Roboflow's ../ too many": (
        ROBOFLOW
        | {"data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
           "nc: 2\nnames: ['bolt', 'nut']\nroboflow:\n  license: CC BY 4.0\n"},
        SPLIT_ROBOFLOW,
        TWO,
    ),
    "absolute paths of another machine, of Windows": (
        ROBOFLOW
        | {"data.yaml": "path: 'C:\\work\\set'\ntrain: 'C:\\work\\set\\train\\images'\n"
           "valid: /content/set/valid/images\nnames: {0: bolt, '1': nut}\n"},
        SPLIT_ROBOFLOW,
        TWO,
    ),
    "several folders of a split": (
        ULTRALYTICS
        | {"data.yaml": "train: [images/train/deep, images/val]\nvalidation: images/val\nnc: 2\n"},
        {"train": ["images/train/deep/b.JPG", "images/val/c.png"], "val": ["images/val/c.png"]},
        {0: "0", 1: "1"},
    ),
    "a yaml without splits, as supervision's": (
        {"images/a.png": b"", "labels/a.txt": ROW, "data.yaml": "nc: 2\nnames: [bolt, nut]\n"},
        {"all": ["images/a.png"]},
        TWO,
    ),
    "names that YAML would read as other types": (
        FLAT | {"data.yaml": "names: [no, 1, 2024-01-01, null words]\n"},
        {"all": ["a.png", "b.png"]},
        {0: "no", 1: "1", 2: "2024-01-01", 3: "null words"},
    ),
    "a list of paths, relative to itself, to the path, and of another machine": (
        ULTRALYTICS
        | {"lists/t.txt": "./../images/val/c.png\r\nimages/train/A.PNG\n\n"
           "/content/x/images/train/deep/b.JPG\n",
           "data.yaml": "train: lists/t.txt\nval: images/val\nnames: [bolt, nut]\n"},
        {"train": ["images/val/c.png", "images/train/a.png", "images/train/deep/b.JPG"],
         "val": ["images/val/c.png"]},
        TWO,
    ),
    "darknet, as CVAT writes it": (
        {"obj.data": "classes = 2\ntrain = data/train.txt\nvalid=data/valid.txt\n"
         "names = data/obj.names\nbackup = backup/\n",
         "obj.names": "bolt\nnut\n",
         "train.txt": "data/obj_train_data/a.png\n",
         "valid.txt": "data/obj_valid_data/b.png\n",
         "obj_train_data/a.png": b"",
         "obj_train_data/a.txt": ROW,
         "obj_valid_data/b.png": b""},
        {"train": ["obj_train_data/a.png"], "val": ["obj_valid_data/b.png"]},
        TWO,
    ),
    "darknet's own folder, from where it is started": (
        {"data/obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/val.txt\n"
         "names = data/obj.names\nbackup = backup/\n",
         "data/obj.names": "bolt\nnut\n",
         "data/train.txt": "data/obj/a.png\n",
         "data/val.txt": "data/obj/b.png\n",
         "data/obj/a.png": b"", "data/obj/a.txt": ROW,
         "data/obj/b.png": b""},
        {"train": ["data/obj/a.png"], "val": ["data/obj/b.png"]},
        TWO,
    ),
    "lists without a description": (
        FLAT | {"train.txt": "a.png\n", "valid.txt": "b.png\n"},
        {"train": ["a.png"], "val": ["b.png"]},
        TWO,
    ),
    "a flat folder": (FLAT, {"all": ["a.png", "b.png"]}, TWO),
    "flat folders of splits": (
        {"train/a.png": b"", "train/a.txt": ROW, "train/_darknet.labels": "bolt\nnut",
         "val/b.png": b""},
        {"train": ["train/a.png"], "val": ["val/b.png"]},
        TWO,
    ),
    "images and labels, the classes among the labels": (
        {"images/a.png": b"", "labels/a.txt": ROW,
         "labels/classes.txt": "\ufeffbolt\r\nnut\r\n\r\n"},
        {"all": ["images/a.png"]},
        TWO,
    ),
    "COCO's names of the splits": (
        {"images/train2017/a.png": b"", "labels/train2017/a.txt": ROW, "images/val2017/b.png": b"",
         "images/.cache/x.png": b""},
        {"train": ["images/train2017/a.png"], "val": ["images/val2017/b.png"]},
        None,
    ),
    "a yaml that is called as such, beside another": (
        ULTRALYTICS
        | {"data.yaml": "train: images/train\nval: images/val\nvalid: images/train\n"
           "names: [bolt, nut]\n",
           "a.yaml": "train: images/val\nnames: [gear]\n"},
        SPLIT_ULTRALYTICS,
        TWO,
    ),
    "a split that the yaml has elsewhere": (
        ULTRALYTICS
        | {"data.yaml": "train: /content/a\nval: /content/b\nnames: [bolt, nut]\n"},
        SPLIT_ULTRALYTICS,
        TWO,
    ),
}  # fmt: skip


@pytest.mark.parametrize("files, splits, names", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_found(tmp_path, files, splits, names):
    write(tmp_path, **files)
    layout = yolo_layout.find(tmp_path)
    found = {
        split: [path.relative_to(tmp_path).as_posix() for path in layout.images(split)]
        for split in layout.splits
    }
    assert found == splits
    assert layout.names == names
    every = [path for paths in splits.values() for path in paths]
    whole = [path.relative_to(tmp_path).as_posix() for path in layout.images("all")]
    assert whole == list(dict.fromkeys(every))


def test_the_file_itself_may_be_given(tmp_path):
    write(tmp_path, **ROBOFLOW, **{"a.yaml": "train: train/images\nnames: [bolt]\n"})
    write(tmp_path, **{"b.yaml": "train: valid/images\nnames: [nut]\n"})
    layout = yolo_layout.find(tmp_path / "b.yaml")
    assert [path.name for path in layout.images("train")] == ["c.png"]
    assert layout.names == {0: "nut"} and layout.description == tmp_path / "b.yaml"


def test_a_split_may_be_a_folder_or_have_another_of_its_names(tmp_path):
    layout = yolo_layout.find(write(tmp_path, **ULTRALYTICS))
    assert [path.name for path in layout.images("valid")] == ["c.png"]
    assert [path.name for path in layout.images("images/train/deep")] == ["b.JPG"]


OTHERS = {
    "nothing": {},
    "COCO": {"images/train/a.png": b"", "annotations/train.json": "{}"},
    "VOC": {"a.png": b"", "a.xml": "<annotation/>", "labels.txt": "cat\n"},
    "texts beside images": {"a.png": b"", "a.txt": "A cat on a mat, in 1999.\n"},
    "other YAMLs": {"args.yaml": "task: detect\nval: true\n", "model.yaml": "nc: 80\nhead: []\n",
                    "a.png": b""},
}  # fmt: skip


@pytest.mark.parametrize("files", OTHERS.values(), ids=OTHERS)
def test_what_is_of_another_format_is_none(tmp_path, files):
    write(tmp_path, **files)
    assert yolo_layout.find(tmp_path) is None
    assert yolo_layout.find(tmp_path / "not there") is None


def test_what_is_read_elsewhere_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path, **ROBOFLOW, **{"data.yaml": "train: ../train/images\nnames: [bolt]\n"})
    yolo_layout.find(tmp_path).images("train")
    said = f"{tmp_path}/data.yaml: '../train/images' is read as {tmp_path}/train/images."
    assert caplog.messages == [said]


def test_two_paths_are_never_read_as_one_place(tmp_path):
    yaml = "train: /content/train/images\nval: /content/valid/images\nnames: [bolt]\n"
    write(tmp_path, **{"images/a.png": b"", "labels/a.txt": ROW, "data.yaml": yaml})
    layout = yolo_layout.find(tmp_path)
    with pytest.raises(DataError, match="val is '/content/valid/images', which does not exist"):
        layout.images("val")
