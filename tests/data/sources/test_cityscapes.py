import json
import pickle
import shutil

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.cityscapes import CityscapesSource, visible_boxes

HEIGHT, WIDTH = 32, 64
NAMES = ("aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "bonn/bonn_000000_000019")


def _rectangle(left, top, right, bottom):
    """The corners of the pixels left..right, top..bottom, all inclusive."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def _object(label="car", polygon=None, **others):
    return {"label": label, "polygon": polygon or _rectangle(2, 3, 10, 12), **others}


def _image_path(root, name, split="train"):
    return root / "leftImg8bit" / split / f"{name}_leftImg8bit.png"


def _json_path(root, name, split="train"):
    return root / "gtFine" / split / f"{name}_gtFine_polygons.json"


def _annotate(root, name, *objects, split="train", height=HEIGHT):
    content = {"imgHeight": height, "imgWidth": WIDTH, "objects": objects}
    _json_path(root, name, split).write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    """A devkit of three images in two cities with a car each."""
    for name in NAMES:
        for path in (_image_path(tmp_path, name), _json_path(tmp_path, name)):
            path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (WIDTH, HEIGHT), (9, 8, 7)).save(_image_path(tmp_path, name))
        _annotate(tmp_path, name, _object())
    return tmp_path


def test_the_devkit_is_read(root):
    _annotate(root, NAMES[2])
    source = CityscapesSource(root, "train")
    assert [source.describe(i) for i in range(3)] == [str(_image_path(root, n)) for n in NAMES]
    assert [source.image_id(index) for index in range(3)] == [1, 2, 3]
    assert source.sizes.tolist() == [[HEIGHT, WIDTH]] * 3 and source.skipped == []
    assert source.classes[:4] == ("person", "rider", "car", "truck")
    assert source.classes[4:] == ("bus", "train", "motorcycle", "bicycle")
    assert source.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    example = source[1]
    assert example.image[0, 0].tolist() == [9, 8, 7] and example.image_id == 2
    # Columns 2..10 and rows 3..12 are 9 x 10 pixels.
    np.testing.assert_array_equal(example.boxes, [[2, 3, 11, 13]])
    np.testing.assert_array_equal(example.area, [90])
    assert example.labels.tolist() == [2] and not example.crowd.any()
    assert source[2].boxes.shape == (0, 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[1].boxes, example.boxes)


def test_a_box_encloses_what_later_polygons_leave_visible(root):
    _annotate(
        root,
        NAMES[0],
        _object("road", _rectangle(0, 0, 63, 31)),
        _object("car", _rectangle(10, 10, 29, 19)),  # its right half goes behind the truck
        _object("person", _rectangle(40, 20, 43, 27)),  # goes behind the wall altogether
        _object("truck", _rectangle(20, 5, 39, 25)),
        _object("wall", _rectangle(40, 0, 50, 31)),
        _object("license plate", _rectangle(10, 15, 19, 19)),  # is not drawn
        _object("bus", _rectangle(10, 10, 39, 31), deleted=1),  # neither
    )
    example = CityscapesSource(root, "train").annotations(0)
    np.testing.assert_array_equal(example.boxes, [[10, 10, 20, 20], [20, 5, 40, 26]])
    np.testing.assert_array_equal(example.area, [10 * 10, 20 * 21])
    assert example.labels.tolist() == [2, 3]


def test_a_group_is_a_crowd_with_a_box_of_its_own(root):
    _annotate(
        root,
        NAMES[0],
        _object("persongroup", _rectangle(0, 0, 9, 9)),
        _object("person", _rectangle(20, 0, 29, 9)),
        _object("persongroup", _rectangle(40, 0, 49, 9), deleted=0),
        _object("polegroup", _rectangle(40, 5, 49, 31)),
        _object("traffic signgroup", _rectangle(60, 0, 62, 9)),
    )
    example = CityscapesSource(root, "train").annotations(0)
    np.testing.assert_array_equal(example.boxes, [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 5]])
    assert example.labels.tolist() == [0, 0, 0] and example.crowd.tolist() == [True, False, True]


def test_a_polygon_that_leaves_its_image_is_clipped(root):
    _annotate(root, NAMES[0], _object(polygon=_rectangle(-9, -1, 5, 40)))
    np.testing.assert_array_equal(
        CityscapesSource(root, "train").annotations(0).boxes, [[0, 0, 6, 32]]
    )


def test_the_published_test_split_has_no_objects(root):
    for part in ("leftImg8bit", "gtFine"):
        shutil.copytree(root / part / "train", root / part / "test")
    for name in NAMES:
        _annotate(root, name, _object("out of roi"), _object("ego vehicle"), split="test")
    source = CityscapesSource(root, "test")
    assert len(source) == 3 and source[0].boxes.shape == (0, 4)


rectangles = st.tuples(
    st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 30), st.integers(0, 30)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(rectangles, st.booleans()), max_size=9))
def test_visible_boxes_are_those_of_a_painted_picture(drawn):
    canvas = np.full((HEIGHT, WIDTH), -1)
    polygons = []
    for number, ((left, top, right, bottom), _) in enumerate(drawn):
        canvas[top : top + bottom + 1, left : left + right + 1] = number
        corners = _rectangle(left, top, left + right, top + bottom)
        polygons.append(np.array(corners, np.int32))
    chosen = np.flatnonzero([is_chosen for _, is_chosen in drawn])
    boxes, area = visible_boxes(polygons, chosen, (HEIGHT, WIDTH))
    for number, box, pixels in zip(chosen, boxes, area, strict=True):
        rows, columns = np.nonzero(canvas == number)
        assert pixels == len(rows)
        expected = np.zeros(4)
        if len(rows):
            expected[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_array_equal(box, expected)


def test_visible_boxes_are_the_devkits_up_to_a_pixel_or_two():
    # json2instanceImg.py draws with Pillow.
    rng = np.random.default_rng(0)
    image = PIL.Image.new("I", (400, 300), 0)
    draw = PIL.ImageDraw.Draw(image)
    polygons = []
    for number in range(25):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))[:, None]
        radius, center = rng.uniform(15, 90, 2), rng.uniform(0, 1, 2) * (400, 300)
        corners = center + radius * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        polygons.append(np.rint(corners).astype(np.int32))
        draw.polygon([tuple(corner) for corner in polygons[-1].tolist()], fill=number + 1)
    boxes, area = visible_boxes(polygons, np.arange(25), (300, 400))
    pixels = np.asarray(image)
    same = 0
    for number in range(25):
        rows, columns = np.nonzero(pixels == number + 1)
        if area[number] < 100:
            continue
        expected = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(boxes[number] - expected).max() <= 2
        same += (boxes[number] == expected).all()
    assert same >= 0.6 * (area >= 100).sum() >= 10


def _write_json(text):
    return lambda root: _json_path(root, NAMES[1]).write_text(text)


def _with(*objects):
    return lambda root: _annotate(root, NAMES[1], *objects)


IMAGE_LEFT_OUT = [1, None, 1]
OBJECT_LEFT_OUT = [1, 1, 1]
BROKEN = r"_gtFine_polygons\.json: is not a JSON with imgHeight, imgWidth and objects \("

# What is done to image 2, the kind, the sentence, and the objects that 'skip' leaves of each image.
DAMAGE = {
    "image missing": (
        lambda root: _image_path(root, NAMES[1]).unlink(),
        "missing_image",
        r"aachen_000001_000019_leftImg8bit\.png: is missing although there is an annotation; add",
        IMAGE_LEFT_OUT,
    ),
    "annotation missing": (
        lambda root: _json_path(root, NAMES[1]).unlink(),
        "missing_annotation",
        r"aachen_000001_000019_gtFine_polygons\.json: is missing although there is an image; add",
        IMAGE_LEFT_OUT,
    ),
    "annotation empty": (_write_json(""), "broken_annotation", BROKEN, IMAGE_LEFT_OUT),
    "annotation cut off": (
        _write_json('{"imgHeight": 32, "imgWi'),
        "broken_annotation",
        BROKEN,
        IMAGE_LEFT_OUT,
    ),
    "annotation a list": (_write_json("[]"), "broken_annotation", BROKEN, IMAGE_LEFT_OUT),
    "no height": (
        _write_json('{"imgWidth": 64, "objects": []}'),
        "broken_annotation",
        BROKEN + "KeyError: 'imgHeight'",
        IMAGE_LEFT_OUT,
    ),
    "height a string": (
        _write_json('{"imgWidth": 64, "imgHeight": "32", "objects": []}'),
        "broken_annotation",
        BROKEN + "ValueError: imgHeight and imgWidth are '32' and 64",
        IMAGE_LEFT_OUT,
    ),
    "objects null": (
        _write_json('{"imgWidth": 64, "imgHeight": 32, "objects": null}'),
        "broken_annotation",
        BROKEN + "ValueError: objects is not a list",
        IMAGE_LEFT_OUT,
    ),
    "unknown label": (
        _with(_object("Auto"), _object()),
        "unknown_category",
        r"object number 1 has the label 'Auto', which the devkit does not have; correct it",
        OBJECT_LEFT_OUT,
    ),
    "no label": (
        _with({"polygon": []}, _object()),
        "broken_annotation",
        r"object number 1 has no label; correct or delete it",
        OBJECT_LEFT_OUT,
    ),
    "no object": (
        _with(_object(), 7),
        "broken_annotation",
        r"object number 2 has no label",
        OBJECT_LEFT_OUT,
    ),
    "no polygon": (
        _with({"label": "car"}, _object()),
        "bad_box",
        r"object number 1 \(car\) has a polygon, None, that is not a list of pairs of finite "
        "numbers",
        OBJECT_LEFT_OUT,
    ),
    **{
        f"polygon with {bad!r:.9}": (
            _with(_object(polygon=[[1, 1], [5, bad], [3, 9]]), _object()),
            "bad_box",
            r"object number 1 \(car\) has a polygon, .*, that is not a list of pairs of finite",
            OBJECT_LEFT_OUT,
        )
        for bad in (float("nan"), float("inf"), "7", None, [1], 10**9, 10**400)
    },
    "two corners": (
        _with(_object(), _object("person", [[1, 1], [5, 5]])),
        "no_area",
        r"object number 2 \(person\) has a polygon, .* that has 2 corners and therefore no area",
        OBJECT_LEFT_OUT,
    ),
    "outside": (
        _with(_object(), _object("person", _rectangle(64, 0, 70, 9))),
        "outside",
        r"object number 2 \(person\) has a polygon, .* that is outside its image of 64x32",
        OBJECT_LEFT_OUT,
    ),
}


def test_corners_between_pixels_are_rounded(root):
    # Columns 9.6..20.4 are the pixels 10..20; 63.7 is the pixel 64, just outside.
    edge, inside = _rectangle(63.7, 0, 70, 9), _rectangle(9.6, 3.4, 20.4, 8)
    _annotate(root, NAMES[0], _object(polygon=inside), _object(polygon=edge))
    source = CityscapesSource(root, "train", on_error="skip")
    example = source.annotations(0)
    np.testing.assert_array_equal(example.boxes[~example.ignored], [[10, 3, 21, 9]])
    assert [problem.kind for problem in source.skipped] == ["outside"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_gets_one_sentence_or_is_left_out_and_counted(root, damage):
    apply, kind, words, left = DAMAGE[damage]
    apply(root)
    with pytest.raises(DataError, match=words) as caught:
        CityscapesSource(root, "train")
    message = str(caught.value)
    print(f"{damage}: {message.replace(str(root), '...')}")
    assert caught.value.kind == kind
    assert message.startswith(str(root)) and message.endswith(".") and "\n" not in message
    assert ", or set config.data.on_error='skip' to leave the " in message
    source = CityscapesSource(root, "train", on_error="skip")
    assert [(problem.kind, problem.sentence) for problem in source.skipped] == [(kind, message)]
    examples = [source.annotations(index) for index in range(len(source))]
    counts = {example.image_id: int((~example.ignored).sum()) for example in examples}
    assert [counts.get(image_id) for image_id in (1, 2, 3)] == left
    # What was left out of an image is a region there: nothing of it is background.
    assert sum(example.ignored.sum() for example in examples) == (left == OBJECT_LEFT_OUT)


# An object beside a car, and the region that it leaves: its label, and where it is.
WHOLE = [0, 0, WIDTH, HEIGHT]
REGIONS = {
    "two corners, edges included": (_object("person", [[1, 1], [5, 4]]), (0, [1, 1, 6, 5])),
    "a line": (_object("person", [[4, 9], [7, 9]]), (0, [4, 9, 8, 10])),
    "unknown label": (_object("Auto", _rectangle(20, 3, 29, 12)), (-1, [20, 3, 30, 13])),
    "no place": ({"label": "bus"}, (4, WHOLE)),
    "outside": (_object("bus", _rectangle(64, 0, 70, 9)), (4, WHOLE)),
    "no object of a class": ({"label": "road"}, None),
}


@pytest.mark.parametrize("case", REGIONS)
def test_a_bad_object_leaves_a_region_to_ignore(root, case):
    bad, region = REGIONS[case]
    _annotate(root, NAMES[0], bad, _object())
    example = CityscapesSource(root, "train", on_error="skip").annotations(0)
    found = zip(example.labels[example.ignored], example.boxes[example.ignored], strict=True)
    assert [(label, box.tolist()) for label, box in found] == ([] if region is None else [region])
    assert example.boxes[~example.ignored].tolist() == [[2, 3, 11, 13]]


def test_what_sticks_out_or_is_repeated_is_counted(root):
    beyond = _object("bus", _rectangle(50, -4, 80, 20))
    on_the_edge = _object("person", _rectangle(0, 20, 64, 32))  # one pixel past the last, a habit
    group = _object("cargroup")
    _annotate(root, NAMES[0], _object(), beyond, _object(), on_the_edge, group, group)
    _image_path(root, NAMES[1]).unlink()
    source = CityscapesSource(root, "train", on_error="skip")
    example = source.annotations(0)
    # The group has the polygon of the cars and is drawn over them, so the one car is not seen.
    np.testing.assert_array_equal(example.boxes, [[50, 0, 64, 20], [0, 20, 64, 32], [2, 3, 11, 13]])
    assert example.crowd.tolist() == [False, False, True]
    assert source.census.changes == {"clipped": 1, "repeated": 2}
    # Three visible and two repeated ones, one car in each of the other images.
    assert (source.census.images, source.census.boxes) == (3, 7)


def test_an_image_of_another_size_gets_a_sentence_when_it_is_loaded(root):
    _annotate(root, NAMES[0], _object(), height=33)
    source = CityscapesSource(root, "train", on_error="skip")
    with pytest.raises(DataError, match=r"is 64x32 pixels but its annotation says 64x33"):
        source[0]


@pytest.mark.parametrize("missing", ["", "leftImg8bit", "gtFine", "gtFine/train"])
def test_a_missing_folder_is_named(root, missing):
    shutil.rmtree(root / missing)
    with pytest.raises(DataError, match=r"there is no such folder; set config\.data\.citysc") as at:
        CityscapesSource(root, "train", on_error="skip")
    assert at.value.kind == "folder"


def test_a_folder_without_images_and_a_split_of_bad_ones_raise_either_way(root):
    for name in NAMES:
        _json_path(root, name).write_text("")
    with pytest.raises(
        DataError, match=r"none of the 3 images of split 'train' can be used, the f"
    ):
        CityscapesSource(root, "train", on_error="skip")
    for name in NAMES:
        _image_path(root, name).unlink()
    with pytest.raises(DataError, match=r"leftImg8bit/train: has no \*/\*_leftImg8bit\.png; set c"):
        CityscapesSource(root, "train", on_error="skip")
