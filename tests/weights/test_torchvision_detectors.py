import numpy as np
import pytest

from ioub_jax import weights
from ioub_jax.errors import WeightsError
from ioub_jax.weights import torchvision_detectors as detectors


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


def test_a_class_that_has_no_output_is_refused():
    detector, _ = imported("ssd300_vgg16", 4, (1, 2, 3))
    with pytest.raises(WeightsError, match=r"no output for the classes \[0\]"):
        detector.with_classes((0, 1))


def test_other_weights_are_refused():
    with pytest.raises(
        WeightsError,
        match=r"x\.pth is not one of torchvision's .*, fcos_resnet50_fpn and ssd300_vgg16; weights",
    ):
        weights.detector_of({"conv1.weight": np.zeros(1)}, name="x.pth")


def test_outputs_are_those_of_coco_or_of_anything_else():
    assert imported("retinanet_resnet50_fpn", 91, tuple(range(91)))[0].is_of_coco
    assert imported("ssd300_vgg16", 91, tuple(range(1, 91)))[0].is_of_coco
    assert not imported("ssd300_vgg16", 4, (1, 2, 3))[0].is_of_coco
