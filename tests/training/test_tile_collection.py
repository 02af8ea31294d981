"""Tiles in an evaluation: objects that are found in the pixels of tiles count once an image."""

import json
import types

import cv2
import numpy as np
import pytest

from ioub_jax.data.image_rows import WholeImage, open_rows
from ioub_jax.data.loading import Loading
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.tiles import TileSource
from ioub_jax.data.tiling import Tiling
from ioub_jax.detectors import DetectionOptions
from ioub_jax.evaluation import CocoMetric
from ioub_jax.postprocess import Detections
from ioub_jax.tile_merging import Found
from ioub_jax.tiled_inference import TiledDetection
from ioub_jax.training import evaluator

SIDE = 20
COLORS = ((255, 0, 0), (0, 0, 255))  # of the classes, RGB


def write(root, name, size, count, seed=0):
    """A gray image with squares of 20 pixels that do not touch; gives their boxes and labels."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = np.full((height, width, 3), 90, np.uint8)
    cells = rng.permutation((height // 30) * (width // 30))[:count]
    boxes, labels = [], []
    for cell in cells.tolist():
        top, left = (30 * part for part in divmod(cell, width // 30))
        top, left = top + rng.integers(0, 9), left + rng.integers(0, 9)
        label = int(rng.integers(0, 2))
        image[top : top + SIDE, left : left + SIDE] = COLORS[label]
        boxes.append([int(left), int(top), SIDE, SIDE])
        labels.append(label)
    cv2.imwrite(str(root / name), image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return boxes, labels


def write_data_set(root, size, counts, suffix="png"):
    images, annotations = [], []
    for number, count in enumerate(counts, start=1):
        name = f"{number}.{suffix}"
        boxes, labels = write(root, name, size, count, number)
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for box, label in zip(boxes, labels, strict=True):
            entry = {"image_id": number, "category_id": 3 + label, "bbox": box}
            annotations.append({"id": len(annotations) + 1, **entry})
    categories = [{"id": 3, "name": "red"}, {"id": 4, "name": "blue"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "val.json").write_text(json.dumps(content))
    return CocoSource(root / "val.json", root, on_error="skip")


def find_squares(image):
    """What a perfect detector finds in an image: of what is cut, the part that is there."""
    found = []
    for label, color in enumerate(COLORS):
        mask = np.all(image == np.array(color, np.uint8), axis=2).astype(np.uint8)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        found += [(left, top, left + w, top + h, label) for left, top, w, h, _ in boxes[1:]]
    rows = np.array(found, np.float32).reshape(-1, 5)
    return Found(rows[:, :4], np.full(len(rows), 0.9, np.float32), rows[:, 4].astype(np.int32))


def find_in_batch(batch):
    """The same of a batch, as a compiled detector gives it."""
    slots = 100
    rows = [find_squares(image) for image in batch["image"]]
    boxes, labels = np.zeros((len(rows), slots, 4), np.float32), np.full((len(rows), slots), -1)
    valid = np.zeros((len(rows), slots), bool)
    for row, found in enumerate(rows):
        count = len(found.labels)
        boxes[row, :count], labels[row, :count] = found.boxes, found.labels
        valid[row, :count] = True
    return Detections(boxes, np.where(valid, 0.9, 0).astype(np.float32), labels, valid)


def evaluate(source, tiling, *, max_detections=5000, counted=5000):
    options = DetectionOptions(0.05, 0.5, max_detections)
    detector = types.SimpleNamespace(
        detector=types.SimpleNamespace(options=options),
        mesh=None,
        on_devices=lambda batch, size: (batch,),
    )
    loading = Loading(
        (tiling.canvas,), Resize("zoom"), max_boxes=100, on_error="skip", tiling=tiling
    )
    metrics = (CocoMetric("faster_coco_eval", counted),)
    tiles = TileSource(source, tiling)
    return evaluator.evaluate_source(find_in_batch, tiles, detector, loading, metrics, 8)


TILING = Tiling(96, 0.25)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("squares"), (400, 560), (200, 5, 0))


def test_each_object_counts_once(source):
    evaluation = evaluate(source, TILING)
    assert len(evaluation.results) == 205
    assert evaluation.headline == 1.0
    # The detections are those of the images, with the ids of the data set.
    assert {found["image_id"] for found in evaluation.results} == {1, 2}
    assert {found["category_id"] for found in evaluation.results} == {3, 4}
    written = json.loads((source_folder(source) / "val.json").read_text())["annotations"]
    expected = {(entry["image_id"], entry["category_id"], *entry["bbox"]) for entry in written}
    found = {(f["image_id"], f["category_id"], *map(int, f["bbox"])) for f in evaluation.results}
    assert found == expected


def source_folder(source):
    import pathlib

    return pathlib.Path(source.describe(0)).parent


def test_detections_of_the_whole_image_are_limited(source):
    evaluation = evaluate(source, TILING, max_detections=50)
    assert len(evaluation.results) == 50 + 5
    # COCO's own 100 of a class leave some of 200 objects uncounted; more do not.
    assert evaluate(source, TILING, counted=100).headline < 1.0


def test_an_image_with_a_tile_that_cannot_be_read_is_left_out(tmp_path):
    source = write_data_set(tmp_path, (200, 200), (9, 9))
    path = tmp_path / "2.png"
    data = path.read_bytes()
    # Broken behind the first rows: the file is as long as it was, its end in its place.
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2 - 12) + data[-12:])
    evaluation = evaluate(source, Tiling(64, 0.2))
    assert evaluation.headline == 1.0
    assert {found["image_id"] for found in evaluation.results} == {1}
    assert len(source.skipped) == 1 and "2.png: cannot be decoded" in source.skipped[0].sentence


def test_a_walk_over_images_finds_the_same(source):
    walk = TiledDetection(
        TILING,
        lambda tiles: [find_squares(pixels) for pixels in tiles],
        batch_size=7,
        nms_iou=0.5,
        max_detections=1000,
    )

    def open_image(index):
        if index == 7:
            return open_rows(open(__file__, "rb"), "no image")
        with open(source.describe(index), "rb") as file:
            pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
        return WholeImage(pixels)

    results = {index: (size, found) for index, size, found in walk.stream([0, 7, 2, 1], open_image)}
    assert "no image: is empty or not an image" in str(results[1][1])
    assert [len(results[index][1].labels) for index in (0, 2, 3)] == [200, 0, 5]
    assert results[0][0] == (400, 560)
    expected = source.annotations(0)
    order = np.lexsort(results[0][1].boxes.T)
    np.testing.assert_array_equal(
        results[0][1].boxes[order], expected.boxes[np.lexsort(expected.boxes.T)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_huge_image_with_thousands_of_tiny_objects(tmp_path, suffix):
    source = write_data_set(tmp_path, (9000, 12000), (2000,), suffix)
    evaluation = evaluate(source, Tiling(640, 0.2))
    assert len(evaluation.results) == 2000 and evaluation.headline == 1.0
