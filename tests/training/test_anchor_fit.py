"""Which boxes the anchors of a configuration reach."""

import numpy as np
import pytest

from configs import defaults, ssd_defaults
from ioub_jax.boxes import pairwise_iou
from ioub_jax.data.audit.network_scale import resize_boxes
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.training.anchor_fit import (
    Reach,
    best_ious,
    measure_anchor_fit,
    unreached_finding,
)
from ioub_jax.training.detector import canvas_anchors


@pytest.fixture
def config():
    config = defaults.get_config()
    config.data.canvases = ((128, 192), (192, 128))
    return config


def annotations_of(*boxes, sizes):
    examples = [
        create_example(some, np.zeros(len(some)), number) for number, some in enumerate(boxes)
    ]
    return collect_annotations(examples, np.array(sizes))


@pytest.mark.parametrize("ratios", [(0.5, 1.0, 2.0), (1.0, 3.0)])
def test_the_anchors_are_those_of_the_detector(config, ratios):
    config.anchors.update({"ratios": ratios, "base_scale": 2.0, "rounded": False})
    rng = np.random.default_rng(0)
    boxes = [rng.uniform(0, 60, (20, 2)) for _ in range(2)]
    boxes = [np.concatenate([low, low + rng.uniform(4, 60, (20, 2))], axis=1) for low in boxes]
    resized = resize_boxes(annotations_of(*boxes, sizes=[(128, 192), (150, 100)]), config)
    expected = np.zeros(40)
    for number, canvas in enumerate(config.data.canvases):
        anchors = np.concatenate(canvas_anchors(config, canvas))
        chosen = resized.canvases == number
        expected[chosen] = np.asarray(pairwise_iou(resized.boxes[chosen], anchors)).max(axis=1)
    np.testing.assert_allclose(best_ious(resized, config), expected, rtol=1e-4)


def test_small_boxes_are_out_of_reach(config):
    # Around 36, the centre of a cell, the smallest anchor is 32 px: a square of 20 has IoU
    # (20 / 32)^2 = .39 and one of 24 has .5625.
    boxes = np.array([[26, 26, 46, 46], [24, 24, 48, 48]])
    fit = measure_anchor_fit(annotations_of(boxes, sizes=[(128, 192)]), config)
    assert fit.all == Reach(2, 1)
    assert fit.by_network_size["small"] == fit.by_original_size["small"] == Reach(2, 1)
    assert fit.too_small == 1
    assert "50.0% of 2" in str(fit)
    (finding,) = unreached_finding(fit)
    assert (finding.count, finding.must_be_fixed) == (1, False)
    assert "config.anchors.base_scale" in finding.advice


def test_the_size_classes_are_of_the_network_and_of_the_file(config):
    # An image of 512 x 768 is seen at a quarter: 160 px, large, becomes 40 px, medium.
    boxes = np.array([[64, 64, 224, 224]])
    fit = measure_anchor_fit(annotations_of(boxes, sizes=[(512, 768)]), config)
    assert fit.by_network_size["medium"] == fit.by_original_size["large"] == Reach(1, 0)


def test_long_boxes_call_for_ratios(config):
    boxes = np.array([[0, 30, 190, 46], [20, 40, 180, 52]])
    fit = measure_anchor_fit(annotations_of(boxes, sizes=[(128, 192)]), config)
    assert fit.all == Reach(2, 2)
    assert "config.anchors.ratios" in unreached_finding(fit)[0].advice


def test_the_default_boxes_are_those_of_the_ssd():
    # An image of 100 x 150 is stretched to 300 x 300. There the first box, 12 x 12, becomes 24 x 36
    # and the second, 2 x 3, 4 x 9: an area of 36, less than half of the 21 x 21 of the smallest.
    config = ssd_defaults.get_config()
    boxes = np.array([[50.0, 40, 62, 52], [20, 20, 22, 23]])
    annotations = annotations_of(boxes, sizes=[(100, 150)])
    resized = resize_boxes(annotations, config)
    np.testing.assert_allclose(resized.boxes, [[100, 120, 124, 156], [40, 60, 44, 69]])
    anchors = np.concatenate(canvas_anchors(config, (300, 300)))
    assert len(anchors) == 8732
    expected = np.asarray(pairwise_iou(resized.boxes, anchors)).max(axis=1)
    np.testing.assert_allclose(best_ious(resized, config), expected, rtol=1e-4)
    fit = measure_anchor_fit(annotations, config)
    assert (fit.all, fit.too_small) == (Reach(2, 1), 1)
    assert "config.anchors.sizes, or take SSD512" in unreached_finding(fit)[0].advice


def test_long_boxes_call_for_other_default_boxes():
    boxes = np.array([[0.0, 30, 190, 40], [20, 40, 180, 50]])
    fit = measure_anchor_fit(annotations_of(boxes, sizes=[(300, 300)]), ssd_defaults.get_config())
    assert fit.all == Reach(2, 2)
    assert "spread config.anchors.sizes" in unreached_finding(fit)[0].advice


def test_no_boxes_are_all_reached(config):
    fit = measure_anchor_fit(annotations_of(np.zeros((0, 4)), sizes=[(128, 192)]), config)
    assert fit.all == Reach(0, 0)
    assert "0.0% of 0" in str(fit)
    assert unreached_finding(fit) == []
