import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.models import layers, resnet

# Parameters of torchvision's models without their classifier: 11,689,512 - 513,000 for ResNet-18,
# 21,797,672 - 513,000 for 34, 25,557,032 - 2,049,000 for 50 and 44,549,160 - 2,049,000 for 101.
PARAMETERS = {
    "resnet18": 11_176_512,
    "resnet34": 21_284_672,
    "resnet50": 23_508_032,
    "resnet101": 42_500_160,
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
    expansion = 4 if resnet.RESNETS[name][1] else 1
    # 65 -> 33 -> 17 -> 9 -> 5 -> 3: every stride rounds up.
    assert [f.shape for f in features] == [
        (2, 17, 24, 64 * expansion),
        (2, 9, 12, 128 * expansion),
        (2, 5, 6, 256 * expansion),
        (2, 3, 3, 512 * expansion),
    ]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == PARAMETERS[name]


def test_max_pool_equals_the_windowed_maximum_and_its_gradient():
    def reference(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(pool, x):
        return pool(x), jax.grad(lambda x: jnp.sum(pool(x) ** 2))(x)

    for height, width in ((7, 8), (8, 7), (1, 2)):
        x = jax.random.normal(jax.random.key(0), (2, height, width, 3))
        ours, theirs = (value_and_gradient(pool, x) for pool in (layers.max_pool, reference))
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_frozen_batch_norm_is_the_affine_map_of_its_statistics():
    norm = layers.FrozenBatchNorm(epsilon=0.0)
    x = jnp.array([[3.0, 5.0]])
    variables = {
        "params": {"scale": jnp.array([2.0, 1.0]), "bias": jnp.array([1.0, 0.0])},
        "batch_stats": {"mean": jnp.array([1.0, 1.0]), "var": jnp.array([4.0, 16.0])},
    }
    # (3 - 1) / 2 * 2 + 1 = 3 and (5 - 1) / 4 * 1 + 0 = 1.
    np.testing.assert_allclose(norm.apply(variables, x), [[3.0, 1.0]])
    gradient = jax.grad(lambda v: jnp.sum(norm.apply(v, x)))(variables)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))
    reference = nn.BatchNorm(use_running_average=True, epsilon=0.0)
    np.testing.assert_allclose(norm.apply(variables, x), reference.apply(variables, x))


def test_batch_norm_takes_its_statistics_over_all_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    norm = layers.make_norm("batch_norm", 3, train=True, name="norm")
    x = jax.random.normal(jax.random.key(1), (8, 2, 2, 3)) * jnp.arange(8.0)[:, None, None, None]
    variables = norm.init(jax.random.key(0), x)
    apply = jax.jit(lambda x: norm.apply(variables, x, mutable=["batch_stats"]))
    y, updates = apply(jax.device_put(x, sharding))
    np.testing.assert_allclose(np.mean(y, axis=(0, 1, 2)), 0.0, atol=1e-6)
    # Momentum .9 from a mean of 0: a tenth of the batch's own mean.
    expected = 0.1 * np.mean(x, axis=(0, 1, 2))
    np.testing.assert_allclose(updates["batch_stats"]["mean"], expected, rtol=1e-5)


@pytest.mark.parametrize("frozen_stages", [-1, 2])
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


def test_is_frozen_follows_the_convention_of_mmdetection():
    stages = ("stem_conv", "stage1_block2", "stage2_block1", "stage4_block1")
    expected = {
        -1: [False] * 4,
        0: [True, False, False, False],
        1: [True, True, False, False],
        4: [True] * 4,
    }
    for frozen_stages, frozen in expected.items():
        assert [layers.is_frozen((stage,), frozen_stages) for stage in stages] == frozen


def test_group_norm_never_holds_less_than_two_channels():
    assert [layers.group_norm(c).num_groups for c in (1, 2, 16, 64, 256)] == [1, 1, 8, 32, 32]


def test_bfloat16_computes_with_float32_parameters():
    model = small(norm="group_norm", dtype=jnp.bfloat16)
    x = jnp.zeros((1, 32, 32, 3))
    key = jax.random.key(0)
    features, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, x, train=True), key
    )
    assert {feature.dtype for feature in features} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth_name": "resnet19"}, "model.backbone is 'resnet19'; it must be one of resnet18"),
        ({"norm": "layer_norm"}, "model.norm is 'layer_norm'; it must be one of frozen_bn"),
    ],
)
def test_unknown_names_are_refused(options, words):
    model = resnet.ResNet(**({"depth_name": "resnet18", "width": 4} | options))
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(
            lambda key: model.init(key, jnp.zeros((1, 32, 32, 3)), train=True), jax.random.key(0)
        )
