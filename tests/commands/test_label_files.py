"""What is found, as files that are read again as they were written."""

import json

import numpy as np
import pytest

from ioub_jax.commands import label_files
from ioub_jax.commands.prediction_files import PredictionFiles
from ioub_jax.data.sources import CocoSource, YoloSource
from ioub_jax.inference import Detections
from tests.data.yolo_folder import write


def predicted(folder, classes, category_ids):
    """Writes what was found in two images of one name, 300x100 and 40x20 pixels."""
    boxes = np.array([[1, 2, 11, 22.5], [0, 0, 300, 100]], np.float32)
    names = ["a/x.png", "b/x.png"]
    results = PredictionFiles(folder, names, category_ids, classes, {})
    scores, labels = np.array([0.9, 0.123456], np.float32), np.array([1, 0], np.int32)
    results.add(0, Detections(boxes, scores, labels, ("", ""), (100, 300)))
    results.add(1, Detections(boxes[:0], scores[:0], labels[:0], (), (20, 40)))
    label_files.write_records(folder, names, results.records, category_ids, classes)
    results.close()


def test_rows_are_shares_with_a_confidence(tmp_path):
    predicted(tmp_path, ("bolt", "nut"), (3, 7))
    # The middle of 1 to 11 of 300 is .02, that of 2 to 22.5 of 100 is .1225; 10/300 and .205.
    assert (tmp_path / "labels/x.txt").read_text() == (
        "1 0.020000 0.122500 0.033333 0.205000 0.900000\n"
        "0 0.500000 0.500000 1.000000 1.000000 0.123460\n"
    )
    assert (tmp_path / "labels/x_2.txt").read_text() == ""
    assert (tmp_path / "classes.txt").read_text() == "bolt\nnut\n"
    assert (tmp_path / "data.yaml").read_text() == 'nc: 2\nnames:\n  0: "bolt"\n  1: "nut"\n'


@pytest.mark.parametrize(
    "classes", [("bolt", "nut"), ("no", "1: {x}"), ('"a" #b', "ö漢\\"), ("🦊", "𠮷")]
)
def test_what_is_written_is_read_again(tmp_path, classes):
    predicted(tmp_path, classes, ("s", "t"))
    write(tmp_path, **{"images/x.png": (300, 100), "images/x_2.png": (40, 20)})
    source = YoloSource(tmp_path, "all")
    assert source.classes == classes
    example = source.annotations(0)
    np.testing.assert_allclose(example.boxes, [[1, 2, 11, 22.5], [0, 0, 300, 100]], atol=1e-3)
    assert example.labels.tolist() == [1, 0] and len(source.annotations(1).labels) == 0


def result(image_id, category_id):
    return {"image_id": image_id, "category_id": category_id, "bbox": [0, 0, 32, 24], "score": 0.5}


def test_an_evaluation_has_the_ids_of_data_in_yolos_format(tmp_path):
    row = "0.5 0.5 0.5 0.5\n"
    write(tmp_path, **{"a.png": (64, 48), "a.txt": f"0 {row}4 {row}", "b.png": (64, 48)})
    source = YoloSource(tmp_path, "all")
    label_files.write_results(tmp_path / "out", source, [result(1, 4), result(1, 0)])
    written = (tmp_path / "out/labels/a.txt").read_text()
    assert [line[:2] for line in written.splitlines()] == ["4 ", "0 "]
    assert (tmp_path / "out/labels/b.txt").read_text() == ""
    assert 'names:\n  0: "0"\n  4: "4"\n' in (tmp_path / "out/data.yaml").read_text()
    assert not (tmp_path / "out/classes.txt").exists(), "its lines would be other ids"


def test_an_evaluation_of_other_data_counts_its_classes_from_0(tmp_path):
    content = {
        "images": [{"id": "one", "file_name": "a.png", "height": 48, "width": 64}],
        "categories": [{"id": 9, "name": "bolt"}, {"id": 11, "name": "nut"}],
    }
    write(tmp_path, **{"a.png": (64, 48), "x.json": json.dumps(content)})
    source = CocoSource(tmp_path / "x.json", tmp_path)
    label_files.write_results(tmp_path / "out", source, [result("one", 11)])
    row = "1 0.250000 0.250000 0.500000 0.500000 0.500000\n"
    assert (tmp_path / "out/labels/a.txt").read_text() == row
    assert (tmp_path / "out/classes.txt").read_text() == "bolt\nnut\n"
