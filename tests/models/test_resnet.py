import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.models import layers, resnet

# Parameters of torchvision's models without their classifier: 11,689,512 - 513,000 for ResNet-18,
# 21,797,672 - 513,000 for 34, 25,557,032 - 2,049,000 for 50, 44,549,160 - 2,049,000 for 101 and
# 83,455,272 - 2,049,000 for ResNeXt 64x4d; 44,177,704 - 2,049,000 of timm's 32x4d.
PARAMETERS = {
    "resnet18": 11_176_512,
    "resnet34": 21_284_672,
    "resnet50": 23_508_032,
    "resnet101": 42_500_160,
    "resnext101_32x4d": 42_128_704,
    "resnext101_64x4d": 81_406_272,
}


def small(**options):
    return resnet.ResNet(depth_name="resnet18", width=4, **options)


@pytest.mark.parametrize("name", resnet.RESNETS)
def test_features_and_parameters_of_the_published_models(name):
    model = resnet.ResNet(depth_name=name)
    images = jax.ShapeDtypeStruct((2, 65, 96, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    features, variables = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=False), key, images
    )
    expansion = 4 if resnet.RESNETS[name].bottleneck else 1
    # 65 -> 33 -> 17 -> 9 -> 5 -> 3: every stride rounds up.
    assert [f.shape for f in features] == [
        (2, 17, 24, 64 * expansion),
        (2, 9, 12, 128 * expansion),
        (2, 5, 6, 256 * expansion),
        (2, 3, 3, 512 * expansion),
    ]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == PARAMETERS[name]


@pytest.mark.parametrize("frozen_stages", [pytest.param(-1, marks=pytest.mark.slow), 2])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(frozen_stages):
    model = small(frozen_stages=frozen_stages)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    variables = model.init(jax.random.key(1), x, train=False)

    @jax.jit
    def gradient_and_statistics(params):
        def loss(params):
            features, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return sum(jnp.sum(feature**2) for feature in features), updates["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradient, statistics = gradient_and_statistics(variables["params"])
    for module in gradient:
        frozen = layers.is_frozen((module,), frozen_stages)
        # C2 is an output itself, so that stage 1 is reached even where stage 2 is frozen.
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient[module]))
        assert (largest == 0.0) == frozen, module
    changed = {
        module
        for module in statistics
        if not jax.tree.all(
            jax.tree.map(
                lambda a, b: bool(jnp.all(a == b)),
                statistics[module],
                variables["batch_stats"][module],
            )
        )
    }
    assert changed == {m for m in statistics if not layers.is_frozen((m,), frozen_stages)}


def test_bfloat16_computes_with_float32_parameters():
    model = small(norm="group_norm", dtype=jnp.bfloat16)
    x = jnp.zeros((1, 32, 32, 3))
    key = jax.random.key(0)
    features, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, x, train=True), key
    )
    assert {feature.dtype for feature in features} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_blocks_of_a_resnext_have_groups_in_their_3x3_convolution():
    block = resnet.ResidualBlock(
        channels=32, stride=2, bottleneck=True, norm="frozen_bn", groups=4, width_per_group=6
    )
    x = jnp.zeros((1, 4, 4, 8))
    variables = jax.eval_shape(lambda key: block.init(key, x, train=True), jax.random.key(0))
    kernels = {
        name: leaves["kernel"].shape
        for name, leaves in variables["params"].items()
        if "kernel" in leaves
    }
    # 32 * 6 / 64 = 3 channels in each of 4 groups.
    assert kernels == {
        "conv1": (1, 1, 8, 12),
        "conv2": (3, 3, 3, 12),
        "conv3": (1, 1, 12, 128),
        "shortcut_conv": (1, 1, 8, 128),
    }


def test_a_width_without_a_channel_for_every_group_is_refused():
    # 8 * 4 / 64 channels; 16 is the least with one.
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

    def channels(width):
        model = resnet.ResNet(depth_name="resnext101_32x4d", width=width)
        features, _ = jax.eval_shape(
            lambda key, x: model.init_with_output(key, x, train=False), jax.random.key(0), x
        )
        return [feature.shape[-1] for feature in features]

    assert channels(16) == [64, 128, 256, 512]
    words = "width is 8, but the groups of resnext101_32x4d need at least 16"
    with pytest.raises(ValueError, match=words):
        channels(8)
