import numpy as np
import pytest

from configs import shapes_retinanet, torchvision, voc_folder_retinanet
from ioub_jax import weights
from ioub_jax.errors import WeightsError
from ioub_jax.weights import mapping
from ioub_jax.weights.torchvision_export import _with_epsilon as with_epsilon
from ioub_jax.workdirs import configuration
from tests.parity.comparison import Reference


def test_collecting_is_the_way_back_of_filling():
    kernel = np.arange(120, dtype=np.float32).reshape(5, 4, 3, 2)  # out, in, height, width
    state_dict = {"conv.kernel": kernel, "norm.mean": np.full(5, 2.0, np.float32)}
    template = {
        "params": {"conv": {"kernel": np.zeros((3, 2, 4, 5))}},
        "batch_stats": {"norm": {"mean": np.zeros(5)}},
    }
    variables = mapping.fill(template, state_dict, ".".join, name="x", architecture="toy")
    collected = mapping.collect(variables, ".".join)
    assert collected.keys() == state_dict.keys()
    for key, value in collected.items():
        np.testing.assert_array_equal(value, state_dict[key])
        assert value.flags.c_contiguous  # safetensors writes the memory as it lies


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param("retinanet_resnet50_fpn", marks=pytest.mark.slow),
        "retinanet_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        pytest.param("ssd300_vgg16", marks=pytest.mark.slow),
        "ssdlite320_mobilenet_v3_large",
    ],
)
def test_weights_that_came_in_go_out_as_they_were(architecture):
    state_dict = Reference(architecture).state_dict()
    imported = weights.detector_of(state_dict, name="file")
    if architecture == "retinanet_resnet50_fpn":
        # That of the published file with 91 outputs is 0, which would change the scales.
        imported.config["model"]["norm_epsilon"] = 1e-5
    exported = weights.torchvision_export(
        imported.variables,
        imported.config,
        num_classes=imported.num_classes,
        name="file",
    )
    assert exported.architecture == architecture
    assert exported.state_dict.keys() == state_dict.keys()
    for key, value in exported.state_dict.items():
        np.testing.assert_array_equal(value, state_dict[key], err_msg=key)
    assert exported.arguments["num_classes"] == 91


def test_another_epsilon_goes_into_the_scale():
    # 2 / sqrt(8e-5) is 2 * sqrt(9e-5 / 8e-5) / sqrt(8e-5 + 1e-5).
    params = {"norm": {"scale": np.array([2.0], np.float32), "bias": np.ones(1, np.float32)}}
    stats = {"norm": {"mean": np.zeros(1), "var": np.array([8e-5])}}
    changed = with_epsilon(params, stats, 0.0, 1e-5)
    np.testing.assert_allclose(changed["norm"]["scale"], 2.0 * 1.125**0.5, rtol=1e-6)
    np.testing.assert_array_equal(changed["norm"]["bias"], 1.0)


def export(config):
    settings = configuration.to_dict(config)
    return weights.torchvision_export({"params": {}}, settings, num_classes=8, name="runs/mine")


def test_the_arguments_are_those_of_the_constructor():
    assert export(torchvision.get_config("retinanet_resnet50_fpn")).arguments == {
        "num_classes": 8,
        "image_mean": pytest.approx([0.485, 0.456, 0.406]),
        "image_std": pytest.approx([0.229, 0.224, 0.225]),
        "score_thresh": 0.05,
        "nms_thresh": 0.5,
        "detections_per_img": 300,
        "topk_candidates": 1000,
        "min_size": 800,
        "max_size": 1333,
    }
    arguments = export(torchvision.get_config("fcos_resnet50_fpn")).arguments
    numbers = ("score_thresh", "nms_thresh", "detections_per_img", "topk_candidates")
    assert [arguments[name] for name in numbers] == [0.2, 0.6, 100, 1000]
    # The first output of an SSD is the background, and its size is fixed.
    arguments = export(torchvision.get_config("ssd300_vgg16")).arguments
    assert arguments["num_classes"] == 9 and arguments["topk_candidates"] == 400
    assert "min_size" not in arguments
    assert export(torchvision.get_config("ssdlite320_mobilenet_v3_large")).arguments == {
        "num_classes": 9,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "score_thresh": 0.001,
        "nms_thresh": 0.55,
        "detections_per_img": 300,
        "topk_candidates": 300,
    }


@pytest.mark.parametrize("architecture", torchvision.ARCHITECTURES)
def test_a_retinanet_may_train_its_norms_and_have_any_prior(architecture):
    config = torchvision.get_config(architecture)
    if config.model.name != "ssd":
        config.model.update({"norm": "batch_norm", "frozen_stages": -1, "dtype": "bfloat16"})
    if "head" in config.model:
        config.model.head.prior_probability = 0.1
    assert export(config).architecture == architecture


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (shapes_retinanet.get_config(), "model.width is 16, there 64"),
        (voc_folder_retinanet.get_config("lite0"), "model.backbone is 'efficientnet_lite0', there"),
    ],
)
def test_what_stands_in_the_way_is_named(config, words):
    with pytest.raises(WeightsError) as refusal:
        export(config)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith("runs/mine is not a detector that torchvision can build")


def refusal_with(architecture, key, value):
    """The sentence that refuses one of torchvision's detectors with another value of a key."""
    config = torchvision.get_config(architecture)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(WeightsError) as refusal:
        export(config)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.norm", "group_norm", "fpn: model.norm is 'group_norm', there 'frozen_bn'."),
        ("model.fpn.norm", "group_norm", "fpn: model.fpn.norm is 'group_norm', there 'none'."),
        ("anchors.center_offset", 0.5, "fpn: anchors.center_offset is 0.5, there 0.0."),
        ("anchors.base_scale", 2.0, "fpn: anchors.base_scale is 2.0, there 4.0."),
        ("model.fpn.p6_from", "c5", "fpn: model.fpn.p6_from is 'c5', there 'p5'."),
    ],
)
def test_one_option_is_enough(key, value, words):
    assert words in refusal_with("retinanet_resnet50_fpn", key, value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.head.distances", "exp", "fpn: model.head.distances is 'exp', there 'relu'."),
        ("model.head.level_scales", True, "fpn: model.head.level_scales is True, there False."),
        ("loss.quality.target", "none", "has loss.quality.target=none, so it has no centerness"),
        (
            "evaluation.score_exponents",
            (1.0, 1.0),
            "has evaluation.score_exponents=(1.0, 1.0), but the scores of torchvision's FCOS",
        ),
    ],
)
def test_what_torchvisions_fcos_cannot_do_is_named(key, value, words):
    assert words in refusal_with("fcos_resnet50_fpn", key, value)


def test_the_quality_of_an_fcos_may_be_learned_as_something_else():
    config = torchvision.get_config("fcos_resnet50_fpn")
    config.loss.quality.target = "iou"
    assert export(config).architecture == "fcos_resnet50_fpn"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.reduced_tail", False, "large: model.reduced_tail is False, there True."),
        ("model.norm", "group_norm", "large: model.norm is 'group_norm', there 'batch_norm'."),
        ("anchors.stride_from_grid", False, "anchors.stride_from_grid is False, there True."),
    ],
)
def test_what_torchvisions_ssdlite_cannot_be_is_named(key, value, words):
    assert words in refusal_with("ssdlite320_mobilenet_v3_large", key, value)


def test_the_scales_of_an_ssdlite_are_for_its_epsilon():
    # sqrt((.003 + .001) / (.003 + 0)) = 1.1547 of the scale 3.
    settings = configuration.to_dict(torchvision.get_config("ssdlite320_mobilenet_v3_large"))
    settings["model"]["norm_epsilon"] = 0.0
    norm = {"scale": np.full(1, 3.0, np.float32), "bias": np.zeros(1, np.float32)}
    variables = {
        "params": {"backbone": {"stem_norm": norm}},
        "batch_stats": {"backbone": {"stem_norm": {"mean": np.zeros(1), "var": np.full(1, 0.003)}}},
    }
    exported = weights.torchvision_export(variables, settings, num_classes=8, name="mine")
    scale = exported.state_dict["backbone.features.0.0.1.weight"]
    np.testing.assert_allclose(scale, 3.0 * (4 / 3) ** 0.5, rtol=1e-6)
    assert exported.state_dict["backbone.features.0.0.1.num_batches_tracked"] == 0


def test_a_suppression_that_torchvision_lacks_is_refused():
    config = torchvision.get_config("retinanet_resnet50_fpn")
    config.evaluation.suppression = "soft_nms_linear"
    with pytest.raises(WeightsError, match="suppression=soft_nms_linear, but torchvision's detect"):
        export(config)
