"""The detector of a configuration: which anchors it has, and which configurations are refused."""

import numpy as np
import pytest

from ioub_jax import anchors, detectors
from ioub_jax.anchors import RetinaNetAnchors, SSDAnchors, retinanet_anchors, ssd_anchors
from ioub_jax.configs import defaults, ssd_defaults, ssdlite_defaults
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts


def levels_of(config, canvas):
    return detectors.create(config, num_classes=3).levels(canvas)


def canvas_anchors(config, canvas):
    return anchors.place(levels_of(config, canvas))


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
    cells = [level.cell for level in levels_of(config, (size, size))]
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
        (("sizes",), "anchors.* has 6 entries, .*ratios 6 and .*strides 6"),
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
        training_parts.detector_of(config, 3)


def test_an_ssd_has_its_own_evaluation():
    config = ssd_defaults.get_config()
    assert "candidates_per_level" not in config.evaluation
    assert config.evaluation.candidates_per_class == 400
    assert config.evaluation.max_detections == 200


def refused(config, words):
    with pytest.raises(ConfigError, match=words) as error:
        detectors.create(config, num_classes=3)
    assert str(error.value).count(". ") == 0, "one sentence"


def test_an_ssd_sees_images_of_one_size():
    assert detectors.create(ssd_defaults.get_config(), num_classes=3).canvas == (300, 300)
    assert detectors.create(defaults.get_config(), num_classes=3).canvas is None
    for canvases in (((300, 512),), ((300, 300), (512, 512)), ((512, 512),)):
        config = ssd_defaults.get_config()
        config.data.canvases = canvases
        refused(
            config, r"model.input_size is 300, but data.canvases is .* must be \(\(300, 300\),\)"
        )
    config = ssd_defaults.get_config()
    config.data.resize.mode = "fit"
    refused(config, "data.resize.mode 'fit'; an SSD sees every image stretched")


def test_a_retinanet_does_not_become_an_ssd_by_name():
    config = defaults.get_config()
    config.model.name = "ssd"
    refused(config, "keys of a RetinaNet; start from ioub_jax/configs/ssd_defaults.py")


def test_no_other_becomes_an_ssdlite_by_name():
    config = defaults.get_config()
    config.model.name = "ssdlite"
    refused(config, "keys of a RetinaNet; start from ioub_jax/configs/ssdlite_defaults.py")
    config = ssd_defaults.get_config()
    config.model.name = "ssdlite"
    refused(config, "has the keys of another detector; start from ioub_jax/configs/ssdlite_def")
    config = ssdlite_defaults.get_config()
    config.model.name = "ssd"
    refused(config, "model.backbone is 'mobilenet_v3_large'; that of an SSD must be 'vgg16'")


def test_an_ssdlite_sees_images_of_one_size():
    for size in (320, 256):
        config = ssdlite_defaults.get_config("both", size)
        assert detectors.create(config, num_classes=3).canvas == (size, size)
    config.data.canvases = ((320, 320),)
    refused(config, "model.input_size is 256, but data.canvases is ")


def test_a_family_that_does_not_exist_is_refused():
    config = defaults.get_config()
    config.model.name = "yolo"
    refused(config, "model.name is 'yolo'; it must be 'retinanet' or 'ssd' or 'fcos' or")


def test_a_softmax_is_the_loss_of_an_ssd_alone():
    config = defaults.get_config()
    config.loss.classification.name = "softmax"
    refused(config, "'softmax', which is the loss of an SSD")
    for config in (ssd_defaults.get_config(), ssdlite_defaults.get_config()):
        config.loss.classification.name = "focal"
        refused(config, "'focal', but the logits of an SSD .* must be 'softmax'")


def test_a_refused_value_is_told_by_its_key():
    config = defaults.get_config()
    config.loss.classification.isr_p = True
    refused(config, "loss.classification.* both give weights to the positives by their IoU; set")
    config = defaults.get_config()
    config.matcher.crowd = "hide"
    refused(config, "matcher.*crowd is 'hide'; it must be")


def test_the_same_anchors_in_other_sizes_and_with_more_ratios():
    retinanet = RetinaNetAnchors()
    assert retinanet.scaled(0.5).base_scale == 2.0
    assert retinanet.with_ratios((3.0, 0.5)).ratios == (0.5, 1.0, 2.0, 3.0)
    assert retinanet.with_ratios((3.0,), alone=True).ratios == (3.0,)
    assert not retinanet.is_symmetric
    assert retinanet.anchors_per_location == (9,) * 5
    ssd = SSDAnchors(sizes=(10.0, 20.0, 40.0), ratios=((2.0,), (2.0, 3.0)), strides=(8, 16))
    assert ssd.scaled(1.5).sizes == (15.0, 30.0, 60.0)
    assert ssd.with_ratios((5.0,)).ratios == ((2.0, 5.0), (2.0, 3.0, 5.0))
    assert ssd.is_symmetric
    assert ssd.anchors_per_location == (4, 6)
    for layout in (retinanet, ssd):
        cells = [len(level.cell) for level in layout((32, 32))]
        assert tuple(cells) == layout.anchors_per_location
