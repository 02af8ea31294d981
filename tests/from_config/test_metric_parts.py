"""What an evaluation says of images with more objects than its metrics count."""

import logging

import numpy as np

import ioub_jax
from ioub_jax.evaluation import CocoMetric, VocMetric
from ioub_jax.from_config import metric_parts
from tests import tiny
from tests.data.audit.test_dense_images import source_of


def test_dense_images_are_told_with_the_figure_and_the_key():
    source, _ = source_of((150, 0, 0), (1, 0, 0))
    # Of 151 objects 101 are found: .669, 67 of the 101 recalls 0, .01, ... 1.
    told = metric_parts.dense_warnings(source, (CocoMetric(),), 100)
    assert told == {
        "dense_class": "Evaluation: images with more objects of a class than COCO's metrics count: "
        "1 of 2. COCO's AP counts the 100 best detections of a class in an image, so that of a "
        "perfect detector would be 0.663 here; --config.evaluation.coco_detections=150 counts "
        "enough, as AP@150, and VOC's metric has no such limit.",
        "dense_image": "Evaluation: images with more objects than detections are kept: 1 of 2. "
        "config.evaluation.max_detections is 100, of all classes together; for the fullest image "
        "it has to be --config.evaluation.max_detections=150.",
    }


def test_where_enough_is_counted_nothing_is_told():
    source, _ = source_of((150, 0, 0))
    assert metric_parts.dense_warnings(source, (CocoMetric(counted=150),), 150) == {}
    assert metric_parts.dense_warnings(source, (VocMetric(),), 150) == {}
    few = metric_parts.dense_warnings(source, (CocoMetric(counted=120),), 150)
    assert list(few) == ["dense_class"] and "the 120 best" in few["dense_class"]
    assert list(metric_parts.dense_warnings(source, (VocMetric(),), 149)) == ["dense_image"]


def test_a_training_tells_of_its_validation_images(caplog):
    whole, _ = source_of((3, 1, 1), (3, 2, 1), (150, 0, 0))
    source, validation = whole.select(np.arange(2)), whole.select(np.array([2]))
    config = tiny.get_config()
    with caplog.at_level(logging.WARNING, "ioub_jax"):
        ioub_jax.build(config, source=source, validation=validation)
    told = [message for message in caplog.messages if message.startswith("Evaluation:")]
    assert len(told) == 2 and "coco_detections=150" in told[0] and "max_detections=150" in told[1]
