import pickle
import shutil
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.sources.voc import VOC_CLASSES, VocSource

BLOOD = ("RBC", "WBC", "Platelets")
CAT = VOC_CLASSES.index("cat")
WHOLE = [0, 0, 64, 48]  # the image


def _object(name="cat", box=(11, 21, 30, 40), extra=""):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return f"<object><name>{name}</name><bndbox>{inside}</bndbox>{extra}</object>"


def _xml(*objects, size=(64, 48)):
    width, height = size
    return (
        f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"{''.join(objects)}</annotation>"
    )


def _jpeg(width=64, height=48, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def _make_folder(root, names, split="train"):
    """A VOC folder whose images are good, with one cat each."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(_jpeg())
        (root / "Annotations" / f"{name}.xml").write_text(_xml(_object()))
    (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def folder(tmp_path):
    """Three good images, `a`, `b` and `c`, one cat each."""
    _make_folder(tmp_path, "abc")
    return tmp_path


def _write_xml(text, encoding="utf-8"):
    return lambda root: (root / "Annotations/b.xml").write_text(text, encoding=encoding)


def _write_image(data):
    return lambda root: (root / "JPEGImages/b.jpg").write_bytes(data)


# The kind, what is done to image `b`, what the sentence names and says, and what `skip` leaves of
# the folder: the images, and of `b`, where it is kept, the objects and the regions to ignore (their
# label and their box).
PARSING_DAMAGE = {
    "image missing": (
        "missing_image",
        lambda root: (root / "JPEGImages/b.jpg").unlink(),
        r"JPEGImages/b\.jpg: is missing \(b\.xml has no image\); add the file",
        ("ac", None),
    ),
    "xml missing": (
        "missing_annotation",
        lambda root: (root / "Annotations/b.xml").unlink(),
        r"JPEGImages/b\.jpg: has no XML \(1 of 3 images has none\); add what is missing, "
        r"set --config\.data\.voc\.unannotated=empty if",
        ("ac", None),
    ),
    "both missing": (
        "missing_image",
        lambda root: (root / "ImageSets/Main/train.txt").write_text("a\nlost\nc"),
        r"JPEGImages/lost\.jpg: is missing \(the split lists it\)",
        ("ac", None),
    ),
    "empty xml": (
        "broken_annotation",
        _write_xml(""),
        r"b\.xml: is broken XML \(.*\); repair the file",
        ("ac", None),
    ),
    "xml cut off": (
        "broken_annotation",
        _write_xml(_xml(_object())[:90]),
        r"b\.xml: is broken XML \(.*\); repair the file",
        ("ac", None),
    ),
    "xml with entities": (
        "broken_annotation",
        _write_xml('<!DOCTYPE x [<!ENTITY e "ee">]>' + _xml(_object())),
        r"b\.xml: declares XML entities; remove them",
        ("ac", None),
    ),
    "size no number": (
        "broken_annotation",
        _write_xml(_xml(size=("64px", 48))),
        r"b\.xml: has the <size> '64px' x '48'; correct or remove it",
        ("ac", None),
    ),
    "size negative": (
        "broken_annotation",
        _write_xml(_xml(size=(-64, 48))),
        r"b\.xml: has the <size> '-64' x '48'",
        ("ac", None),
    ),
    "size 0 of what is no image": (
        "unreadable_image",
        lambda root: [_write_xml(_xml(size=(0, 0)))(root), _write_image(b"no image")(root)],
        r"JPEGImages/b\.jpg: is not an image with a readable size, and its annotation has none",
        ("ac", None),
    ),
    # A line of 5..9 is the square of side 4 around it: x 4 + 2 to each side.
    "no area": (
        "no_area",
        _write_xml(_xml(_object(), _object(box=(5, 5, 5, 9)))),
        r"b\.xml: box 2 \(cat; 5, 5, 5, 9\) has no area, .*; fix or delete it",
        ("abc", 1, (CAT, [2, 4, 6, 8])),
    ),
    "a point": (
        "no_area",
        _write_xml(_xml(_object(box=(5, 5, 5, 5)), _object())),
        r"b\.xml: box 1 \(cat; 5, 5, 5, 5\) has no area",
        ("abc", 1, (CAT, WHOLE)),
    ),
    "outside": (
        "outside",
        _write_xml(_xml(_object(box=(66, 10, 70, 20)))),
        r"b\.xml: box 1 \(cat; 66, 10, 70, 20\) is outside its image of 64x48",
        ("abc", 0, (CAT, WHOLE)),
    ),
    "not a number": (
        "bad_box",
        _write_xml(_xml(_object(box=("nan", 10, 20, 20)))),
        r"b\.xml: box 1 .* lacks a number among xmin, ymin, xmax, ymax",
        ("abc", 0, (CAT, WHOLE)),
    ),
    "no box": (
        "bad_box",
        _write_xml(_xml("<object><name>cat</name></object>")),
        r"b\.xml: box 1 .* lacks a number",
        ("abc", 0, (CAT, WHOLE)),
    ),
    "xml a dangling link": (
        "broken_annotation",
        lambda root: [
            (root / "Annotations/b.xml").unlink(),
            (root / "Annotations/b.xml").symlink_to("nowhere"),
        ],
        r"b\.xml: cannot be read \(No such file or directory\); restore the file",
        ("ac", None),
    ),
    "size beyond belief": (
        "broken_annotation",
        _write_xml(_xml(size=(1e30, 48))),
        r"b\.xml: has the <size> '1e\+30' x '48'; correct or remove it",
        ("ac", None),
    ),
    "listed twice": (
        "duplicate_image",
        lambda root: (root / "ImageSets/Main/train.txt").write_text("a\nb\nc\nb\nb\n"),
        r"Main/train\.txt: lists b 3 times; delete the other lines",
        ("abc", 1),
    ),
    "two lines for one image": (
        "duplicate_image",
        lambda root: (root / "ImageSets/Main/train.txt").write_text("a\nb\nc\nb.jpg\n"),
        r"b\.jpg: is the image of 'b' and of b\.xml, whose 1 box would go with it; keep one of",
        ("abc", 1),
    ),
    "other letter case": (
        "unknown_category",
        _write_xml(_xml(_object(name="TV monitor"), _object())),
        r"b\.xml: has an object of no class of the list: "
        r"'TV monitor' \(1; write it 'tvmonitor' as in the list\); correct the names, or learn",
        ("abc", 1, (-1, [10, 20, 30, 40])),
    ),
    "unknown class": (
        "unknown_category",
        _write_xml(_xml(_object(name="Katze"), _object())),
        r"b\.xml: has an object of no class of the list: 'Katze' \(1\); correct the names, or learn"
        r" these too with --config\.data\.voc\.classes=aeroplane,.*,tvmonitor,Katze, or set",
        ("abc", 1, (-1, [10, 20, 30, 40])),
    ),
    "no name": (
        "unknown_category",
        _write_xml(_xml(_object(name=" "), _object())),
        r"b\.xml: has an object of no class of the list: without a name \(1\); name them, or set",
        ("abc", 1, (-1, [10, 20, 30, 40])),
    ),
    "unknown class without area": (
        "unknown_category",
        _write_xml(_xml(_object(name="Katze", box=(5, 5, 5, 9)), _object())),
        r"'Katze' \(1\)",
        ("abc", 1, (-1, [2, 4, 6, 8])),
    ),
}


@pytest.mark.parametrize("damage", PARSING_DAMAGE)
def test_damage_gets_a_sentence_or_is_skipped_and_counted(folder, damage):
    kind, apply, sentence, (left, objects, *ignored) = PARSING_DAMAGE[damage]
    apply(folder)
    with pytest.raises(DataError, match=sentence) as caught:
        VocSource(folder, "train", classes=VOC_CLASSES)
    assert caught.value.kind == kind
    message = str(caught.value)
    assert message.startswith(str(folder)) and message.endswith(".") and "\n" not in message
    assert "config.data.on_error='skip'" in message
    source = VocSource(folder, "train", classes=VOC_CLASSES, on_error="skip")
    assert source.skipped == [Problem(kind, message)]
    names = [source.describe(index)[-5:-4] for index in range(len(source))]
    assert "".join(names) == left
    assert [source.image_id(i) for i in range(len(source))] == [" abc".index(n) for n in left]
    if objects is not None:
        example = source.annotations(1)
        assert (~example.ignored).sum() == objects
        found = zip(example.labels[example.ignored], example.boxes[example.ignored], strict=True)
        assert [(label, box.tolist()) for label, box in found] == ignored


DECODING_DAMAGE = {
    "truncated": (_write_image(_jpeg()[:-200]), r"the image is truncated, .*; copy or download"),
    "only the head": (_write_image(_jpeg()[:100]), r"the image is truncated"),
    "no bytes": (_write_image(b""), r"is empty or not an image"),
    "not an image": (_write_image(b"<html>404</html>" * 9), r"is empty or not an image"),
    "other size": (
        _write_image(_jpeg(32, 48)),
        r"is 32x48 pixels but its annotation says 64x48; if the image was resized",
    ),
    "vanished": (lambda root: None, r"cannot be read \(No such file or directory\); restore"),
}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("damage", DECODING_DAMAGE)
def test_an_unreadable_image_gets_a_sentence_when_it_is_loaded(folder, damage, on_error):
    apply, sentence = DECODING_DAMAGE[damage]
    apply(folder)
    source = VocSource(folder, "train", on_error=on_error)
    if damage == "vanished":
        (folder / "JPEGImages/b.jpg").unlink()
    with pytest.raises(DataError, match=r"JPEGImages/b\.jpg: " + sentence) as caught:
        source[1]
    assert "or set config.data.on_error='skip' to " in str(caught.value)


@pytest.mark.parametrize("missing", ["", "Annotations", "JPEGImages"])
def test_a_missing_folder_is_named(folder, missing):
    target = folder / missing if missing else folder / "nowhere"
    if missing:
        shutil.rmtree(target)
    with pytest.raises(DataError, match=r"there is no such folder; set config\.data\.voc\.root"):
        VocSource(folder if missing else target, "train", on_error="skip")


def test_a_missing_split_file_is_named_with_those_there_are(folder):
    with pytest.raises(DataError, match=r"Main/val\.txt: there is no such split .*\['train'\]"):
        VocSource(folder, "val", on_error="skip")


def test_a_split_without_images_is_refused(folder):
    (folder / "ImageSets/Main/train.txt").write_text("\n\n")
    with pytest.raises(DataError, match="split 'train' has no images to load"):
        VocSource(folder, "train")
    (folder / "ImageSets/Main/train.txt").write_text("lost")
    with pytest.raises(DataError, match=r", the first left out is this: .*lost"):
        VocSource(folder, "train", on_error="skip")


def test_without_a_class_list_all_names_are_classes(folder, caplog):
    objects = [_object(name=name) for name in ("WBC", "RBC", "Zelle, groß", "RBC", "X", "x")]
    _write_xml(_xml(*objects))(folder)
    with caplog.at_level("INFO"):
        source = VocSource(folder, "train")
    assert source.classes == ("RBC", "WBC", "X", "Zelle, groß", "cat", "x")
    assert source.category_ids == (1, 2, 3, 4, 5, 6)
    assert source.annotations(1).labels.tolist() == [1, 0, 3, 2, 5]  # one RBC is there twice
    assert caplog.messages[1:] == ["classes: RBC, WBC, X, 'Zelle, groß', cat, x"]


def test_without_a_class_list_a_slip_in_a_name_is_no_class(folder):
    _write_xml(_xml(_object(name="Cat"), _object(name="dog")))(folder)
    sentence = r"b\.xml: has an object of .*'Cat' \(1; write it 'cat' .*classes=cat,dog,Cat, or set"
    with pytest.raises(DataError, match=sentence):
        VocSource(folder, "train")
    source = VocSource(folder, "train", on_error="skip")
    assert source.classes == ("cat", "dog")
    assert source.annotations(1).labels.tolist() == [-1, 1]
    assert VocSource(folder, "train", classes=("cat", "dog", "Cat")).skipped == []


def test_a_split_may_lack_classes_of_the_list(folder):
    source = VocSource(folder, "train", classes=("dog", "cat", "ant"))
    assert source.classes == ("dog", "cat", "ant") and source.annotations(0).labels.tolist() == [1]


def test_names_that_are_no_classes_are_told_once_each_with_a_count(folder):
    names = ["kat", "kat", "Dog", "washer"]
    for image in "ac":
        objects = [
            _object(name=name, box=(1, 1, 9, 9 + n)) for n, name in enumerate([*names, "cat"])
        ]
        (folder / f"Annotations/{image}.xml").write_text(_xml(*objects))
    with pytest.raises(DataError) as caught:
        VocSource(folder, "train", classes=("cat", "dog"))
    assert str(caught.value) == (
        f"{folder}/Annotations/a.xml: has the first of 8 objects of no class of the list: "
        "'kat' (4; perhaps 'cat'), 'Dog' (2; write it 'dog' as in the list), 'washer' (2); "
        "correct the names, or learn these too with "
        "--config.data.voc.classes=cat,dog,Dog,kat,washer, "
        "or set config.data.on_error='skip' to leave the boxes out."
    )
    source = VocSource(folder, "train", classes=("cat", "dog"), on_error="skip")
    (problem,) = source.skipped
    assert problem.count == 8
    assert source.annotations(0).labels.tolist() == [-1, -1, -1, -1, 0]


def test_an_unknown_on_error_is_refused(folder):
    with pytest.raises(ValueError, match=r"^on_error is 'ignore'"):
        VocSource(folder, "train", on_error="ignore")


def test_images_without_objects_are_kept_as_background(folder):
    _write_xml(_xml())(folder)
    source = VocSource(folder, "train")
    assert len(source) == 3 and source[1].boxes.shape == (0, 4) and source.skipped == []


def test_a_class_list_with_a_name_twice_is_refused(folder):
    with pytest.raises(ValueError, match=r"^classes has .* twice; name each class once"):
        VocSource(folder, "train", classes=("cat", "dog", "cat"))


def test_boxes_become_zero_based_and_right_exclusive(folder):
    # As the devkit counts, columns 11..30 are 20 pixels wide; a part of an object is no object.
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    whole = _object(box=(1, 1, 64, 48))  # another cat
    float_box = _object(name=" dog ", box=("11.5", "20", "30.5", "40"))
    _write_xml(_xml(_object(extra="<difficult>1</difficult>" + part), whole, float_box))(folder)
    example = VocSource(folder, "train", classes=VOC_CLASSES)[1]
    expected = [[10, 20, 30, 40], [0, 0, 64, 48], [10.5, 19, 30.5, 40]]
    np.testing.assert_array_equal(example.boxes, np.array(expected, np.float32))
    assert [VOC_CLASSES[label] for label in example.labels] == ["cat", "cat", "dog"]
    assert example.difficult.tolist() == [True, False, False] and not example.crowd.any()
    np.testing.assert_array_equal(example.area, [400, 3072, 420])
    assert example.image_id == 2


def test_boxes_that_stick_out_are_clipped_and_counted(folder):
    slip, beyond, far = (0, 0, 65, 49), (60, 10, 70, 20), (-900, 10, 20, 5000)
    _write_xml(_xml(*(_object(box=box) for box in (slip, beyond, far, (1, 1, 64, 48)))))(folder)
    source = VocSource(folder, "train")
    # xmin - 1 to xmax: 60..70 are columns 59 to 64 of 64. The last is as the first when clipped,
    # but it is another box: nothing says that it is the same object.
    expected = [[0, 0, 64, 48], [59, 9, 64, 20], [0, 9, 20, 48], [0, 0, 64, 48]]
    np.testing.assert_array_equal(source.annotations(1).boxes, expected)
    assert source.census.changes == {"clipped": 3} and source.skipped == []


def test_exchanged_corners_are_put_in_order_and_counted(folder):
    boxes = (30, 40, 11, 21), (30, 21, 11, 39), (80, 21, 11, 40)
    _write_xml(_xml(*(_object(box=box) for box in boxes)))(folder)
    source = VocSource(folder, "train")
    np.testing.assert_array_equal(
        source.annotations(1).boxes, [[10, 20, 30, 40], [10, 20, 30, 39], [10, 20, 64, 40]]
    )
    assert source.census.changes == {"exchanged": 3, "clipped": 1}


def test_repeated_objects_are_left_out_and_counted(folder):
    first, again = _object(), _object(box=(30, 40, 11, 21), extra="<difficult>1</difficult>")
    other = _object(name="dog")
    _write_xml(_xml(first, other, again, first))(folder)
    source = VocSource(folder, "train")
    assert source.annotations(1).labels.tolist() == [0, 1]
    assert not source.annotations(1).difficult.any()
    assert source.census.changes == {"repeated": 2}
    # Of the images a and c, too, which have the same cat.
    assert (source.census.images, source.census.boxes) == (3, 6)


def test_the_census_counts_what_is_left_out_as_well(folder):
    _write_xml(_xml(_object(), _object(box=(9, 9, 9, 9))))(folder)
    (folder / "JPEGImages/c.jpg").unlink()
    source = VocSource(folder, "train", on_error="skip")
    # Boxes: a 1, b 2 of which one is a region to ignore, c 1.
    assert (source.census.images, source.census.boxes) == (3, 4)
    assert len(source) == 2 and [
        not all(source.annotations(i).ignored) for i in range(len(source))
    ] == [True, True]


@pytest.mark.parametrize("size", ["<size><width>0</width><height>0</height></size>", "", "<size/>"])
def test_a_size_that_the_xml_lacks_is_the_files(folder, size):
    _write_xml(f"<annotation>{size}{_object()}</annotation>")(folder)
    _write_image(_jpeg(70, 45))(folder)
    source = VocSource(folder, "train")
    assert source.sizes.tolist() == [[48, 64], [45, 70], [48, 64]]
    assert source[1].image.shape == (45, 70, 3)


def test_images_without_xml_may_be_ones_without_objects(folder):
    for name in "bc":
        (folder / f"Annotations/{name}.xml").unlink()
    with pytest.raises(DataError, match=r"b\.jpg: has no XML \(2 of 3 images have none\); add"):
        VocSource(folder, "all")
    source = VocSource(folder, "all", on_error="skip")
    assert len(source) == 1 and [problem.count for problem in source.skipped] == [2]
    source = VocSource(folder, "train", unannotated="empty")
    assert len(source) == 3 and source.skipped == [] and source.sizes[1].tolist() == [48, 64]
    assert [not all(source.annotations(i).ignored) for i in range(len(source))] == [
        True,
        False,
        False,
    ]
    assert source.annotation_file(0) == folder / "Annotations/a.xml"
    chosen = source.select(np.array([2, 0]))
    assert [chosen.annotation_file(i) for i in range(2)] == [None, source.annotation_file(0)]
    (folder / "Annotations/a.xml").unlink()
    assert len(VocSource(folder, "train", unannotated="empty")) == 3
    with pytest.raises(
        ValueError, match=r"^unannotated is 'ignore' and must be one of \('problem'"
    ):
        VocSource(folder, "train", unannotated="ignore")


def test_pixels_are_rgb_and_gray_or_png_images_are_read(folder):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    (folder / "JPEGImages/b.jpg").unlink()
    cv2.imwrite(str(folder / "JPEGImages/b.png"), red)
    cv2.imwrite(str(folder / "JPEGImages/c.jpg"), np.full((48, 64), 77, np.uint8))
    source = VocSource(folder, "train")
    assert source[1].image[0, 0].tolist() == [255, 0, 0]
    assert source[2].image.shape == (48, 64, 3) and (source[2].image == 77).all()


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_truncated(folder):
    jpeg, thumbnail = _jpeg(), _jpeg(16, 16)
    segment = b"Exif\0\0" + thumbnail
    header = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    with_thumbnail = jpeg[:2] + header + jpeg[2:]
    path = folder / "JPEGImages/b.jpg"
    path.write_bytes(with_thumbnail + b"trailing bytes do no harm")
    assert VocSource(folder, "train")[1].image.shape == (48, 64, 3)
    path.write_bytes(with_thumbnail[:-99])
    with pytest.raises(DataError, match="truncated"):
        VocSource(folder, "train")[1]


def test_every_cut_of_a_real_photo_is_noticed(shared_data, folder):
    photo = next((shared_data / "voc2012_100/JPEGImages").glob("*.jpg")).read_bytes()
    for cut in np.linspace(1, len(photo) - 1, 40).astype(int):
        _write_image(photo[:cut])(folder)
        with pytest.raises(DataError, match=r"truncated|not an image"):
            VocSource(folder, "train")[1]


@pytest.mark.parametrize(
    ("split", "images", "boxes", "degenerate"),
    [("train", 205, 2805, 1), ("val", 87, 1138, 1), ("test", 72, 945, 0)],
)
def test_blood_cells(shared_data, split, images, boxes, degenerate):
    source = VocSource(shared_data / "bccd", split, classes=BLOOD, on_error="skip")
    assert len(source) == images
    ignored = [source.annotations(i).ignored for i in range(images)]
    assert sum((~flags).sum() for flags in ignored) == boxes - degenerate
    assert sum(flags.sum() for flags in ignored) == degenerate
    assert (source.census.boxes, source.census.changes) == (boxes, {})
    assert len(source.skipped) == degenerate
    assert (source.sizes == [480, 640]).all()
    assert source[0].image.shape == (480, 640, 3)
    if degenerate:
        with pytest.raises(
            DataError, match=r"BloodImage_003(43|38)\.xml: box \d+ \(RBC; .*no area"
        ):
            VocSource(shared_data / "bccd", split, classes=BLOOD)


def test_voc_2012(shared_data):
    source = VocSource(shared_data / "voc2012_100")
    examples = [source.annotations(index) for index in range(len(source))]
    assert len(source) == 100 and source.classes == VOC_CLASSES
    assert sum(len(example.labels) for example in examples) == 273
    assert sum(example.difficult.sum() for example in examples) == 38
    # 2007_000027: one person, 174 101 349 351 in its file.
    np.testing.assert_array_equal(source[0].boxes, [[173, 100, 349, 351]])
    assert source[0].labels.tolist() == [14] and source.sizes[0].tolist() == [500, 486]
    for index, example in enumerate(examples):
        name = source.describe(index)[-15:-4]
        written = _corners(shared_data / f"voc2012_100/Annotations/{name}.xml")
        sides = example.boxes[:, 2:] - example.boxes[:, :2]
        np.testing.assert_array_equal(sides, written[:, 2:] - written[:, :2] + 1)  # devkit's
    source = VocSource(shared_data / "voc2012_100", "all", pixels="zero_based")
    np.testing.assert_array_equal(source[0].boxes, [[174, 101, 349, 351]])


def _corners(path):
    boxes = ElementTree.parse(path).getroot().findall("object/bndbox")
    names = ("xmin", "ymin", "xmax", "ymax")
    return np.array([[float(box.findtext(name)) for name in names] for box in boxes])


@pytest.fixture
def devkit(tmp_path):
    """A miniature VOCdevkit: `a`, `b` in VOC2007, `y`, `x` in VOC2012, and tests of both."""
    root = tmp_path / "VOCdevkit"
    _make_folder(root / "VOC2007", "ab", "trainval")
    _make_folder(root / "VOC2007", "t", "test")
    _make_folder(root / "VOC2012", "yx", "trainval")
    _make_folder(root / "VOC2012", "uv", "test")
    for name in "uv":  # the devkit has none of these
        (root / f"VOC2012/Annotations/{name}.xml").unlink()
    return root


def test_folders_are_joined_in_order(devkit):
    source = VocSource(devkit, "trainval", ("VOC2007", "VOC2012"))
    names = [source.describe(index)[len(str(devkit)) :] for index in range(4)]
    pattern = "/VOC{}/JPEGImages/{}.jpg"
    assert names == [pattern.format(*image) for image in ((2007, "a"), (2007, "b"))] + [
        pattern.format(*image) for image in ((2012, "y"), (2012, "x"))
    ]
    assert [source.image_id(index) for index in range(4)] == [1, 2, 3, 4]
    assert len(VocSource(devkit, "trainval", ("VOC2012",))) == 2
    assert len(VocSource(devkit / "VOC2007", "test")) == 1


def test_ids_through_folders_stay_whatever_is_skipped_or_selected(devkit):
    (devkit / "VOC2007/JPEGImages/b.jpg").unlink()
    source = VocSource(devkit, "trainval", ("VOC2007", "VOC2012"), on_error="skip")
    assert [source.image_id(index) for index in range(3)] == [1, 3, 4]
    assert [problem.kind for problem in source.skipped] == ["missing_image"]
    chosen = pickle.loads(pickle.dumps(source.select(np.array([2, 0]))))
    assert [chosen[index].image_id for index in range(2)] == [4, 1]
    assert chosen.describe(0).endswith("x.jpg") and len(chosen) == len(chosen.sizes) == 2


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_test_split_without_annotations_gets_a_sentence(devkit, on_error):
    sentence = r"VOC2012/Annotations: none of the 2 images of .*test\.txt has an XML here .*VOC2012"
    with pytest.raises(DataError, match=sentence) as caught:
        VocSource(devkit, "test", ("VOC2007", "VOC2012"), on_error=on_error)
    assert caught.value.kind == "missing_annotation"


# Root and folders below the one that holds VOCdevkit, and what the sentence tells to set.
WRONG_PLACES = {
    "devkit as a folder": (
        "VOCdevkit",
        ".",
        r"set config\.data\.voc\.train_folders, val_folders or test_folders "
        r"to one or more of \('VOC2007', 'VOC2012'\)\.",
    ),
    "a year it lacks": ("VOCdevkit", "VOC2010", r"one or more of \('VOC2007', 'VOC2012'\)\."),
    "above the devkit": (".", "VOC2007", r"set config\.data\.voc\.root to .*VOCdevkit\."),
    "a year as root": (
        "VOCdevkit/VOC2007",
        "VOC2007",
        r"VOC2007 itself contains them, set config\..*test_folders to \('\.',\)\.",
    ),
    "nothing there": ("VOCdevkit/VOC2007/Annotations", ".", r"set config\.data\.voc\.root to the"),
}


@pytest.mark.parametrize("place", WRONG_PLACES)
def test_a_wrong_place_is_told_with_the_key_to_set(devkit, place):
    root, name, sentence = WRONG_PLACES[place]
    with pytest.raises(DataError, match=sentence) as caught:
        VocSource(devkit.parent / root, "trainval", (name,), on_error="skip")
    assert caught.value.kind == "folder"


def test_the_list_of_one_class_is_refused(devkit):
    lists = devkit / "VOC2007/ImageSets/Main"
    (lists / "cat_trainval.txt").write_text("a -1\nb  1\n")
    with pytest.raises(DataError, match=r"cat_trainval\.txt: is the devkit's list of one class"):
        VocSource(devkit, "cat_trainval", ("VOC2007",), on_error="skip")
    # They are not offered either: the devkit has sixty.
    with pytest.raises(DataError, match=r"the folder has \['test', 'trainval'\]"):
        VocSource(devkit, "val", ("VOC2007",))


def test_coordinates_taken_as_written(folder):
    inside, slip, beyond = (0, 0, 64, 48), (-1, -0.05, 20, 48.05), (64.2, 3, 64.9, 9)
    boxes = [_object(box=box) for box in (inside, slip, beyond)]
    _write_xml(_xml(*boxes))(folder)
    source = VocSource(folder, "train", on_error="skip", pixels="zero_based")
    np.testing.assert_array_equal(source[1].boxes, [[0, 0, 64, 48], [0, 0, 20, 48], WHOLE])
    assert source[1].ignored.tolist() == [False, False, True]
    assert [problem.kind for problem in source.skipped] == ["outside"]
    assert source.census.changes == {"clipped": 1}


def test_as_the_devkit_of_2011_writes_objects(folder):
    head = "<bndbox><xmin>45.7</xmin><ymin>9</ymin><xmax>47</xmax><ymax>12</ymax></bndbox>"
    text = (
        "<object><part><name>head</name>" + head + "</part><name>person</name>"
        "<bndbox><xmax>51.99999</xmax><xmin>45.70000</xmin><ymax>40</ymax><ymin>5.2</ymin></bndbox>"
        "<actions><other>1</other></actions></object>"
    )
    _write_xml(_xml(text))(folder)
    example = VocSource(folder, "train", classes=VOC_CLASSES)[1]
    np.testing.assert_allclose(example.boxes, [[44.7, 4.2, 51.99999, 40]], rtol=1e-6)
    assert VOC_CLASSES[example.labels[0]] == "person" and not example.difficult[0]
