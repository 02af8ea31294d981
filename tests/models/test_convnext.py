import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import models
from ioub_jax.models import convnext, grouped_convolutions, patches
from tests.models import frozen


def abstract(model, shape):
    """The features and variables of a model, as shapes."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=True), jax.random.key(0), x
    )


@pytest.mark.parametrize(
    # num_params of torchvision's weights, which has a norm of 768 channels and a classifier
    # of 768 * 1000 + 1000 besides.
    ("name", "published"),
    [("convnext_tiny", 28_589_128), ("convnext_small", 50_223_688)],
)
def test_features_and_parameters_of_the_published_models(name, published):
    backbone = models.create_backbone(name, norm="layer_norm", dtype=jnp.bfloat16)
    features, variables = abstract(backbone, (2, 65, 96, 3))
    # 65 -> 17 -> 9 -> 5 -> 3: every stride rounds up.
    assert [f.shape for f in features] == [
        (2, 17, 24, 96),
        (2, 9, 12, 192),
        (2, 5, 6, 384),
        (2, 3, 3, 768),
    ]
    assert {feature.dtype for feature in features} == {jnp.dtype(jnp.bfloat16)}
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == published - 2 * 768 - 769_000
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_a_patch_convolution_by_hand():
    # 1 2 3 under the kernels (10 1) and (0 -1) of a row of a patch; behind the 3 is a zero.
    conv = patches.PatchConvolution(2, 2)
    x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    kernel = jnp.zeros((2, 2, 1, 2)).at[0, :, 0].set(jnp.array([[10.0, 0.0], [1.0, -1.0]]))
    y = conv.apply({"params": {"kernel": kernel, "bias": jnp.array([0.5, 0.0])}}, x)
    np.testing.assert_array_equal(y[0, 0], [[12.5, -2.0], [30.5, 0.0]])


def test_a_patch_convolution_is_the_convolution_of_that_stride():
    keys = jax.random.split(jax.random.key(0))
    x, kernel = jax.random.normal(keys[0], (2, 8, 12, 3)), jax.random.normal(keys[1], (4, 4, 3, 5))
    y = patches.PatchConvolution(5, 4).apply({"params": {"kernel": kernel, "bias": jnp.ones(5)}}, x)
    other = jax.lax.conv_general_dilated(
        x, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(y, other + 1.0, atol=1e-4)


def test_the_gradient_of_a_seven_by_seven_depthwise_convolution_is_that_of_xla():
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], (2, 9, 5, 3)), jax.random.normal(keys[1], (7, 7, 1, 3))
    weights = jax.random.normal(keys[2], x.shape)

    def gradients(function):
        def loss(x, kernel):
            y = function(x, kernel, stride=1, groups=3, padding="symmetric")
            return jnp.sum(weights * y)

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

    ours = gradients(grouped_convolutions.grouped_convolution_by_shifts)
    theirs = gradients(grouped_convolutions.grouped_convolution_by_xla)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_block_by_hand():
    block = convnext.ConvNeXtBlock()
    x = jnp.array([[2.0, 4.0], [6.0, 2.0]]).reshape(1, 1, 2, 2)
    variables = jax.eval_shape(block.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables["params"])
    # Every pixel sees itself: it is passed on, and 1 added to the second channel by the bias.
    params["depthwise_conv"]["kernel"] = jnp.zeros((7, 7, 1, 2)).at[3, 3].set(1.0)
    params["depthwise_conv"]["bias"] = jnp.array([0.0, 1.0])
    # Of (2, 5) and (6, 3) the norm makes (-1, 1) and (1, -1), but for the epsilon.
    params["norm"]["scale"] = jnp.ones(2)
    # The first channel and a third, which is GELU(0) = 0.
    params["expand_conv"]["kernel"] = jnp.zeros((1, 1, 2, 8)).at[0, 0, 0, 0].set(1.0)
    params["project_conv"]["kernel"] = jnp.zeros((1, 1, 8, 2)).at[0, 0, 0, 1].set(1.0)
    params["layer_scale"] = jnp.array([7.0, 10.0])
    y = block.apply({"params": params}, x)
    # x times the normal distribution's share below x, the exact GELU.
    below = 0.5 * (1.0 + math.erf(1.0 / math.sqrt(2.0)))
    added = [-10.0 * (1.0 - below), 10.0 * below]
    np.testing.assert_allclose(y[0, 0], [[2.0, 4.0 + added[0]], [6.0, 2.0 + added[1]]], atol=1e-4)


def test_frozen_stages_get_no_gradient():
    frozen_stages = 1
    model = convnext.ConvNeXt(blocks=(1, 1), channels=2, frozen_stages=frozen_stages)
    x = jax.random.normal(jax.random.key(0), (1, 16, 24, 3))
    variables = frozen.random_variables(model, x, 0.1, 1.0)
    gradient, _ = frozen.gradient_and_statistics(model, variables, x, lambda feature: feature**3)
    still = frozen.check_still(gradient, frozen_stages)
    assert still == {"stem_conv", "stem_norm", "stage1_block1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"norm": "batch_norm"},
            "norm is 'batch_norm', but convnext_tiny has only layer norms; set it to 'layer_norm'.",
        ),
        (
            {"norm": "layer_norm", "width": 33},
            "width is 33, but 96 channels of convnext_tiny times 33 / 64 is not a whole number; "
            "make it a multiple of 2.",
        ),
    ],
)
def test_create_backbone_refuses_what_does_not_exist(arguments, words):
    with pytest.raises(ValueError) as error:
        models.create_backbone("convnext_tiny", **arguments)
    assert str(error.value) == words


def test_no_other_backbone_has_layer_norms():
    with pytest.raises(ValueError, match="norm is 'layer_norm', but resnet18 has batch norms"):
        models.create_backbone("resnet18", norm="layer_norm")


def test_the_width_of_a_configuration_multiplies_all_channels():
    small = models.create_backbone("convnext_small", norm="layer_norm", width=16, frozen_stages=1)
    assert small == convnext.ConvNeXt(blocks=(3, 3, 27, 3), channels=24, frozen_stages=1)
