"""The detector of a configuration: which anchors it has, and which configurations are refused."""

import numpy as np
import pytest

from ioub_jax.anchors import retinanet_anchors, ssd_anchors
from ioub_jax.configs import defaults, ssd_defaults
from ioub_jax.errors import ConfigError
from ioub_jax.training.detector import canvas_anchors, canvas_levels, create_detector


def equal(levels, expected):
    for level, of_level in zip(levels, expected, strict=True):
        np.testing.assert_array_equal(level, of_level)


def test_the_anchors_of_a_retinanet():
    config = defaults.get_config()
    equal(canvas_anchors(config, (100, 150)), retinanet_anchors((100, 150)))
    changes = {
        "base_scale": 2.0,
        "scales_per_octave": 2,
        "ratios": (1.0, 3.0),
        "center_offset": 0.0,
        "rounded": False,
        "whole_sizes": True,
        "stride_from_grid": True,
    }
    config.anchors.update(changes)
    equal(canvas_anchors(config, (100, 150)), retinanet_anchors((100, 150), **changes))
    assert set(changes) | {"box_weights"} == set(config.anchors)


@pytest.mark.parametrize("data_set", ["coco", "voc"])
@pytest.mark.parametrize("size", [300, 512])
def test_the_anchors_of_an_ssd(data_set, size):
    config = ssd_defaults.get_config("both", size, data_set)
    config.anchors.update({"rounded": False, "clip_sizes": True})
    options = {
        "sizes": ssd_defaults.SIZES[data_set, size],
        "ratios": config.anchors.ratios,
        "strides": ssd_defaults.STRIDES[size],
        "clip_sizes": True,
    }
    equal(canvas_anchors(config, (size, size)), ssd_anchors((size, size), **options))
    # The sizes are whole per cents of the input, from the second on in equal steps.
    percents = np.array(config.anchors.sizes) / size * 100
    np.testing.assert_allclose(percents, np.round(percents), atol=1e-9)
    steps = np.diff(percents[1:])
    np.testing.assert_allclose(steps, steps[0], atol=1e-9)
    # The first box of a cell is its smaller square.
    cells = [level.cell for level in canvas_levels(config, (size, size))]
    sides = [cell[0, 2] - cell[0, 0] for cell in cells]
    np.testing.assert_allclose(sides, config.anchors.sizes[:-1])


def test_there_is_no_ssd_of_other_sizes():
    with pytest.raises(ValueError, match="There is no SSD400 for 'coco'; it must be SSD300 or"):
        ssd_defaults.get_config("both", 400)
    with pytest.raises(ValueError, match="There is no SSD300 for 'cityscapes'"):
        ssd_defaults.get_config("both", 300, "cityscapes")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("sizes",), "anchors.sizes has 6 entries, anchors.ratios 6 and anchors.strides 6"),
        (("sizes", "ratios", "strides"), "has 6 levels, but anchors are given for 5"),
    ],
)
def test_default_boxes_of_other_levels_are_refused(keys, words):
    config = ssd_defaults.get_config()
    config.model.width = 1
    config.runtime.devices = 1
    for key in keys:
        config.anchors[key] = config.anchors[key][:-1]
    with pytest.raises(ConfigError, match=words):
        create_detector(config, 3)


def test_an_ssd_has_its_own_evaluation():
    config = ssd_defaults.get_config()
    assert "candidates_per_level" not in config.evaluation
    assert config.evaluation.candidates_per_class == 400
    assert config.evaluation.max_detections == 200
