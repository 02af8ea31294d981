"""Which splits a folder of VOC XMLs has, found from the folder alone."""

import pytest

from ioub_jax.data.sources.voc import VocSource
from ioub_jax.data.sources.voc_layout import VocSplit, find_layout
from ioub_jax.data.sources.voc_lists import role_of
from tests.data.voc_folder import write


def _pairs(*names, xmls="{}.xml", images="{}.png"):
    return [path.format(name) for name in names for path in (xmls, images)]


def _devkit(year, **lists):
    return [
        *_pairs("a", "b", xmls=f"{year}Annotations/{{}}.xml", images=f"{year}JPEGImages/{{}}.jpg"),
        *(f"{year}ImageSets/Main/{name}.txt={text}" for name, text in lists.items()),
    ]


ALL = VocSplit((".",), "all")
# What is in the folder; the root that is found, below it; and the splits, each of folders and a
# list, with how many images it has.
LAYOUTS = {
    "devkit": (
        _devkit("", train="a", val="b", trainval="a\nb", cat_train="a 1", test="b"),
        "",
        {"train": ((".",), "train", 1), "val": ((".",), "val", 1), "test": ((".",), "test", 1)},
    ),
    "trainval and test": (
        _devkit("", trainval="a", test="b"),
        "",
        {"train": ((".",), "trainval", 1), "val": ((".",), "test", 1),
         "test": ((".",), "test", 1)},
    ),
    "train and test": (
        _devkit("", train="a", test="b"),
        "",
        {"train": ((".",), "train", 1), "val": ((".",), "test", 1), "test": ((".",), "test", 1)},
    ),
    "a test without annotations": (
        [*_devkit("", train="a", val="b", test="c"), "JPEGImages/c.jpg"],
        "",
        {"train": ((".",), "train", 1), "val": ((".",), "val", 1), "test": ((".",), "val", 1)},
    ),
    "two years above": (
        [*_devkit("VOCdevkit/VOC2007/", train="a", val="b", trainval="a\nb", test="a"),
         *_devkit("VOCdevkit/VOC2012/", train="a", val="b", trainval="a\nb")],
        "VOCdevkit",
        {"train": (("VOC2007", "VOC2012"), "trainval", 4), "val": (("VOC2007",), "test", 1),
         "test": (("VOC2007",), "test", 1)},
    ),
    "CVAT, datumaro": (
        _devkit("", default="a\nb"), "", {"train": ((".",), "default", 2)}
    ),
    "CVAT's subsets": (
        _devkit("", Train="a", Validation="b"),
        "",
        {"train": ((".",), "Train", 1), "val": ((".",), "Validation", 1),
         "test": ((".",), "Validation", 1)},
    ),
    "Roboflow": (
        _pairs("train/a", "train/b", "valid/c", "test/d"),
        "",
        {"train": (("train",), "all", 2), "val": (("valid",), "all", 1),
         "test": (("test",), "all", 1)},
    ),
    "Roboflow, unpacked": (
        ["mine.v1i.voc/README.roboflow.txt=", *_pairs("mine.v1i.voc/train/a",
                                                      "mine.v1i.voc/valid/b")],
        "mine.v1i.voc",
        {"train": (("train",), "all", 1), "val": (("valid",), "all", 1),
         "test": (("valid",), "all", 1)},
    ),
    "XML beside the image": (_pairs("a", "b"), "", {"train": ((".",), "all", 2)}),
    "Annotations and images": (
        _pairs("a", xmls="Annotations/{}.xml", images="images/{}.webp"),
        "",
        {"train": ((".",), "all", 1)},
    ),
    "a folder for each split in the parts": (
        [*_pairs("train/a", "train/b", "val/c", xmls="annotations/{}.xml", images="images/{}.tif")],
        "",
        {"train": ((".",), "train", 2), "val": ((".",), "val", 1), "test": ((".",), "val", 1)},
    ),
    "a devkit for each split": (
        ["train/Annotations/a.xml", "train/JPEGImages/a.bmp", "val/Annotations/b.xml",
         "val/JPEGImages/b.bmp"],
        "",
        {"train": (("train",), "all", 1), "val": (("val",), "all", 1),
         "test": (("val",), "all", 1)},
    ),
    "Oxford's pets": (
        [*_pairs("a", "b", xmls="annotations/xmls/{}.xml", images="images/{}.jpg"),
         "annotations/trainval.txt=a 1 1 1", "annotations/test.txt=b 2 1 1",
         "annotations/list.txt=#x\na 1 1 1\nb 2 1 1", "annotations/trimaps/a.png"],
        "",
        {"train": ((".",), "trainval", 1), "val": ((".",), "test", 1),
         "test": ((".",), "test", 1)},
    ),
    "parts without a name": (
        _pairs("day 1/a", "day 2/b"), "", {"train": (("day 1", "day 2"), "all", 2)}
    ),
    "deep folders": (_pairs("x/1/a", "x/2/b"), "x", {"train": (("1", "2"), "all", 2)}),
    "XMLs and images apart, of any name": (
        _pairs("a", xmls="boxes/{}.xml", images="tiles/{}.png"), "", {"train": ((".",), "all", 1)}
    ),
    "lists in the folder": (
        [*_pairs("a", "b"), "train.txt=a.png", "val.txt=b.png", "classes.txt=cat"],
        "",
        {"train": ((".",), "train", 1), "val": ((".",), "val", 1), "test": ((".",), "val", 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_found_is_what_opens_it(tmp_path, name):
    paths, root, expected = LAYOUTS[name]
    write(tmp_path, *paths)
    layout = find_layout(tmp_path)
    assert layout.root == tmp_path / root and layout.others == ()
    found = {split: (entry.folders, entry.split) for split, entry in layout.splits.items()}
    assert found == {split: (folders, list_) for split, (folders, list_, _) in expected.items()}
    for split, (_, _, images) in expected.items():
        folders, list_ = found[split]
        source = VocSource(layout.root, list_, folders)
        assert len(source) == images and source.classes == ("cat",) and not source.skipped


def test_the_keys_of_a_layout(tmp_path):
    write(tmp_path, *_pairs("train/a", "valid/b"))
    assert find_layout(str(tmp_path)).keys() == {
        "data.voc.root": str(tmp_path),
        "data.voc.train_folders": ("train",),
        "data.voc.train_split": "all",
        "data.voc.val_folders": ("valid",),
        "data.voc.val_split": "all",
        "data.voc.test_folders": ("valid",),
        "data.voc.test_split": "all",
    }


# What is there, and whether XMLs of VOC are.
OTHERS = {
    "nothing": ([], False),
    "images": (["a.png"], False),
    "YOLO": (["images/a.png", "labels/a.txt=0 .5 .5 .1 .1"], False),
    "XMLs alone": (["a.xml"], True),
    "XMLs alone, in their folder": (["Annotations/a.xml"], True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_folders(tmp_path, name):
    paths, is_voc = OTHERS[name]
    write(tmp_path, *paths)
    layout = find_layout(tmp_path)
    assert (layout is not None) == is_voc
    assert not is_voc or layout.splits == {"train": ALL}
    assert find_layout(tmp_path / "nowhere") is None


def test_xml_of_another_format_is_none(tmp_path):
    write(tmp_path, "images/a.png")
    (tmp_path / "annotations.xml").write_text("<annotations><image name='a.png'/></annotations>")
    assert find_layout(tmp_path) is None


def test_two_data_sets_are_told(tmp_path):
    write(tmp_path, "one/in/train/a.xml", "one/in/train/a.png")
    write(tmp_path, "two/in/train/a.xml", "two/in/train/a.png")
    layout = find_layout(tmp_path)
    assert layout.root == tmp_path / "one/in" and layout.others == (tmp_path / "two/in",)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("train2017", "train"),
        ("valid", "val"),
        ("dev", "val"),
        ("VOC2012_train_val", "trainval"),
        ("trainval", "trainval"),
        ("my-test-set", "test"),
        ("default", None),
        ("train_test", None),
        ("trained", None),
    ],
)
def test_for_what_a_name_is(name, role):
    assert role_of(name) == role
