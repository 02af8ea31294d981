import io

import numpy as np
from PIL import Image

from ioub_jax.data.sources import ShapesSource
from ioub_jax.evaluation import coco_format
from ioub_jax.training import pictures


def sheet(results, count=3):
    source = ShapesSource(num_images=7, image_size=(64, 96), seed=0, split="val")
    truth = coco_format.to_coco_ground_truth(source)["annotations"]
    drawn = pictures.detections_sheet(source, results(truth), count, "Step 3")
    return np.asarray(Image.open(io.BytesIO(drawn))).astype(int)


def test_what_is_found_is_drawn_and_what_is_hardly_believed_is_not():
    nothing = sheet(lambda truth: [])
    seen = sheet(lambda truth: [row | {"score": 0.9} for row in truth])
    doubted = sheet(lambda truth: [row | {"score": 0.2} for row in truth])
    assert nothing.shape == doubted.shape
    assert np.abs(doubted - nothing).max() == 0
    assert np.abs(seen[: len(nothing)] - nothing[: len(seen)]).max() > 100


def test_there_may_be_fewer_images_than_are_asked_for():
    assert sheet(lambda truth: [], count=50).shape[0] > sheet(lambda truth: []).shape[0]
