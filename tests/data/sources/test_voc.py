import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import create_source
from ioub_jax.data.sources.voc import VOC_CLASSES, VocFolderSource

BLOOD = ("RBC", "WBC", "Platelets")


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


@pytest.fixture
def folder(tmp_path):
    """Three good images, `a`, `b` and `c`, one cat each."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    for name in "abc":
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(_jpeg())
        (tmp_path / "Annotations" / f"{name}.xml").write_text(_xml(_object()))
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\nc\n")
    return tmp_path


def _write_xml(text, encoding="utf-8"):
    return lambda root: (root / "Annotations/b.xml").write_text(text, encoding=encoding)


def _write_image(data):
    return lambda root: (root / "JPEGImages/b.jpg").write_bytes(data)


# What is done to image `b`, what the sentence names and says, and what `skip` leaves of the folder:
# the images, and the objects of `b` where it is kept.
PARSING_DAMAGE = {
    "image missing": (
        lambda root: (root / "JPEGImages/b.jpg").unlink(),
        r"JPEGImages/b\.jpg: is missing \(b\.xml has no image\); add the file",
        ("ac", None),
    ),
    "xml missing": (
        lambda root: (root / "Annotations/b.xml").unlink(),
        r"Annotations/b\.xml: b\.jpg has no XML; add the file",
        ("ac", None),
    ),
    "both missing": (
        lambda root: (root / "ImageSets/Main/train.txt").write_text("a\nlost\nc"),
        r"JPEGImages/lost\.jpg: is missing \(the split lists it\)",
        ("ac", None),
    ),
    "empty xml": (_write_xml(""), r"b\.xml: is broken XML \(.*\); repair the file", ("ac", None)),
    "xml cut off": (
        _write_xml(_xml(_object())[:90]),
        r"b\.xml: is broken XML \(.*\); repair the file",
        ("ac", None),
    ),
    "xml with entities": (
        _write_xml('<!DOCTYPE x [<!ENTITY e "ee">]>' + _xml(_object())),
        r"b\.xml: declares XML entities; remove them",
        ("ac", None),
    ),
    "no size": (
        _write_xml("<annotation></annotation>"),
        r"b\.xml: has no usable <size>.*; add it",
        ("ac", None),
    ),
    "size zero": (_write_xml(_xml(size=(0, 0))), r"b\.xml: has no usable <size>", ("ac", None)),
    "no area": (
        _write_xml(_xml(_object(), _object(box=(5, 5, 5, 9)))),
        r"b\.xml: box 2 \(cat; 5, 5, 5, 9\) has no area, .*; fix or delete it",
        ("abc", 1),
    ),
    "corners swapped": (
        _write_xml(_xml(_object(box=(30, 40, 11, 21)), _object())),
        r"b\.xml: box 1 \(cat; 30, 40, 11, 21\) has no area",
        ("abc", 1),
    ),
    "outside": (
        _write_xml(_xml(_object(box=(60, 10, 70, 20)))),
        r"b\.xml: box 1 \(cat; 60, 10, 70, 20\) is outside its image of 64x48",
        ("abc", 0),
    ),
    "negative": (
        _write_xml(_xml(_object(box=(-9, 10, 20, 20)))),
        r"b\.xml: box 1 .* is outside its image",
        ("abc", 0),
    ),
    "not a number": (
        _write_xml(_xml(_object(box=("nan", 10, 20, 20)))),
        r"b\.xml: box 1 .* lacks a number among xmin, ymin, xmax, ymax",
        ("abc", 0),
    ),
    "no box": (
        _write_xml(_xml("<object><name>cat</name></object>")),
        r"b\.xml: box 1 .* lacks a number",
        ("abc", 0),
    ),
    "unknown class": (
        _write_xml(_xml(_object(name="Katze"), _object())),
        r"b\.xml: has an object of class 'Katze', which is not in the list; add it to config\.",
        ("abc", 1),
    ),
}


@pytest.mark.parametrize("damage", PARSING_DAMAGE)
def test_damage_gets_a_sentence_or_is_skipped_and_counted(folder, damage):
    apply, sentence, (left, objects) = PARSING_DAMAGE[damage]
    apply(folder)
    with pytest.raises(DataError, match=sentence) as caught:
        VocFolderSource(folder, "train", classes=VOC_CLASSES)
    message = str(caught.value)
    assert message.startswith(str(folder)) and message.endswith(".") and "\n" not in message
    assert "config.data.on_error='skip'" in message
    source = VocFolderSource(folder, "train", classes=VOC_CLASSES, on_error="skip")
    assert source.skipped == [message]
    names = [source.describe(index)[-5:-4] for index in range(len(source))]
    assert "".join(names) == left
    assert [source.image_id(i) for i in range(len(source))] == [" abc".index(n) for n in left]
    if objects is not None:
        assert len(source[1].labels) == objects


DECODING_DAMAGE = {
    "truncated": (_write_image(_jpeg()[:-200]), r"the image is truncated, .*; copy or download"),
    "only the head": (_write_image(_jpeg()[:100]), r"the image is truncated"),
    "no bytes": (_write_image(b""), r"is empty or no image"),
    "not an image": (_write_image(b"<html>404</html>" * 9), r"is empty or no image"),
    "other size": (
        _write_image(_jpeg(32, 48)),
        r"is 32x48 pixels but its XML says 64x48; make them agree",
    ),
    "vanished": (lambda root: None, r"cannot be read \(No such file or directory\); restore"),
}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("damage", DECODING_DAMAGE)
def test_an_unreadable_image_gets_a_sentence_when_it_is_loaded(folder, damage, on_error):
    apply, sentence = DECODING_DAMAGE[damage]
    apply(folder)
    source = VocFolderSource(folder, "train", on_error=on_error)
    if damage == "vanished":
        (folder / "JPEGImages/b.jpg").unlink()
    with pytest.raises(DataError, match=r"JPEGImages/b\.jpg: " + sentence) as caught:
        source[1]
    assert "or set config.data.on_error='skip' to " in str(caught.value)


@pytest.mark.parametrize("missing", ["", "Annotations", "JPEGImages"])
def test_a_missing_folder_is_named(folder, missing):
    target = folder / missing if missing else folder / "nowhere"
    if missing:
        target.rename(folder / "elsewhere")
    with pytest.raises(DataError, match=r"there is no such folder; set config\.data\.voc\.root"):
        VocFolderSource(folder if missing else target, "train", on_error="skip")


def test_a_missing_split_file_is_named_with_those_there_are(folder):
    with pytest.raises(DataError, match=r"Main/val\.txt: there is no such split .*\['train'\]"):
        VocFolderSource(folder, "val", on_error="skip")


def test_a_split_without_images_is_refused(folder):
    (folder / "ImageSets/Main/train.txt").write_text("\n\n")
    with pytest.raises(DataError, match="split 'train' has no images to load"):
        VocFolderSource(folder, "train")
    (folder / "ImageSets/Main/train.txt").write_text("lost")
    with pytest.raises(DataError, match=r"; 1 images or boxes left out, the first: .*lost"):
        VocFolderSource(folder, "train", on_error="skip")


def test_without_a_class_list_other_names_than_vocs_are_told(folder):
    _write_xml(_xml(_object(name="RBC"), _object(name="WBC")))(folder)
    with pytest.raises(DataError, match=r"set config.data.voc.classes=\('RBC', 'WBC', 'cat'\)"):
        VocFolderSource(folder, "train")


def test_an_unknown_on_error_is_refused(folder):
    with pytest.raises(ValueError, match=r"config.data.on_error is 'ignore'"):
        VocFolderSource(folder, "train", on_error="ignore")


def test_images_without_objects_are_background_or_left_out(folder):
    _write_xml(_xml())(folder)
    source = VocFolderSource(folder, "train")
    assert len(source) == 3 and source[1].boxes.shape == (0, 4) and source.skipped == []
    without = VocFolderSource(folder, "train", keep_empty=False)
    assert len(without) == 2
    assert [sentence.split(": ")[1][:14] for sentence in without.skipped] == ["has no objects"]


def test_boxes_become_zero_based_and_right_exclusive(folder):
    # As the devkit counts, columns 11..30 are 20 pixels wide; a part of an object is no object.
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    whole = _object(box=(1, 1, 64, 48))
    float_box = _object(name=" dog ", box=("11.5", "20", "30.5", "40"))
    _write_xml(_xml(_object(extra="<difficult>1</difficult>" + part), whole, float_box))(folder)
    example = VocFolderSource(folder, "train")[1]
    expected = [[10, 20, 30, 40], [0, 0, 64, 48], [10.5, 19, 30.5, 40]]
    np.testing.assert_array_equal(example.boxes, np.array(expected, np.float32))
    assert [VOC_CLASSES[label] for label in example.labels] == ["cat", "cat", "dog"]
    assert example.difficult.tolist() == [True, False, False] and not example.crowd.any()
    np.testing.assert_array_equal(example.area, [400, 3072, 420])
    assert example.image_id == 2


def test_a_box_one_pixel_outside_is_clipped(folder):
    _write_xml(_xml(_object(box=(0, 0, 65, 49))))(folder)
    example = VocFolderSource(folder, "train")[1]
    np.testing.assert_array_equal(example.boxes, [[0, 0, 64, 48]])


def test_pixels_are_rgb_and_grey_or_png_images_are_read(folder):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    (folder / "JPEGImages/b.jpg").unlink()
    cv2.imwrite(str(folder / "JPEGImages/b.png"), red)
    cv2.imwrite(str(folder / "JPEGImages/c.jpg"), np.full((48, 64), 77, np.uint8))
    source = VocFolderSource(folder, "train")
    assert source[1].image[0, 0].tolist() == [255, 0, 0]
    assert source[2].image.shape == (48, 64, 3) and (source[2].image == 77).all()


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_truncated(folder):
    jpeg, thumbnail = _jpeg(), _jpeg(16, 16)
    segment = b"Exif\0\0" + thumbnail
    header = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    with_thumbnail = jpeg[:2] + header + jpeg[2:]
    path = folder / "JPEGImages/b.jpg"
    path.write_bytes(with_thumbnail + b"trailing bytes do no harm")
    assert VocFolderSource(folder, "train")[1].image.shape == (48, 64, 3)
    path.write_bytes(with_thumbnail[:-99])
    with pytest.raises(DataError, match="truncated"):
        VocFolderSource(folder, "train")[1]


def test_every_cut_of_a_real_photo_is_noticed(shared_data, folder):
    photo = next((shared_data / "voc2012_100/JPEGImages").glob("*.jpg")).read_bytes()
    for cut in np.linspace(1, len(photo) - 1, 40).astype(int):
        _write_image(photo[:cut])(folder)
        with pytest.raises(DataError, match=r"truncated|no image"):
            VocFolderSource(folder, "train")[1]


@pytest.mark.parametrize(
    ("split", "images", "boxes", "degenerate"),
    [("train", 205, 2805, 1), ("val", 87, 1138, 1), ("test", 72, 945, 0)],
)
def test_blood_cells(shared_data, split, images, boxes, degenerate):
    source = VocFolderSource(shared_data / "bccd", split, classes=BLOOD, on_error="skip")
    assert len(source) == images
    assert sum(len(source.annotations(i).labels) for i in range(images)) == boxes - degenerate
    assert len(source.skipped) == degenerate
    assert (source.sizes == [480, 640]).all()
    assert source[0].image.shape == (480, 640, 3)
    if degenerate:
        with pytest.raises(
            DataError, match=r"BloodImage_003(43|38)\.xml: box \d+ \(RBC; .*no area"
        ):
            VocFolderSource(shared_data / "bccd", split, classes=BLOOD)


def test_voc_2012(shared_data):
    source = VocFolderSource(shared_data / "voc2012_100")
    examples = [source.annotations(index) for index in range(len(source))]
    assert len(source) == 100 and source.classes == VOC_CLASSES
    assert sum(len(example.labels) for example in examples) == 273
    assert sum(example.difficult.sum() for example in examples) == 38
    # 2007_000027: one person, 174 101 349 351 in its file.
    np.testing.assert_array_equal(source[0].boxes, [[173, 100, 349, 351]])
    assert source[0].labels.tolist() == [14] and source.sizes[0].tolist() == [500, 486]


def _config(**changes):
    config = ConfigDict(
        {
            "source": "voc",
            "on_error": "skip",
            "shapes": {"num_train": 9, "num_val": 4, "image_size": (64, 96), "seed": 1},
            "voc": {
                "root": "",
                "train_split": "train",
                "val_split": "train",
                "test_split": "all",
                "classes": (),
                "keep_empty": True,
            },
        }
    )
    config.update(changes)
    return config


def test_create_source(folder):
    config = _config()
    config.voc.root = str(folder)
    assert len(create_source(config, "train")) == len(create_source(config, "test")) == 3
    config.source = "shapes"
    train, val = create_source(config, "train"), create_source(config, "val")
    assert (len(train), len(val)) == (9, 4) and train.sizes[0].tolist() == [64, 96]
    assert train[0].image.tobytes() != val[0].image.tobytes()
    with pytest.raises(ValueError, match="'minival'"):
        create_source(config, "minival")
    config.source = "cocoa"
    with pytest.raises(ValueError, match=r"config.data.source is 'cocoa'"):
        create_source(config, "train")
