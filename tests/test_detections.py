import json

import numpy as np
import pytest
from PIL import Image

from ioub_jax.data.checks import DataError
from ioub_jax.data.given_images import GivenImage
from ioub_jax.detections import Detections
from ioub_jax.plotting.class_colors import class_color


@pytest.fixture
def found(tmp_path):
    """Two objects in an image of 100 x 200 pixels."""
    path = tmp_path / "image.png"
    Image.fromarray(np.full((100, 200, 3), 255, np.uint8)).save(path)
    return Detections(
        np.float32([[20, 10, 120, 60], [0, 50, 50, 100]]),
        np.float32([0.75, 0.5]),
        np.int32([1, 0]),
        ("nut\n", "bolt"),
        (100, 200),
        (44, 7),
        GivenImage(path),
    )


def of_count(count):
    zeros = np.zeros(count)
    return Detections(np.zeros((count, 4)), zeros, zeros.astype(int), ("a",) * count, (3, 4))


def test_a_line_says_what_was_found(found):
    assert repr(found) == "Detections(2 in 100x200: nut\\n 0.75, bolt 0.50)"
    assert repr([of_count(0)]) == "[Detections(0 in 3x4)]"
    assert repr(of_count(7)).endswith(
        f"({', '.join(['7 in 3x4: a 0.00', *['a 0.00'] * 4])}, 2 more)"
    )


def test_those_above_a_score_keep_what_belongs_to_them(found):
    few = found.above(0.6)
    assert (len(few), few.class_names, few.category_ids) == (1, ("nut\n",), (44,))
    assert few.image is found.image


def test_coco_has_the_ids_and_yolo_the_labels(found):
    assert found.to_coco(image_id="x") == [
        {"image_id": "x", "category_id": 44, "bbox": [20.0, 10.0, 100.0, 50.0], "score": 0.75},
        {"image_id": "x", "category_id": 7, "bbox": [0.0, 50.0, 50.0, 50.0], "score": 0.5},
    ]
    # Center (70, 35) and sides of (100, 50), of 200 and 100; (25, 75) and (50, 50).
    assert found.to_yolo() == (
        "1 0.350000 0.350000 0.500000 0.500000 0.750000\n"
        "0 0.125000 0.750000 0.250000 0.500000 0.500000\n"
    )
    assert (of_count(0).to_coco(), of_count(0).to_yolo()) == ([], "")
    assert of_count(1).to_coco()[0]["category_id"] == 0  # without ids the label


def test_the_duck_has_what_supervision_asks_for(found):
    duck = found.to_supervision()
    np.testing.assert_array_equal(duck.xyxy, found.boxes)
    assert duck.confidence.tolist() == [0.75, 0.5] and duck.class_id.tolist() == [1, 0]
    assert duck.data["class_name"].tolist() == ["nut\n", "bolt"]
    assert duck.mask is None and duck.tracker_id is None
    assert len(of_count(0).to_supervision()) == 0


def test_a_picture_has_the_boxes_at_a_size_that_can_be_read(found):
    # 480 / 200 is 2.4: three times the size.
    picture = np.asarray(found.draw())
    assert picture.shape == (300, 600, 3)
    color = [round(255 * part) for part in class_color(1)[:3]]
    assert picture[100, 60].tolist() == color and picture[100, 57].tolist() == [255] * 3
    # On another image of twice the size the boxes are at twice their place.
    other = np.zeros((200, 400, 3), np.uint8)
    on_other = np.asarray(found.draw(other))
    assert on_other.shape == (400, 800, 3)
    assert on_other[60, 80].tolist() == color and on_other[60, 75].tolist() == [0] * 3


def test_a_huge_image_is_drawn_shrunk(found, monkeypatch):
    monkeypatch.setattr("ioub_jax.detections.PICTURE_SIDES", (0, 100))
    picture = np.asarray(found.draw())
    assert picture.shape == (50, 100, 3)
    assert picture[29, 50].tolist() == [round(255 * part) for part in class_color(1)[:3]]


def test_files_are_of_the_kind_that_their_name_ends_with(found, tmp_path):
    for name, kind in (("a/b/x.PNG", "PNG"), ("x.jpeg", "JPEG"), ("x.webp", "WEBP")):
        found.save(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert (picture.format, picture.size) == (kind, (600, 300))
    found.save(str(tmp_path / "x.json"))
    assert json.loads((tmp_path / "x.json").read_text()) == found.to_coco()
    found.save(tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_text() == found.to_yolo()
    with pytest.raises(
        ValueError, match=r"x\.gif ends with '\.gif'; give a name that ends with .p"
    ):
        found.save(tmp_path / "x.gif")


def test_without_its_image_nothing_can_be_drawn(found, tmp_path):
    with pytest.raises(ValueError, match=r"have no image; give it, as in found\.draw"):
        of_count(1).draw()
    (tmp_path / "image.png").unlink()
    with pytest.raises(DataError, match=r"image\.png: cannot be read"):
        found.draw()
