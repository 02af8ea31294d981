import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.errors import WeightsError
from ioub_jax.models.mobilenet import MobileNetV3Large
from ioub_jax.weights import backbone_names, imported_backbones, mapping


@pytest.mark.parametrize(
    ("path", "key"),
    [
        # Convolution, ReLU, convolution, ReLU, pool: stage 2 starts at 5, stage 3 at 10, ...
        (("stage1_conv1", "kernel"), "features.0.weight"),
        (("stage1_conv2", "bias"), "features.2.bias"),
        (("stage2_conv1", "kernel"), "features.5.weight"),
        (("stage3_conv3", "kernel"), "features.14.weight"),
        (("stage4_conv1", "kernel"), "features.17.weight"),
        (("stage5_conv3", "bias"), "features.28.bias"),
        (("fc6", "kernel"), "fc6.weight"),
        (("fc7", "bias"), "fc7.bias"),
    ],
)
def test_names_of_vgg16(path, key):
    assert imported_backbones.vgg_key(path) == key


@pytest.mark.parametrize("key", ["features.1.0", "stages.0.blocks.0"])
def test_the_layers_of_convnext_become_convolutions_and_vectors(key):
    names = {"features.1.0": ("block.3", "layer_scale"), "stages.0.blocks.0": ("mlp.fc1", "gamma")}
    layer, scale = names[key]
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    state = {
        f"{key}.{layer}.weight": weight,
        # Torchvision's are [channels, 1, 1], timm's are vectors.
        f"{key}.{scale}": np.array([5.0, 7.0]).reshape((2, 1, 1) if "features" in key else 2),
    }
    if "stages" in key:
        state["stem.0.weight"] = np.zeros((2, 3, 4, 4), np.float32)
    block = {"expand_conv": {"kernel": np.zeros((1, 1, 2, 3))}, "layer_scale": np.zeros(2)}
    template = {"params": {"stage1_block1": block}, "batch_stats": {}}
    if "stages" in key:
        template["params"]["stem_conv"] = {"kernel": np.zeros((4, 4, 3, 2))}
    filled = imported_backbones.backbone_variables(
        state, template, backbone="convnext_tiny", name="f.pth"
    )["params"]["stage1_block1"]
    np.testing.assert_array_equal(filled["expand_conv"]["kernel"][0, 0], weight.T)
    np.testing.assert_array_equal(filled["layer_scale"], [5.0, 7.0])


def vgg_state_dict(first_value):
    """A VGG16 whose every layer but the first two of the classifier is left out."""
    first = np.full((4096, 25088), first_value, np.float32)
    # Output 4, channel 2, row 3, column 6 of the 7x7 inputs: kept as output 1, row 1, column 2.
    first[4].reshape(512, 7, 7)[2, 3, 6] = 5.0
    second = np.zeros((4096, 4096), np.float32)
    second[8, 12] = 7.0  # kept as output 2, input 3
    bias = np.arange(4096, dtype=np.float32)
    return {
        "classifier.0.weight": first,
        "classifier.0.bias": bias,
        "classifier.3.weight": second,
        "classifier.3.bias": bias,
    }


TEMPLATE = {
    "params": {
        "fc6": {"kernel": np.zeros((3, 3, 512, 1024)), "bias": np.zeros(1024)},
        "fc7": {"kernel": np.zeros((1, 1, 1024, 1024)), "bias": np.zeros(1024)},
    },
    "batch_stats": {},
}


def as_timm(values):
    """The same layers as convolutions, by timm's names."""
    return {
        "pre_logits.fc1.weight": values["classifier.0.weight"].reshape(4096, 512, 7, 7),
        "pre_logits.fc1.bias": values["classifier.0.bias"],
        "pre_logits.fc2.weight": values["classifier.3.weight"].reshape(4096, 4096, 1, 1),
        "pre_logits.fc2.bias": values["classifier.3.bias"],
        "head.fc.weight": np.zeros((1000, 4096), np.float32),
    }


@pytest.mark.parametrize("layout", [dict, as_timm])
def test_the_fully_connected_layers_of_vgg16_are_thinned_out(layout):
    params = imported_backbones.backbone_variables(
        layout(vgg_state_dict(0.0)), TEMPLATE, backbone="vgg16", name="vgg16.pth"
    )["params"]
    kernel = params["fc6"]["kernel"]
    assert kernel[1, 2, 2, 1] == 5.0 and np.count_nonzero(kernel) == 1
    assert params["fc7"]["kernel"][0, 0, 3, 2] == 7.0
    # Every fourth of 4096.
    np.testing.assert_array_equal(params["fc7"]["bias"], np.arange(0, 4096, 4))


def test_without_a_usable_classifier_they_are_left_out():
    # Torchvision's weights for SSD have not-a-numbers there, others have no classifier at all.
    for values in (vgg_state_dict(np.nan), {}):
        filled = imported_backbones.backbone_variables(
            values, TEMPLATE, backbone="vgg16", name="f.pth"
        )
        assert filled["params"] == {}


def test_a_classifiers_mobilenet_is_refused_for_a_reduced_tail():
    """Torchvision's SSDLite has half the channels in the last stage."""
    whole, reduced = (
        jax.eval_shape(
            lambda network=network: network.init(
                jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False
            )
        )
        for network in (MobileNetV3Large(), MobileNetV3Large(reduced_tail=True))
    )
    state = mapping.collect(
        jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), whole),
        backbone_names.mobilenet_key,
    )
    arguments = {"backbone": "mobilenet_v3_large", "name": "file.pth"}
    imported_backbones.backbone_variables(state, whole, **arguments)
    with pytest.raises(WeightsError) as error:
        imported_backbones.backbone_variables(state, reduced, **arguments)
    assert str(error.value) == (
        "file.pth has 160 channels in its last stage, as classifiers have, but the network has 80; "
        "set config.model.reduced_tail=False."
    )


def test_a_narrow_mobilenet_is_not_taken_for_one_with_a_reduced_tail():
    """A network of half the channels everywhere cannot be mended by its tail."""
    whole, narrow = (
        jax.eval_shape(
            lambda network=network: network.init(
                jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False
            )
        )
        for network in (MobileNetV3Large(), MobileNetV3Large(multiplier=0.5))
    )
    state = mapping.collect(
        jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), whole),
        backbone_names.mobilenet_key,
    )
    with pytest.raises(WeightsError, match=r"file\.pth does not have the weights of mobilenet"):
        imported_backbones.backbone_variables(
            state, narrow, backbone="mobilenet_v3_large", name="file.pth"
        )
