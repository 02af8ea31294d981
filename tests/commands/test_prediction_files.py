"""Predictions grow line by line, and nothing that ends a command loses them."""

import json

import numpy as np
import pytest

from ioub_jax.commands.prediction_files import PredictionFiles, read_lines
from ioub_jax.inference import Detections

NAMES = ["a.png", "dir/b.png", "c\udcff.png"]


def _found(*scores, size=(50, 60)):
    boxes = np.array([[1, 2, 11, 22.123]] * len(scores), np.float32).reshape(-1, 4)
    labels = np.ones(len(scores), np.int32)
    return Detections(boxes, np.array(scores, np.float32), labels, ("nut",) * len(scores), size)


def _open(folder, names=NAMES, **made_by):
    return PredictionFiles(folder, names, (3, 7), ("bolt", "nut\ud800"), {"score": 0.1} | made_by)


def test_the_end_is_a_coco_file_and_nothing_else(tmp_path):
    results = _open(tmp_path / "new")
    results.add(2, _found(0.5))
    results.add(0, _found(0.9, 0.123456))
    assert results.finish() == 3
    (path,) = (tmp_path / "new").iterdir()
    content = json.loads(path.read_bytes().decode())  # is UTF-8
    assert content["images"] == [
        {"id": 1, "file_name": "a.png", "width": 60, "height": 50},
        {"id": 3, "file_name": "c\udcff.png", "width": 60, "height": 50},
    ]
    first, second, third = content["annotations"]
    # [1, 2, 11, 22.12] is 10 wide and 20.12 high.
    box = {"category_id": 7, "bbox": [1.0, 2.0, 10.0, 20.12], "area": 201.2, "iscrowd": 0}
    assert first == {"id": 1, "image_id": 1, "score": 0.9, **box}
    assert second == {"id": 2, "image_id": 1, "score": 0.12346, **box}
    assert third == {"id": 3, "image_id": 3, "score": 0.5, **box}
    assert list(first) == ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "score"]
    assert content["categories"][1] == {"id": 7, "name": "nut\ud800"}


def test_what_was_found_is_on_disk_at_once(tmp_path):
    results = _open(tmp_path)
    for position in range(3):
        results.add(position, _found(0.5))
        heading, *lines = read_lines(tmp_path / "predictions.jsonl")
        assert [line["image"]["file_name"] for line in lines] == NAMES[: position + 1]
    assert heading["categories"] == [{"id": 3, "name": "bolt"}, {"id": 7, "name": "nut\ud800"}]
    results.close()


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_the_same_command_goes_on_where_it_was_ended(tmp_path, cut):
    results = _open(tmp_path)
    for position in range(3):
        results.add(position, _found(0.5 + 0.1 * position))
    results.close()
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(path.read_bytes()[: -cut or None])
    # Files came before it and between; ids follow the new order.
    names = ["0.png", "a.png", "b.png", "dir/b.png", "c\udcff.png"]
    again = _open(tmp_path, names)
    # The last whole line is of an image that may not have been drawn.
    done = [1, 3] if cut < 2 else [1]
    assert sorted(again.records) == done and again.kept is None
    for position in set(range(5)) - set(done):
        again.add(position, _found(0.2))
    assert again.finish() == 5
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == names
    assert [image["id"] for image in content["images"]] == [1, 2, 3, 4, 5]
    assert [a["image_id"] for a in content["annotations"]] == [1, 2, 3, 4, 5]
    assert content["annotations"][1]["score"] == 0.5


@pytest.mark.parametrize("before", ["other score", "no json", ""])
def test_what_another_command_found_is_kept(tmp_path, before):
    if before == "other score":
        results = _open(tmp_path, score=0.2)
        results.add(0, _found(0.5))
        results.add(1, _found(0.5))
        results.close()
    else:
        (tmp_path / "predictions.jsonl").write_text(before)
    (tmp_path / "predictions.1.jsonl").write_text("older")
    old = (tmp_path / "predictions.jsonl").read_text()
    again = _open(tmp_path)
    assert again.records == {}
    again.close()
    if before == "other score":
        assert again.kept == tmp_path / "predictions.2.jsonl" and again.kept.read_text() == old
    assert (tmp_path / "predictions.1.jsonl").read_text() == "older"
