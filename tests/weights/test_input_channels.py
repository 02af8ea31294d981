"""Weights for RGB in networks whose images have other channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from ioub_jax import weights
from ioub_jax.detectors import placed
from ioub_jax.devices import placement
from ioub_jax.from_config import training_parts
from ioub_jax.models.interface import for_channels, normalize_images
from ioub_jax.training import initial_weights
from ioub_jax.weights import backbone_names, imported_backbones, mapping
from ioub_jax.weights.input_channels import kernel_for
from tests import tiny

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_an_image_of_equal_channels_gives_what_it_gave_as_rgb(channels):
    kernel = RNG.normal(size=(3, 3, 3, 5)).astype(np.float32)
    gray = RNG.normal(size=(1, 8, 8, 1)).astype(np.float32)

    def convolved(kernel):
        return jax.lax.conv_general_dilated(
            jnp.asarray(gray.repeat(kernel.shape[2], axis=3)),
            jnp.asarray(kernel),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    adapted = kernel_for(kernel, channels)
    assert adapted.shape == (3, 3, channels, 5) and adapted.dtype == np.float32
    np.testing.assert_allclose(convolved(adapted), convolved(kernel), atol=2e-5)


def test_what_each_channel_gets():
    kernel = np.arange(1.0, 4.0, dtype=np.float32).reshape(1, 1, 3, 1)  # 1, 2, 3: mean 2, sum 6
    assert kernel_for(kernel, 1).ravel().tolist() == [6]
    assert kernel_for(kernel, 2).ravel().tolist() == [3, 3]
    assert kernel_for(kernel, 3).ravel().tolist() == [1, 2, 3]
    assert kernel_for(kernel, 4).ravel().tolist() == [0.75, 1.5, 2.25, 1.5]  # 3/4 of 1, 2, 3, 2


def test_means_and_deviations_of_other_channels():
    assert for_channels((1, 2, 6), 3) == (1, 2, 6)
    assert for_channels((1, 2, 6), 1) == (3,)
    assert for_channels((1, 2, 6), 2) == (3, 3)
    assert for_channels((1, 2, 6), 5) == (1, 2, 6, 3, 3)
    assert for_channels((7, 8, 9, 10), 4) == (7, 8, 9, 10)
    with pytest.raises(ValueError, match="there are 2 values; there must be 4, one per ch"):
        for_channels((1, 2), 4)
    pixels = jnp.full((1, 2, 2, 4), 5, jnp.uint8)
    found = normalize_images(pixels, (1, 2, 3, 4), (1, 1, 2, 2))
    assert found[0, 0, 0].tolist() == [4, 3, 1, 0.5]


def random_variables(network, in_channels=3):
    shapes = jax.eval_shape(lambda: placed.init_variables(network, 0, in_channels))
    return jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), shapes)


def detector_of(channels):
    config = tiny.get_config()
    config.model.in_channels = channels
    return config, training_parts.detector_of(config, num_classes=3)


@pytest.fixture(scope="module")
def rgb():
    return random_variables(detector_of(3)[1].network)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_backbone_of_a_file_is_adapted(channels, rgb, tmp_path):
    backbone = {kind: tree["backbone"] for kind, tree in rgb.items() if "backbone" in tree}
    state_dict = mapping.collect(backbone, backbone_names.resnet_key)
    path = tmp_path / "backbone.safetensors"
    path.write_bytes(safetensors.numpy.save(state_dict))
    config, detector = detector_of(channels)
    config.model.pretrained = str(path)
    found = initial_weights.initial_variables(
        detector.abstract_variables,
        training_parts.initial_weights_of(config),
        [(1, "a"), (2, "b"), (3, "c")],
        placement.replicated(detector.mesh),
    )
    stem = found["params"]["backbone"].pop("stem_conv")["kernel"]
    theirs = rgb["params"]["backbone"]
    np.testing.assert_allclose(stem, kernel_for(theirs["stem_conv"]["kernel"], channels))
    rest = {name: tree for name, tree in theirs.items() if name != "stem_conv"}
    jax.tree.map(np.testing.assert_array_equal, found["params"]["backbone"], rest)


def test_a_whole_detector_is_adapted_and_equal_channels_are_not(rgb):
    for channels in (1, 4):
        ours = detector_of(channels)[1].abstract_variables
        adapted = weights.adapted_inputs(rgb, ours)
        shapes = jax.tree.map(lambda leaf: leaf.shape, adapted)
        assert shapes == jax.tree.map(lambda leaf: leaf.shape, ours)
    same = weights.adapted_inputs(rgb, detector_of(3)[1].abstract_variables)
    jax.tree.map(np.testing.assert_array_equal, same, rgb)


@pytest.mark.parametrize("layer", ["stem_conv", "stage1_conv1"])
def test_the_stems_of_all_backbones_are_known(layer):
    names = {"stem_conv": ("conv1", "conv_stem", "_conv_stem"), "stage1_conv1": ("features.0",)}
    keys = (
        backbone_names.resnet_key,
        backbone_names.efficientnet_key_timm,
        backbone_names.efficientnet_key_lukemelas,
        imported_backbones.vgg_key,
    )
    known = {f"{name}.weight" for name in names[layer]}
    found = set()
    for key in keys if layer == "stem_conv" else keys[-1:]:
        try:
            found.add(key((layer, "kernel")))
        except (KeyError, ValueError, IndexError):
            continue
    assert found & known
    tree = {"params": {layer: {"kernel": jax.ShapeDtypeStruct((3, 3, 4, 8), jnp.float32)}}}
    assert weights.of_rgb(tree)["params"][layer]["kernel"].shape == (3, 3, 3, 8)


def test_the_shapes_of_everything_follow_the_channels():
    _, detector = detector_of(4)
    stem = detector.abstract_variables["params"]["backbone"]["stem_conv"]["kernel"]
    assert stem.shape[2] == 4 and len(detector.network.pixel_mean) == 4
    detector.check((64, 64), 3)
    batch = placement.abstract_batch(8, (64, 64), 6, in_channels=4)
    assert batch["image"].shape == (8, 64, 64, 4) and batch["image"].dtype == np.uint8
