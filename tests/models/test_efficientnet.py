import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import models
from ioub_jax.models import efficientnet, resnet
from tests.models import frozen


def abstract(model, shape):
    """The features and variables of a model, as shapes."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=True), jax.random.key(0), x
    )


@pytest.fixture
def small_stages(monkeypatch):
    """One 1x1 block a stage: the gradient of the whole model takes long to compile."""
    stages = tuple(stage._replace(blocks=1, kernel=1, channels=4) for stage in efficientnet.STAGES)
    monkeypatch.setattr(efficientnet, "STAGES", stages)


def test_features_and_parameters_of_the_published_model():
    features, variables = abstract(efficientnet.EfficientNetLite0(), (2, 65, 96, 3))
    # 65 -> 33 -> 17 -> 9 -> 5 -> 3: every stride rounds up.
    assert [f.shape for f in features] == [
        (2, 17, 24, 24),
        (2, 9, 12, 40),
        (2, 5, 6, 112),
        (2, 3, 3, 320),
    ]
    # 4,652,008 of timm's tf_efficientnet_lite0 without the head's 320 * 1280 + 2 * 1280 = 412,160
    # and the classifier's 1280 * 1000 + 1000 = 1,281,000.
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == 4_652_008 - 412_160 - 1_281_000
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_an_inverted_bottleneck_by_hand():
    block = efficientnet.InvertedBottleneck(
        kernel=3,
        stride=1,
        expansion=2,
        channels=1,
        padding="same",
        norm="frozen_bn",
        norm_epsilon=0.0,
    )
    x = jnp.array([1.0, 2.0, 5.0]).reshape(1, 1, 3, 1)
    variables = block.init(jax.random.key(0), x, train=True)
    # The channels of the expansion are 2 x and -x; ReLU6 leaves (2, 4, 6) and zeros.
    variables["params"]["expand_conv"]["kernel"] = jnp.array([2.0, -1.0]).reshape(1, 1, 1, 2)
    # Every pixel and its left neighbor: 2, 6, 10, after ReLU6 2, 6, 6.
    shifts = jnp.zeros((3, 3, 1, 2)).at[1, :2].set(1.0)
    variables["params"]["depthwise_conv"]["kernel"] = shifts
    # The projection has no activation: -2, -6, -6, and x is added.
    variables["params"]["project_conv"]["kernel"] = jnp.array([-1.0, 1.0]).reshape(1, 1, 2, 1)
    y = block.apply(variables, x, train=True)
    np.testing.assert_allclose(y[0, 0, :, 0], [1.0 - 2.0, 2.0 - 6.0, 5.0 - 6.0], atol=1e-6)


@pytest.mark.usefixtures("small_stages")
def test_the_padding_of_the_model_reaches_its_stem_and_its_blocks():
    model = efficientnet.EfficientNetLite0(norm="frozen_bn", padding="symmetric")
    x = jnp.zeros((1, 32, 32, 3))
    paddings = []

    def record(next_function, args, kwargs, context):
        if context.module.name in ("stem_conv", "depthwise_conv"):
            paddings.append(context.module.padding)
        return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda key: model.init(key, x, train=False), jax.random.key(0))
    # That of the stem is flax's.
    assert paddings == [1, *["symmetric"] * 7]


@pytest.mark.usefixtures("small_stages")
@pytest.mark.parametrize("frozen_stages", [-1, 3])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(frozen_stages):
    model = efficientnet.EfficientNetLite0(frozen_stages=frozen_stages)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))

    variables = frozen.random_variables(model, x, 0.1, 1.0)
    for tree in frozen.gradient_and_statistics(model, variables, x, lambda feature: feature**2):
        frozen.check_still(tree, frozen_stages)


@pytest.mark.parametrize("norm", ["frozen_bn", "batch_norm", "group_norm"])
def test_bfloat16_computes_with_float32_parameters(norm):
    model = efficientnet.EfficientNetLite0(norm=norm, dtype=jnp.bfloat16)
    features, variables = abstract(model, (1, 32, 32, 3))
    assert {feature.dtype for feature in features} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


OPTIONS = {
    "norm": "frozen_bn",
    "norm_epsilon": 1e-3,
    "frozen_stages": 1,
    "dtype": jnp.dtype(jnp.bfloat16),
}


def test_create_backbone_passes_its_options_on():
    lite0 = models.create_backbone("efficientnet_lite0", **OPTIONS)
    assert lite0 == efficientnet.EfficientNetLite0(**OPTIONS)
    resnext = models.create_backbone("resnext101_32x4d", width=32, **OPTIONS)
    assert resnext == resnet.ResNet(depth_name="resnext101_32x4d", width=32, **OPTIONS)


@pytest.mark.parametrize(
    ("name", "width", "words"),
    [
        (
            "resnet19",
            64,
            "backbone is 'resnet19'; it must be one of resnet18, resnet34, resnet50, "
            "resnet101, resnext101_32x4d, resnext101_64x4d, efficientnet_lite0, "
            "mobilenet_v3_large, convnext_tiny, convnext_small, vit_small, vit_base, "
            "dinov2_small, dinov2_base.",
        ),
        (
            "efficientnet_lite0",
            32,
            "width is 32, but efficientnet_lite0 has one width; leave it at 64.",
        ),
    ],
)
def test_create_backbone_refuses_what_does_not_exist(name, width, words):
    with pytest.raises(ValueError) as error:
        models.create_backbone(name, width=width)
    assert str(error.value) == words
