"""Which boxes the anchors of a configuration reach."""

import ast
import re
import shlex

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ioub_jax import detectors
from ioub_jax.anchors import place
from ioub_jax.boxes import pairwise_iou
from ioub_jax.configs import defaults, ssd_defaults
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.diagnostics.anchor_advice import Anchoring, best_ious, resized_boxes
from ioub_jax.diagnostics.anchor_fit import Reach, measure_anchor_fit, unreached_finding
from ioub_jax.from_config import loading_parts


@pytest.fixture
def config():
    config = defaults.get_config()
    config.data.canvases = ((128, 192), (192, 128))
    return config


def anchoring(config):
    detector = detectors.create(config, num_classes=1)
    canvases, resize = loading_parts.canvases_of(config.data), loading_parts.resize_of(config.data)
    return Anchoring(detector.levels, canvases, resize, detector.canvas is not None)


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
    resized = resized_boxes(
        annotations_of(*boxes, sizes=[(128, 192), (150, 100)]), anchoring(config)
    )
    expected = np.zeros(40)
    for number, canvas in enumerate(config.data.canvases):
        anchors = np.concatenate(place(anchoring(config).levels(canvas)))
        chosen = resized.canvases == number
        expected[chosen] = np.asarray(pairwise_iou(resized.boxes[chosen], anchors)).max(axis=1)
    np.testing.assert_allclose(best_ious(resized, anchoring(config)), expected, rtol=1e-4)


def test_small_boxes_are_out_of_reach(config):
    # Around 36, the center of a cell, the smallest anchor is 32 px: a square of 20 has IoU
    # (20 / 32)^2 = .39 and one of 24 has .5625.
    boxes = np.array([[26, 26, 46, 46], [24, 24, 48, 48]])
    annotations = annotations_of(boxes, sizes=[(128, 192)])
    fit = measure_anchor_fit(annotations, anchoring(config))
    assert fit.all == Reach(2, 1)
    assert fit.by_network_size["small"] == fit.by_original_size["small"] == Reach(2, 1)
    assert fit.too_small == 1
    assert "50.0% of 2" in str(fit)
    (finding,) = unreached_finding(fit, annotations, anchoring(config))
    assert (finding.count, finding.must_be_fixed) == (1, False)
    # Anchors from 4 / sqrt(2) = 2.8 strides = 22.4 px on: (20 / 22)^2 = .83, as they are rounded.
    assert "--config.anchors.base_scale=2.8 leaves 0.0% of all" in finding.advice


def test_the_size_classes_are_of_the_network_and_of_the_file(config):
    # An image of 512 x 768 is seen at a quarter: 160 px, large, becomes 40 px, medium.
    boxes = np.array([[64, 64, 224, 224]])
    fit = measure_anchor_fit(annotations_of(boxes, sizes=[(512, 768)]), anchoring(config))
    assert fit.by_network_size["medium"] == fit.by_original_size["large"] == Reach(1, 0)


def test_long_boxes_call_for_ratios(config):
    boxes = np.array([[0, 30, 190, 46], [20, 40, 180, 52]])
    annotations = annotations_of(boxes, sizes=[(128, 192)])
    fit = measure_anchor_fit(annotations, anchoring(config))
    assert fit.all == Reach(2, 2)
    # Heights over widths of 16 / 190 = .084 and 12 / 160 = .075; one of them is enough.
    (finding,) = unreached_finding(fit, annotations, anchoring(config))
    value = re.search(r'--config.anchors.ratios="([^"]+)" leaves 0.0%', finding.advice)[1]
    ratios = ast.literal_eval(value)
    assert 0.075 <= ratios[0] <= 0.084 and ratios[1:] == (0.5, 1.0, 2.0)
    config.anchors.ratios = ratios
    assert measure_anchor_fit(annotations, anchoring(config)).all == Reach(2, 0)


def test_the_default_boxes_are_those_of_the_ssd():
    # An image of 100 x 150 is stretched to 300 x 300. There the first box, 12 x 12, becomes 24 x 36
    # and the second, 2 x 3, 4 x 9: an area of 36, less than half of the 21 x 21 of the smallest.
    config = ssd_defaults.get_config()
    boxes = np.array([[50.0, 40, 62, 52], [20, 20, 22, 23]])
    annotations = annotations_of(boxes, sizes=[(100, 150)])
    resized = resized_boxes(annotations, anchoring(config))
    np.testing.assert_allclose(resized.boxes, [[100, 120, 124, 156], [40, 60, 44, 69]])
    anchors = np.concatenate(place(anchoring(config).levels((300, 300))))
    assert len(anchors) == 8732
    expected = np.asarray(pairwise_iou(resized.boxes, anchors)).max(axis=1)
    np.testing.assert_allclose(best_ious(resized, anchoring(config)), expected, rtol=1e-4)
    fit = measure_anchor_fit(annotations, anchoring(config))
    assert (fit.all, fit.too_small) == (Reach(2, 1), 1)
    advice = unreached_finding(fit, annotations, anchoring(config))[0].advice
    # Cells are 8 px apart, so that smaller boxes would miss 4 x 9 all the same.
    assert advice.endswith(
        "leaves less than 50.0% of all boxes; use a larger model.input_size, such as that of "
        "SSD512 instead of SSD300."
    )


def test_long_boxes_call_for_other_default_boxes():
    boxes = np.array([[0.0, 30, 190, 40], [20, 40, 180, 50]])
    annotations, config = annotations_of(boxes, sizes=[(300, 300)]), ssd_defaults.get_config()
    fit = measure_anchor_fit(annotations, anchoring(config))
    assert fit.all == Reach(2, 2)
    # The longer side over the shorter, 190 / 10 and 160 / 10, for every level.
    advice = unreached_finding(fit, annotations, anchoring(config))[0].advice
    assert '--config.anchors.ratios="((2.0,1' in advice


def test_no_boxes_are_all_reached(config):
    annotations = annotations_of(np.zeros((0, 4)), sizes=[(128, 192)])
    fit = measure_anchor_fit(annotations, anchoring(config))
    assert fit.all == Reach(0, 0)
    assert "0.0% of 0" in str(fit)
    assert unreached_finding(fit, annotations, anchoring(config)) == []


def test_objects_that_are_specks_need_larger_canvases(config):
    # 80 px of 1200 are 8 px on a canvas of 120, the stride of the finest level.
    config.data.canvases = ((120, 120),)
    boxes = np.array([[1, 1, 81, 81], [505, 333, 585, 413], [900, 1000, 980, 1080]])
    annotations = annotations_of(boxes, sizes=[(1200, 1200)])
    fit = measure_anchor_fit(annotations, anchoring(config))
    advice = unreached_finding(fit, annotations, anchoring(config))[0].advice
    # 4 times as large: 480 is the multiple of 32, and 32 px there are those of the anchors.
    assert '--config.data.canvases="((' in advice or "base_scale=" in advice
    assert "leaves 0.0%" in advice


def test_what_nothing_reaches_gets_no_value(config):
    boxes = np.array([[left, left, left + 3, left + 3] for left in range(0, 1000, 37)])
    annotations = annotations_of(boxes, sizes=[(1200, 1800)])
    fit = measure_anchor_fit(annotations, anchoring(config))
    advice = unreached_finding(fit, annotations, anchoring(config))[0].advice
    assert "none of the tried values leaves less than" in advice and "--config" not in advice
    assert advice.endswith(
        "cut the images into tiles (config.data.tiles.size), in which objects are larger."
    )


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(st.integers(4, 180), st.integers(4, 120)), min_size=1, max_size=9),
    st.sampled_from([0.5, 2.0, 8.0]),
    st.sampled_from(["fit", "short_side"]),
)
def test_what_is_advised_leaves_the_share_that_is_said(sides, base_scale, mode):
    """The flags are taken from the sentence and set, as a user would."""
    config = defaults.get_config()
    config.anchors.base_scale = base_scale
    config.data.canvases = ((128, 192),)
    config.data.resize.update({"mode": mode, "short_side": 96, "long_side": 128})
    boxes = np.array([[7, 5, 7 + width, 5 + height] for width, height in sides])
    annotations = annotations_of(boxes, sizes=[(128, 192)])
    fit = measure_anchor_fit(annotations, anchoring(config))
    for finding in unreached_finding(fit, annotations, anchoring(config)):
        flags = [word for word in shlex.split(finding.advice) if word.startswith("--config.")]
        for flag in flags:
            key, _, value = flag.removeprefix("--config.").partition("=")
            config.update_from_flattened_dict({key: ast.literal_eval(value)})
        reached = measure_anchor_fit(annotations, anchoring(config))
        said = re.search(r"([\d.]+% of all boxes)", finding.advice)[1]
        assert not flags or str(reached.all).startswith(said.split(" ")[0])
        assert reached.all.unreached < fit.all.unreached or not flags
