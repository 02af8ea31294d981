import numpy as np
import pytest

from ioub_jax import weights
from ioub_jax.errors import WeightsError
from ioub_jax.weights import torchvision_detectors as detectors
from tests.parity.comparison import Reference


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("backbone", "stem_conv", "kernel"), "backbone.body.conv1.weight"),
        (("pyramid", "lateral3", "kernel"), "backbone.fpn.inner_blocks.0.0.weight"),
        (("pyramid", "lateral5", "bias"), "backbone.fpn.inner_blocks.2.0.bias"),
        (("pyramid", "output4", "kernel"), "backbone.fpn.layer_blocks.1.0.weight"),
        (("pyramid", "output6", "bias"), "backbone.fpn.extra_blocks.p6.bias"),
        (("pyramid", "output7", "kernel"), "backbone.fpn.extra_blocks.p7.weight"),
        (
            ("classification_head", "tower_3", "kernel"),
            "head.classification_head.conv.3.0.weight",
        ),
        (("localization_head", "norms_1", "scale"), "head.regression_head.conv.1.1.weight"),
        (("classification_head", "output", "bias"), "head.classification_head.cls_logits.bias"),
        (("localization_head", "output", "kernel"), "head.regression_head.bbox_reg.weight"),
    ],
)
def test_names_of_retinanet(path, key):
    assert detectors._retinanet_key(path) == key


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("backbone", "stem_conv", "kernel"), "backbone.body.conv1.weight"),
        (("pyramid", "output7", "kernel"), "backbone.fpn.extra_blocks.p7.weight"),
        # A convolution, its norm, a ReLU: the third ones are entries 6 and 7, the last 9 and 10.
        (("classification_head", "tower_2", "bias"), "head.classification_head.conv.6.bias"),
        (("classification_head", "norms_2", "scale"), "head.classification_head.conv.7.weight"),
        (("localization_head", "tower_3", "kernel"), "head.regression_head.conv.9.weight"),
        (("localization_head", "norms_3", "bias"), "head.regression_head.conv.10.bias"),
        (("classification_head", "output", "bias"), "head.classification_head.cls_logits.bias"),
        (("localization_head", "output", "kernel"), "head.regression_head.bbox_reg.weight"),
        (
            ("localization_head", "quality_output", "kernel"),
            "head.regression_head.bbox_ctrness.weight",
        ),
        (("localization_head", "quality_output", "bias"), "head.regression_head.bbox_ctrness.bias"),
    ],
)
def test_names_of_fcos(path, key):
    assert detectors._fcos_key(path) == key


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("l2_norm", "scale"), "backbone.scale_weight"),
        (("backbone", "stage4_conv3", "kernel"), "backbone.features.21.weight"),
        (("backbone", "stage5_conv1", "kernel"), "backbone.extra.0.1.weight"),
        (("backbone", "stage5_conv3", "bias"), "backbone.extra.0.5.bias"),
        (("backbone", "fc6", "kernel"), "backbone.extra.0.7.1.weight"),
        (("backbone", "fc7", "bias"), "backbone.extra.0.7.3.bias"),
        (("extra_layers", "conv8_1", "kernel"), "backbone.extra.1.0.weight"),
        (("extra_layers", "conv11_2", "bias"), "backbone.extra.4.2.bias"),
        (("classification_heads_0", "kernel"), "head.classification_head.module_list.0.weight"),
        (("localization_heads_5", "bias"), "head.regression_head.module_list.5.bias"),
    ],
)
def test_names_of_ssd(path, key):
    assert detectors._ssd_key(path) == key


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("backbone", "stem_conv", "kernel"), "backbone.features.0.0.0.weight"),
        # Blocks are counted from 1, behind the stem; stage 5 ends with the 12th.
        (
            ("backbone", "stage5_block2", "squeeze_conv", "bias"),
            "backbone.features.0.12.block.2.fc1.bias",
        ),
        # The 13th is cut: what expands it belongs to the first level, the rest to the second.
        (
            ("backbone", "stage6_block1", "expand_conv", "kernel"),
            "backbone.features.0.13.0.weight",
        ),
        (
            ("backbone", "stage6_block1", "expand_norm", "mean"),
            "backbone.features.0.13.1.running_mean",
        ),
        (
            ("backbone", "stage6_block1", "depthwise_norm", "scale"),
            "backbone.features.1.0.1.1.weight",
        ),
        (
            ("backbone", "stage6_block1", "excite_conv", "kernel"),
            "backbone.features.1.0.2.fc2.weight",
        ),
        (
            ("backbone", "stage6_block3", "project_norm", "var"),
            "backbone.features.1.2.block.3.1.running_var",
        ),
        (("backbone", "stage7_conv", "kernel"), "backbone.features.1.3.0.weight"),
        (("extra_blocks_0", "reduce_conv", "kernel"), "backbone.extra.0.0.0.weight"),
        (("extra_blocks_3", "depthwise_norm", "var"), "backbone.extra.3.1.1.running_var"),
        (("extra_blocks_2", "expand_norm", "bias"), "backbone.extra.2.2.1.bias"),
        (
            ("classification_heads_5", "depthwise_conv", "kernel"),
            "head.classification_head.module_list.5.0.0.weight",
        ),
        (
            ("localization_heads_1", "depthwise_norm", "mean"),
            "head.regression_head.module_list.1.0.1.running_mean",
        ),
        (
            ("classification_heads_0", "output", "bias"),
            "head.classification_head.module_list.0.1.bias",
        ),
    ],
)
def test_names_of_ssdlite(path, key):
    assert detectors._ssdlite_key(path) == key


def test_names_of_before_torchvision_0_13_are_those_of_today():
    old = {
        "backbone.fpn.inner_blocks.2.weight": 0,
        "backbone.fpn.layer_blocks.0.bias": 1,
        "backbone.fpn.extra_blocks.p6.weight": 2,
        "head.classification_head.conv.0.weight": 3,
        "head.classification_head.conv.6.bias": 4,
        "head.regression_head.bbox_reg.weight": 5,
        "backbone.body.layer1.0.conv1.weight": 6,
    }
    today = {
        "backbone.fpn.inner_blocks.2.0.weight": 0,
        "backbone.fpn.layer_blocks.0.0.bias": 1,
        "backbone.fpn.extra_blocks.p6.weight": 2,
        "head.classification_head.conv.0.0.weight": 3,
        "head.classification_head.conv.3.0.bias": 4,
        "head.regression_head.bbox_reg.weight": 5,
        "backbone.body.layer1.0.conv1.weight": 6,
    }
    assert detectors._with_current_names(old) == today
    assert detectors._with_current_names(today) == today


def test_of_the_old_names_of_an_fcos_those_of_its_pyramid_change():
    kept = {
        "head.classification_head.conv.6.bias": 0,
        "head.regression_head.conv.1.weight": 1,
        "head.regression_head.bbox_ctrness.weight": 2,
        "backbone.fpn.extra_blocks.p7.bias": 3,
    }
    old = kept | {"backbone.fpn.inner_blocks.2.weight": 4, "backbone.fpn.layer_blocks.0.bias": 5}
    today = kept | {
        "backbone.fpn.inner_blocks.2.0.weight": 4,
        "backbone.fpn.layer_blocks.0.0.bias": 5,
    }
    assert detectors._with_current_names(old) == today
    assert detectors._with_current_names(today) == today


def imported(architecture, outputs, ids):
    """A detector of two anchors whose every output has its own number."""
    column = np.arange(2 * outputs, dtype=np.float32)
    name = "classification_heads_0" if architecture.startswith("ssd") else "classification_head"
    layer = {"kernel": column.reshape(1, 1, 1, -1), "bias": column}
    head = layer if architecture.startswith("ssd") else {"output": layer, "tower_0": {"bias": 1.0}}
    variables = {"params": {name: head, "localization_head": {"output": layer}}}
    return detectors.ImportedDetector(architecture, {}, variables, ids), name


def test_the_classes_of_a_retinanet_can_be_chosen():
    detector, head = imported("retinanet_resnet50_fpn", 4, (0, 1, 2, 3))
    chosen = detector.with_classes((3, 1))
    output = chosen.variables["params"][head]["output"]
    # Four outputs of anchor 0, then four of anchor 1.
    np.testing.assert_array_equal(output["bias"], [3, 1, 7, 5])
    np.testing.assert_array_equal(output["kernel"].ravel(), [3, 1, 7, 5])
    assert chosen.num_classes == 2 and chosen.category_ids == (3, 1)
    assert chosen.variables["params"][head]["tower_0"]["bias"] == 1.0
    assert chosen.variables["params"]["localization_head"]["output"]["bias"].size == 8


def test_an_ssd_keeps_its_background():
    detector, head = imported("ssd300_vgg16", 4, (1, 2, 3))
    chosen = detector.with_classes((3,))
    np.testing.assert_array_equal(chosen.variables["params"][head]["bias"], [0, 3, 4, 7])


def test_of_a_head_of_an_ssdlite_the_last_layer_has_the_classes():
    column = np.arange(8.0)
    head = {
        "depthwise_conv": {"kernel": np.ones((3, 3, 1, 8))},
        "depthwise_norm": {"scale": np.ones(8)},
        "output": {"kernel": column.reshape(1, 1, 1, 8), "bias": column},
    }
    detector = detectors.ImportedDetector(
        "ssdlite320_mobilenet_v3_large",
        {},
        {"params": {"classification_heads_0": head}},
        (1, 2, 3),
    )
    chosen = detector.with_classes((3,)).variables["params"]["classification_heads_0"]
    # Of two anchors the background and the third class.
    np.testing.assert_array_equal(chosen["output"]["bias"], [0, 3, 4, 7])
    np.testing.assert_array_equal(chosen["output"]["kernel"].ravel(), [0, 3, 4, 7])
    assert chosen["depthwise_conv"]["kernel"].shape == (3, 3, 1, 8)
    assert chosen["depthwise_norm"]["scale"].shape == (8,)


def test_every_key_of_an_ssdlite_is_accounted_for():
    state_dict = Reference("ssdlite320_mobilenet_v3_large").state_dict()
    # The whole last stage has 160 channels, torchvision's own weights 80.
    state_dict["backbone.features.1.2.block.3.0.weight"] = np.zeros((160, 960, 1, 1), np.float32)
    state_dict["backbone.extra.4.0.0.weight"] = np.zeros(1)
    del state_dict["backbone.extra.0.0.1.running_var"]
    with pytest.raises(WeightsError) as refusal:
        weights.detector_of(state_dict, name="x")
    message = str(refusal.value)
    assert "missing: backbone.extra.0.0.1.running_var;" in message
    assert "unexpected: backbone.extra.4.0.0.weight;" in message
    # What else has half of the channels of a whole stage is of another shape.
    assert "running_var (480,) instead of (960,)" in message


def test_a_class_that_has_no_output_is_refused():
    detector, _ = imported("ssd300_vgg16", 4, (1, 2, 3))
    with pytest.raises(WeightsError, match=r"no output for the classes \[0\]"):
        detector.with_classes((0, 1))


def test_other_weights_are_refused():
    with pytest.raises(
        WeightsError,
        match=r"x\.pth is not one of torchvision's .* and ssdlite320_mobilenet_v3_large; set w",
    ):
        weights.detector_of({"conv1.weight": np.zeros(1)}, name="x.pth")


def test_outputs_are_those_of_coco_or_of_anything_else():
    assert imported("retinanet_resnet50_fpn", 91, tuple(range(91)))[0].is_of_coco
    assert imported("ssd300_vgg16", 91, tuple(range(1, 91)))[0].is_of_coco
    assert not imported("ssd300_vgg16", 4, (1, 2, 3))[0].is_of_coco
