"""Reading numbers as written survives whatever a source survives."""

import json

import numpy as np

from ioub_jax.data.audit.written_boxes import read_coco_boxes, read_voc_boxes, read_yolo_boxes


def test_coco_boxes_without_four_numbers_or_a_known_image_are_left_out(tmp_path):
    good = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3.5, 4]}
    content = {
        "images": [{"id": 1, "height": 10, "width": 20}, {"id": 2}, "what", {"id": [1]}],
        "categories": [{"id": 7, "name": "cat"}, {"id": "8"}],
        "annotations": [
            good,
            good | {"bbox": [1, 2, 3]},
            good | {"bbox": None},
            good | {"bbox": [1, 2, 3, "x"]},
            good | {"bbox": [1, 2, 3, float("nan")]},
            good | {"bbox": [1, 2, 3, 10**400]},
            good | {"image_id": 2},
            good | {"image_id": 3},
            good | {"image_id": [1]},
            good | {"category_id": 9},
            5,
        ],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    written = read_coco_boxes(path)
    assert written.layout == "xywh"
    np.testing.assert_array_equal(written.boxes, [[1, 2, 3.5, 4]] * 2)
    np.testing.assert_array_equal(written.sizes, [[10, 20]] * 2)
    assert written.used_categories == {7, 9}
    assert written.listed_categories == {7, 8}


def test_voc_boxes_of_broken_files_are_left_out(tmp_path):
    good = tmp_path / "good.xml"
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>4</ymax></bndbox>"
    good.write_text(
        f"<annotation><object>{box.format(3)}</object><object>{box.format('x')}</object><object/></annotation>"
    )
    broken = tmp_path / "broken.xml"
    broken.write_text("<annotation>")
    sizes = np.array([[10, 20], [1, 2], [3, 4], [5, 6]])
    written = read_voc_boxes([good, broken, tmp_path / "missing.xml", None], sizes)
    assert written.layout == "xyxy"
    np.testing.assert_array_equal(written.boxes, [[1, 2, 3, 4]])
    np.testing.assert_array_equal(written.sizes, [[10, 20]])


def test_yolo_boxes_of_broken_rows_and_polygons_are_left_out(tmp_path):
    good = tmp_path / "good.txt"
    good.write_text("0 .1 .2 .3 .4\n0 .1 .2 .3 .5 .9\n\n0 .1 x .3 .4\n0 .1\n0 1 2 3 4 5 6\n")
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"\xff")
    sizes = np.array([[10, 20], [1, 2], [3, 4], [5, 6]])
    written = read_yolo_boxes([good, broken, tmp_path / "missing.txt", None], sizes)
    assert written.layout == "cxcywh"
    np.testing.assert_array_equal(written.boxes, [[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.5]])
    np.testing.assert_array_equal(written.sizes, [[10, 20]] * 2)
