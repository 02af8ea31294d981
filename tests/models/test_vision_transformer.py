import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import models
from ioub_jax.models import fpn, vision_transformer
from tests.models import frozen


def abstract(model, shape):
    """The features and variables of a model, as shapes."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=True), jax.random.key(0), x
    )


@pytest.mark.parametrize(
    # timm's, which have a norm of C channels, a classifier of C * 1000 + 1000 and a position of the
    # class token besides. DINOv2's have positions of 37 * 37 patches and two factors for each
    # channel of 12 blocks.
    ("name", "channels", "published"),
    [
        ("vit_small", 384, 22_050_664),
        ("vit_base", 768, 86_567_656),
        ("dinov2_base", 768, 86_567_656 + (37**2 - 14**2 + 24) * 768),
    ],
)
def test_features_and_parameters_of_the_published_models(name, channels, published):
    backbone = models.create_backbone(name, norm="layer_norm", dtype=jnp.bfloat16)
    features, variables = abstract(backbone, (2, 65, 96, 3))
    # 65 -> 17, 9, 5, 3: every stride rounds up.
    assert [f.shape for f in features] == [
        (2, 17, 24, channels // 4),
        (2, 9, 12, channels // 2),
        (2, 5, 6, channels),
        (2, 3, 3, channels),
    ]
    assert {feature.dtype for feature in features} == {jnp.dtype(jnp.bfloat16)}
    params = variables["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    of_pyramid = {module for module in params if module.startswith("pyramid")}
    count = sum(
        leaf.size
        for module in params.keys() - of_pyramid
        for leaf in jax.tree.leaves(params[module])
    )
    assert count == published - 2 * channels - (channels + 1) * 1000 - channels
    assert params["pyramid_double4b"]["kernel"].shape == (2, 2, channels // 2, channels // 4)


@pytest.mark.parametrize("new", [1, 3, 4, 9])
def test_resizing_is_that_of_jax(new):
    # jax.image has the same kernel, antialiasing and border; positions are compared with timm's in
    # tests/parity.
    values = jax.random.normal(jax.random.key(0), (4, 2))
    matrix = vision_transformer.resizing_matrix(4, new)
    theirs = jax.image.resize(values, (new, 2), "bicubic")
    np.testing.assert_allclose(matrix @ values, theirs, atol=1e-5)


def test_resizing_by_hand():
    # Two values to four: their centers are .5 apart, at -.25, .25, .75 and 1.25 of the values'
    # places 0 and 1. Keys' kernel: k(.25) = 1.5/64 - 2.5/16 + 1 = .8671875,
    # k(.75) = 1.5 * 27/64 - 2.5 * 9/16 + 1 = .2265625 and k(1.25) = -.5 * 125/64 + 2.5 * 25/16
    # - 5 + 2 = -.0703125. The first is .8671875 and -.0703125 over their sum.
    matrix = vision_transformer.resizing_matrix(2, 4)
    outer = np.array([0.8671875, -0.0703125]) / (0.8671875 - 0.0703125)
    inner = np.array([0.8671875, 0.2265625]) / (0.8671875 + 0.2265625)
    np.testing.assert_allclose(matrix, [outer, inner, inner[::-1], outer[::-1]], atol=1e-12)
    np.testing.assert_array_equal(vision_transformer.resizing_matrix(5, 5), np.eye(5))


def test_attention_by_hand():
    # Two tokens of one channel: queries are the tokens 1 and -1, keys and values twice and thrice
    # them. Token 1 sees 2 and -2, so weights are sigmoid(4) and the rest; values 3 and -3.
    attention = vision_transformer.Attention(heads=1)
    params = {
        "qkv": {"kernel": jnp.array([[1.0, 2.0, 3.0]]), "bias": jnp.zeros(3)},
        "project": {"kernel": jnp.array([[10.0]]), "bias": jnp.array([0.5])},
    }
    y = attention.apply({"params": params}, jnp.array([1.0, -1.0]).reshape(1, 2, 1))
    share = 1.0 / (1.0 + np.exp(-4.0))
    value = 10.0 * (3.0 * share - 3.0 * (1.0 - share))
    np.testing.assert_allclose(y[0, :, 0], [value + 0.5, -value + 0.5], rtol=1e-5)


def test_doubling_by_hand():
    doubling = vision_transformer.Doubling(1)
    kernel = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    x = jnp.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    y = doubling.apply({"params": {"kernel": kernel, "bias": jnp.array([0.5])}}, x)
    np.testing.assert_array_equal(y[0, :, :, 0], [[1.5, 2.5, 10.5, 20.5], [3.5, 4.5, 30.5, 40.5]])


def test_frozen_stages_get_no_gradient():
    frozen_stages = 1
    model = vision_transformer.VisionTransformer(
        blocks=2, channels=8, heads=2, layer_scale=True, grid=3, frozen_stages=frozen_stages
    )
    x = jax.random.normal(jax.random.key(0), (1, 40, 32, 3))
    variables = frozen.random_variables(model, x, -0.5, 0.5)
    gradient, _ = frozen.gradient_and_statistics(model, variables, x, lambda feature: feature**3)
    still = frozen.check_still(gradient, frozen_stages)
    assert still == {"stem_conv", "stem_class_token", "stem_position", "stage1_block1"}


def test_the_width_of_a_configuration_is_that_of_a_head():
    tiny = models.create_backbone("dinov2_small", norm="layer_norm", width=8)
    assert tiny == vision_transformer.VisionTransformer(
        blocks=12, channels=48, heads=6, layer_scale=True, grid=37
    )
    with pytest.raises(ValueError, match="norm is 'group_norm', but vit_base has only layer norms"):
        models.create_backbone("vit_base", norm="group_norm")


def test_levels_of_a_simple_pyramid_know_nothing_of_each_other():
    pyramid = fpn.FeaturePyramid(channels=2, norm="layer_norm", top_down=False)
    maps = tuple(jnp.ones((1, size, size, 2)) for size in (4, 2, 1))
    variables = pyramid.init(jax.random.key(0), maps)
    assert set(variables["params"]["output3_norm"]) == {"scale", "bias"}

    apply = jax.jit(pyramid.apply)
    before = apply(variables, maps)

    def of_changed(level):
        # Norms make the same of a multiple, so one channel alone is another.
        changed = [m.at[..., 0].add(3.0 * (i == level)) for i, m in enumerate(maps)]
        levels = apply(variables, tuple(changed))
        return [not np.allclose(a, b) for a, b in zip(levels, before, strict=True)]

    assert of_changed(2)[:2] == [False, False]
    assert of_changed(0)[1:] == [False] * 4
