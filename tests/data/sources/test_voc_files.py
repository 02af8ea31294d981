"""The layouts in which labeling tools leave VOC's XMLs, and lists as they write them."""

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.voc import VocSource
from tests.data.voc_folder import write


def _names(source, root):
    return [source.describe(index).removeprefix(f"{root}/") for index in range(len(source))]


# What is in the folder, the split, and the images that are read, all with their cat.
LAYOUTS = {
    "Label Studio": (["Annotations/a.xml", "images/a.png"], "all", ["images/a.png"]),
    "Images": (["Annotations/a.xml", "Images/a.png"], "all", ["Images/a.png"]),
    "Roboflow, LabelImg": (
        ["a.xml", "a.png", "b.xml", "b.jpg", "notes.csv.png.txt="],
        "all",
        ["a.png", "b.jpg"],
    ),
    "XMLs among the images": (["JPEGImages/a.xml", "JPEGImages/a.png"], None, ["JPEGImages/a.png"]),
    "images among the XMLs": (["Annotations/a.xml", "Annotations/a.png"], None,
                              ["Annotations/a.png"]),
    "CVAT": (
        [
            *("Annotations/line1/a.xml", "JPEGImages/line1/a.png"),
            *("Annotations/line2/a.xml", "JPEGImages/line2/a.png"),
            "ImageSets/Main/default.txt=line2/a\nline1/a\n",
        ],
        "default",
        ["JPEGImages/line2/a.png", "JPEGImages/line1/a.png"],
    ),
    "images in folders, XMLs in one": (
        ["Annotations/a.xml", "JPEGImages/line1/a.png", "Annotations/b.xml", "JPEGImages/b.png"],
        "all",
        ["JPEGImages/line1/a.png", "JPEGImages/b.png"],
    ),
    "XMLs in folders, images in one": (
        ["Annotations/line1/a.xml", "JPEGImages/a.png"], "all", ["JPEGImages/a.png"]
    ),
    "the XML knows the image": (
        ["Annotations/0001.xml=C:\\data\\a 1.png", "JPEGImages/a 1.png"],
        "all",
        ["JPEGImages/a 1.png"],
    ),
    "an encoded <filename>": (
        ["Annotations/0001.xml=a%201.png", "JPEGImages/a 1.png"], "all", ["JPEGImages/a 1.png"]
    ),
    "a stale <filename>": (
        ["Annotations/a.xml=b.png", "JPEGImages/a.png", "Annotations/b.xml=b.png",
         "JPEGImages/b.png"],
        "all",
        ["JPEGImages/a.png", "JPEGImages/b.png"],
    ),
    "two files, <filename> says which": (
        ["Annotations/a.xml=a.bmp", "JPEGImages/a.bmp", "JPEGImages/a.png"],
        "all",
        ["JPEGImages/a.bmp"],
    ),
    "names with dots and foreign files": (
        ["Annotations/v1.2.xml", "JPEGImages/v1.2.png", "JPEGImages/.DS_Store.png",
         "JPEGImages/._v1.2.png", "JPEGImages/.ipynb_checkpoints/v1.2.png", "JPEGImages/x.txt="],
        "all",
        ["JPEGImages/v1.2.png"],
    ),
    "Oxford's pets": (
        ["annotations/xmls/a.xml", "images/a.png", "annotations/list.txt=# Image CLASS-ID\na 1 1 1",
         "annotations/trainval.txt=a 1 1 1\n"],
        "trainval",
        ["images/a.png"],
    ),
    "Annotation": (["Annotation/a.xml", "JPEGImages/a.png"], "all", ["JPEGImages/a.png"]),
    "xmls": (["xmls/a.xml", "img/a.png"], "all", ["img/a.png"]),
    "COCO's annotations beside XMLs": (
        ["annotations/train.json.txt=", "xml/a.xml", "images/a.png"], "all", ["images/a.png"]
    ),
    "folders of any name": (
        ["boxes/a.xml", "tiles/a.png", "tiles/b.png", "boxes/b.xml"],
        "all",
        ["tiles/a.png", "tiles/b.png"],
    ),
    "images of any name": (["Annotations/a.xml", "tiles/a.png"], "all", ["tiles/a.png"]),
    "deep folders": (
        ["2024/jan/a.xml", "2024/jan/a.png", "2024/feb/a.xml", "2024/feb/a.png"],
        "all",
        ["2024/feb/a.png", "2024/jan/a.png"],
    ),
    "the split in the parts": (
        ["Annotations/train/a.xml", "Annotations/val/b.xml", "images/train/a.png",
         "images/val/b.png"],
        "train",
        ["images/train/a.png"],
    ),
    "a list in the folder": (
        ["Annotations/a.xml", "JPEGImages/a.png", "Annotations/b.xml", "JPEGImages/b.png",
         "train.txt=JPEGImages/a.png\n"],
        "train",
        ["JPEGImages/a.png"],
    ),
    "a list of pairs": (  # as PaddleDetection has them
        ["annotations/a.xml", "images/a.png", "images/b.png", "annotations/b.xml",
         "trainval.txt=./images/a.png ./annotations/a.xml\n"],
        "trainval",
        ["images/a.png"],
    ),
    "a list in ImageSets": (
        ["Annotations/a.xml", "JPEGImages/a.png", "ImageSets/train.txt=a.png"],
        "train",
        ["JPEGImages/a.png"],
    ),
    "a list by its path": (
        ["Annotations/a.xml", "JPEGImages/a.png", "parts/mine.txt=a.png"],
        "parts/mine.txt",
        ["JPEGImages/a.png"],
    ),
    "a list beside it": (
        ["Annotations/a.xml", "JPEGImages/a.png", "JPEGImages/a.json.txt="], "all",
        ["JPEGImages/a.png"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_labelling_tools_are_read(tmp_path, layout):
    paths, split, expected = LAYOUTS[layout]
    write(tmp_path, *paths)
    source = VocSource(tmp_path, split)
    assert sorted(_names(source, tmp_path)) == sorted(expected)
    if split == "default":
        assert _names(source, tmp_path) == expected
    for index in range(len(source)):
        assert source[index].boxes.tolist() == [[1, 1, 5, 4]]


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPG", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"]
)
def test_images_of_every_type_that_opencv_decodes(tmp_path, suffix):
    write(tmp_path, f"Annotations/a.xml=a{suffix}", f"JPEGImages/a{suffix}")
    assert VocSource(tmp_path)[0].image.shape == (6, 8, 3)


def test_an_image_with_a_suffix_of_its_own_is_judged_by_its_content(tmp_path):
    write(tmp_path, "Annotations/a.xml=a.frame", "JPEGImages/a.png")
    (tmp_path / "JPEGImages/a.png").rename(tmp_path / "JPEGImages/a.frame")
    assert VocSource(tmp_path)[0].image.shape == (6, 8, 3)


# A line of the list and how many names are counted as read otherwise than they are written.
LINES = {
    "a": 0,
    "a.png": 0,
    "sub/a": 0,
    "sub/a.png": 0,
    "./sub/a.png": 0,
    "JPEGImages/sub/a.png": 0,
    "data/JPEGImages/sub/a": 0,
    "/home/me/VOC/JPEGImages/sub/a.png": 0,
    "sub\\a.png": 1,
    "C:\\me\\JPEGImages\\sub\\a.png": 1,
    "sub/a.png?v=3": 1,
    "sub%2Fa.png": 1,
    "SUB/A.PNG": 1,
}


@pytest.mark.parametrize("line", LINES)
def test_a_list_may_name_images_with_suffix_or_path(tmp_path, line):
    write(tmp_path, "Annotations/sub/a.xml", "JPEGImages/sub/a.png", "JPEGImages/b.png")
    write(tmp_path, "Annotations/b.xml", f"ImageSets/Main/train.txt={line}")
    source = VocSource(tmp_path, "train")
    assert _names(source, tmp_path) == ["JPEGImages/sub/a.png"]
    assert source.annotations(0).boxes.tolist() == [[1, 1, 5, 4]]
    assert source.census.changes == ({"renamed": 1} if LINES[line] else {})


# What is in the folder, the split, and what is said.
UNRESOLVED = {
    "another type": (
        ["Annotations/a.xml", "JPEGImages/a.tga"],
        "all",
        r"JPEGImages/a\.jpg: there is a\.tga, which OpenCV cannot read; convert it, or set",
    ),
    "two files": (
        ["Annotations/a.xml=a.jpeg", "JPEGImages/a.png", "JPEGImages/a.bmp"],
        "all",
        r"JPEGImages/a\.jpg: is a\.bmp or a\.png; name one of them in <filename> of a\.xml, or",
    ),
    "one XML, two folders": (
        ["Annotations/a.xml", "JPEGImages/1/a.png", "JPEGImages/2/a.png"],
        "all",
        r"JPEGImages/a\.jpg: may be 1/a or 2/a; put a\.xml into a folder that corresponds to that",
    ),
    "XML of another folder": (
        ["Annotations/2/a.xml", "JPEGImages/1/a.png", "JPEGImages/2/b.png", "Annotations/2/b.xml",
         "ImageSets/Main/train.txt=1/a\n2/b"],
        "train",
        r"JPEGImages/1/a\.png: has no XML \(1 of 2 images has none\)",
    ),
    "one XML for two listed": (
        ["Annotations/a.xml", "JPEGImages/1/a.png", "JPEGImages/2/a.png", "Annotations/b.xml",
         "JPEGImages/b.png", "ImageSets/Main/train.txt=1/a\nb\n2/a"],
        "train",
        r"JPEGImages/1/a\.png: has no XML \(2 of 3 images have none\)",
    ),
    "lost": (
        ["Annotations/a.xml", "JPEGImages/b.png"],
        "all",
        r"JPEGImages/a\.jpg: is missing \(a\.xml has no image\); add the file, or set",
    ),
    "lost with its suffix": (
        ["Annotations/b.xml", "JPEGImages/b.png", "ImageSets/Main/train.txt=a.PNG"],
        "train",
        r"JPEGImages/a\.PNG: is missing \(the split lists it\); add the file, or set",
    ),
    "two layouts": (
        ["Annotations/a.xml", "images/a.png", "Images/a.png"],
        "all",
        r"the files of JPEGImages may be those in Images and images; keep one of them, or name it",
    ),
    "a folder for each split": (
        ["train/a.xml", "train/a.png", "valid/b.xml", "valid/b.png"],
        "all",
        r"Annotations: there is no such folder; set config\.data\.voc\.train_folders, val_folders "
        r"or test_folders to one or more of \('train', 'valid'\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNRESOLVED)
def test_what_cannot_be_resolved_is_told_as_what_it_is(tmp_path, fault):
    paths, split, sentence = UNRESOLVED[fault]
    write(tmp_path, *paths)
    with pytest.raises(DataError, match=sentence) as caught:
        VocSource(tmp_path, split)
    message = str(caught.value)
    assert message.startswith(str(tmp_path)) and message.endswith(".") and "\n" not in message


def test_folders_of_xmls_beside_images_are_joined(tmp_path):
    write(tmp_path, "train/a.xml", "train/a.png", "valid/a.xml", "valid/a.png")
    source = VocSource(tmp_path, "all", ("train", "valid"))
    assert _names(source, tmp_path) == ["train/a.png", "valid/a.png"]
    with pytest.raises(DataError, match=r"train/a\.png: is the image of 'a' and of a\.xml, whose"):
        VocSource(tmp_path, "all", ("train", "train"))


def test_an_image_that_an_xml_of_another_name_has_is_not_listed_again(tmp_path):
    write(tmp_path, "Annotations/0001.xml=a.png", "JPEGImages/a.png", "JPEGImages/b.png")
    source = VocSource(tmp_path, "all", unannotated="empty")
    assert _names(source, tmp_path) == ["JPEGImages/a.png", "JPEGImages/b.png"]
    assert [not all(source.annotations(i).ignored) for i in range(len(source))] == [True, False]
