import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import models
from ioub_jax.models import layers, mobilenet
from tests.models import frozen


def abstract(model, shape):
    """The features and variables of a model, as shapes."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=True), jax.random.key(0), x
    )


def parameter_count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_features_and_parameters_of_the_published_model():
    features, variables = abstract(mobilenet.MobileNetV3Large(), (2, 65, 96, 3))
    # 65 -> 33 -> 17 -> 9 -> 5 -> 3: every stride rounds up.
    assert [f.shape for f in features] == [
        (2, 17, 24, 24),
        (2, 9, 12, 40),
        (2, 5, 6, 112),
        (2, 3, 3, 960),
    ]
    # 5,483,032 of torchvision's without the fully connected layers: 960 * 1280 + 1280 and
    # 1280 * 1000 + 1000.
    assert parameter_count(variables) == 5_483_032 - 1_230_080 - 1_281_000
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_features_of_ssdlite():
    model = mobilenet.MobileNetV3Large(reduced_tail=True, features="ssdlite")
    features, variables = abstract(model, (1, 320, 320, 3))
    assert [f.shape for f in features] == [(1, 20, 20, 672), (1, 10, 10, 480)]
    # Half of 160 and 960, but for what the first block expands to.
    kernels = {
        "/".join(entry.key for entry in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
        if leaf.ndim == 4
    }
    assert kernels["stage6_block1/expand_conv/kernel"] == (1, 1, 112, 672)
    assert kernels["stage6_block1/squeeze_conv/kernel"] == (1, 1, 672, 168)
    assert kernels["stage6_block1/project_conv/kernel"] == (1, 1, 672, 80)
    assert kernels["stage6_block2/expand_conv/kernel"] == (1, 1, 80, 480)
    assert kernels["stage6_block3/squeeze_conv/kernel"] == (1, 1, 480, 120)
    assert kernels["stage7_conv/kernel"] == (1, 1, 80, 480)


def test_a_dilated_tail_keeps_the_stride_of_sixteen():
    model = mobilenet.MobileNetV3Large(dilated=True, multiplier=0.25)
    features, _ = abstract(model, (1, 64, 96, 3))
    assert [f.shape[1:3] for f in features] == [(16, 24), (8, 12), (4, 6), (4, 6)]


@pytest.mark.parametrize(
    # 6 * .5 = 3 is nearest to 0, but there are 8 at least. 18 is nearest to 16, which is less than
    # nine tenths of it, 16.2.
    ("channels", "whole"),
    [(16, 16), (3, 8), (18, 24), (20, 24), (19.9, 24), (168, 168), (43, 40)],
)
def test_channels_are_multiples_of_eight(channels, whole):
    assert mobilenet.whole_channels(channels) == whole


def test_an_inverted_bottleneck_by_hand():
    block = mobilenet.InvertedBottleneck(
        block=mobilenet.Block(3, 2, 1, squeezes=True, activation="hard_swish"),
        dilation=1,
        norm="frozen_bn",
        norm_epsilon=0.0,
    )
    x = jnp.array([3.0, 4.0, 5.0]).reshape(1, 1, 3, 1)
    variables = block.init(jax.random.key(0), x, train=True)
    params = jax.tree.map(jnp.zeros_like, variables["params"]) | {
        name: variables["params"][name] for name in variables["params"] if name.endswith("norm")
    }
    # The channels of the expansion are x and -x; hard swish leaves (3, 4, 5), and zeros for what is
    # below -3.
    params["expand_conv"]["kernel"] = jnp.array([1.0, -1.0]).reshape(1, 1, 1, 2)
    # Every pixel and its left neighbor: 3, 7, 9.
    params["depthwise_conv"]["kernel"] = jnp.zeros((3, 3, 1, 2)).at[1, :2].set(1.0)
    # The mean of 3, 7, 9 is 19 / 3, of which one of eight channels gets 3 / 19: 1. The excitation
    # of the first channel is hard sigmoid of 2 * 1 - 2 = 0, one half.
    kernel = params["squeeze_conv"]["kernel"]
    params["squeeze_conv"]["kernel"] = kernel.at[0, 0, 0, 5].set(3.0 / 19.0)
    kernel = params["excite_conv"]["kernel"]
    params["excite_conv"]["kernel"] = kernel.at[0, 0, 5, 0].set(2.0)
    params["excite_conv"]["bias"] = jnp.array([-2.0, 0.0])
    params["project_conv"]["kernel"] = jnp.array([2.0, 1.0]).reshape(1, 1, 2, 1)
    y, expanded = block.apply({**variables, "params": params}, x, train=True)
    np.testing.assert_allclose(expanded[0, 0], [[3.0, 0.0], [4.0, 0.0], [5.0, 0.0]], atol=1e-6)
    # The projection doubles, has no activation, and x is added.
    np.testing.assert_allclose(y[0, 0, :, 0], [3.0 + 3.0, 4.0 + 7.0, 5.0 + 9.0], atol=1e-5)


def test_a_dilated_convolution_by_hand():
    # Of 1 2 3 4 the kernel sees what is two to the left (5), itself (6) and two to the right (7):
    # 6 + 21, 12 + 28, 5 + 18, 10 + 24.
    conv = layers.GroupedConvolution(1, 3, groups=1, dilation=2, use_bias=True)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, :, 0, 0].set(jnp.array([5.0, 6.0, 7.0]))
    x = jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
    y = conv.apply({"params": {"kernel": kernel, "bias": jnp.array([0.5])}}, x)
    np.testing.assert_array_equal(y[0, 0, :, 0], [27.5, 40.5, 23.5, 34.5])


@pytest.mark.parametrize("frozen_stages", [6])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(frozen_stages, monkeypatch):
    stages = tuple(
        (stage[0]._replace(kernel=1, expanded=8, channels=8),) for stage in mobilenet.STAGES
    )
    monkeypatch.setattr(mobilenet, "STAGES", stages)
    model = mobilenet.MobileNetV3Large(frozen_stages=frozen_stages)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    variables = frozen.random_variables(model, x, 0.1, 1.0)
    for tree in frozen.gradient_and_statistics(model, variables, x, lambda feature: feature**2):
        assert frozen.check_still(tree, frozen_stages)


@pytest.mark.parametrize("norm", ["frozen_bn", "batch_norm", "group_norm"])
def test_bfloat16_computes_with_float32_parameters(norm):
    model = mobilenet.MobileNetV3Large(norm=norm, dtype=jnp.bfloat16)
    features, variables = abstract(model, (1, 32, 32, 3))
    assert {feature.dtype for feature in features} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_the_width_of_a_configuration_multiplies_all_channels():
    half = models.create_backbone("mobilenet_v3_large", width=32, norm="frozen_bn")
    assert half == mobilenet.MobileNetV3Large(
        multiplier=0.5, norm="frozen_bn", norm_epsilon=1e-5, frozen_stages=-1
    )
    features, _ = abstract(half, (1, 32, 32, 3))
    # 24 / 2 = 12 is as near to 8 as to 16, and is rounded up; 40 / 2 = 20 likewise; 6 * 80.
    assert [feature.shape[-1] for feature in features] == [16, 24, 56, 480]


def test_unknown_features_are_refused():
    with pytest.raises(ValueError, match="features is 'c3'; it must be one of c2_to_c5, ssdlite"):
        abstract(mobilenet.MobileNetV3Large(features="c3"), (1, 32, 32, 3))
