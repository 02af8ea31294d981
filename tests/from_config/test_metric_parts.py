"""What an evaluation says of images with more objects than its metrics count."""

import logging

import numpy as np
import pytest

import ioub_jax
from ioub_jax.data.sources.coco_federated import Federated
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import CocoMetric, LvisMetric, VocMetric
from ioub_jax.from_config import metric_parts
from tests import tiny
from tests.data.audit.test_dense_images import source_of


def test_dense_images_are_told_with_the_figure_and_the_key():
    source, _ = source_of((150, 0, 0), (1, 0, 0))
    # Of 151 objects 101 are found: .669, 67 of the 101 recalls 0, .01, ... 1.
    told = metric_parts.limit_warnings(source, (CocoMetric(),), 100)
    assert told == {
        "dense_class": "Evaluation: images with more objects of a class than COCO's "
        "metrics count: 1 of 2. COCO's AP counts the 100 best detections of a class in an image, "
        "so a perfect detector would reach 0.663 here; --config.evaluation.coco_detections=150 "
        "counts enough, as AP@150, and VOC's metric has no such limit.",
        "dense_image": "Evaluation: images with more objects than the number of detections "
        "that are kept: 1 of 2. "
        "config.evaluation.max_detections is 100, for all classes together; the fullest image "
        "needs --config.evaluation.max_detections=150.",
    }


def test_where_enough_is_counted_nothing_is_told():
    source, _ = source_of((150, 0, 0))
    assert metric_parts.limit_warnings(source, (CocoMetric(counted=150),), 150) == {}
    assert metric_parts.limit_warnings(source, (VocMetric(),), 150) == {}
    few = metric_parts.limit_warnings(source, (CocoMetric(counted=120),), 150)
    assert list(few) == ["dense_class"] and "the 120 best" in few["dense_class"]
    assert list(metric_parts.limit_warnings(source, (VocMetric(),), 149)) == ["dense_image"]


def test_a_training_tells_of_its_validation_images(caplog):
    whole, _ = source_of((3, 1, 1), (3, 2, 1), (150, 0, 0))
    source, validation = whole.select(np.arange(2)), whole.select(np.array([2]))
    config = tiny.get_config()
    with caplog.at_level(logging.WARNING, "ioub_jax"):
        ioub_jax.build(config, source=source, validation=validation)
    told = [message for message in caplog.messages if message.startswith("Evaluation:")]
    assert len(told) == 2 and "coco_detections=150" in told[0] and "max_detections=150" in told[1]


def test_lviss_metric_needs_to_know_what_was_looked_for():
    source, _ = source_of((3, 1, 1))
    metrics = (CocoMetric(), LvisMetric())
    with pytest.raises(ConfigError, match=r"names 'lvis', .* 0.jpg has no 'neg_category_ids'\."):
        metric_parts.check_fit(metrics, source)
    metric_parts.check_fit((CocoMetric(),), source)
    metric_parts.check_fit(metrics, source_of((0, 0, 0))[0])  # a test set
    source.federated = Federated({}, {}, {})
    metric_parts.check_fit(metrics, source)


def test_lviss_metric_counts_more_detections_than_others_keep():
    source, _ = source_of((3, 1, 1))
    told = metric_parts.limit_warnings(source, (LvisMetric(),), 100)
    assert told == {
        "few_detections": "Evaluation: LVIS's metric counts the 300 best detections of an "
        "image, and "
        "config.evaluation.max_detections is 100; --config.evaluation.max_detections=300 keeps "
        "that many."
    }
    assert metric_parts.limit_warnings(source, (LvisMetric(),), 300) == {}
    assert metric_parts.limit_warnings(source, (CocoMetric(),), 100) == {}


@pytest.mark.parametrize("metric", [CocoMetric, VocMetric, LvisMetric])
def test_chosen_classes_are_those_of_the_data(metric):
    source, _ = source_of((3, 1, 1))
    source.federated = Federated({}, {}, {})
    metric_parts.check_fit((metric(average_classes=("c", "a")),), source)
    sentence = r"^evaluation.average_classes names 'd', .* choose from a, b, c\.$"
    with pytest.raises(ConfigError, match=sentence):
        metric_parts.check_fit((metric(average_classes=("a", "d")),), source)


def test_a_training_is_refused_before_it_begins():
    config = tiny.get_config()
    config.evaluation.average_classes = ("hexagon",)
    with pytest.raises(ConfigError, match="average_classes names 'hexagon'"):
        ioub_jax.build(config)
