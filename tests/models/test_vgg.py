import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.models import layers, vgg


def column(*values):
    """A picture of one column: `[1, H, 1, 1]`."""
    return jnp.array(values, jnp.float32).reshape(1, -1, 1, 1)


def test_the_halving_pool_keeps_a_last_single_row():
    # (1, 3), (2, 0), and -5 alone: what pads it is lower than any number.
    assert vgg.halving_pool(column(1, 3, 2, 0, -5)).reshape(-1).tolist() == [3, 2, -5]
    assert vgg.halving_pool(column(1, 3, 2, 0)).reshape(-1).tolist() == [3, 2]
    assert vgg.halving_pool(jnp.zeros((2, 75, 40, 3))).shape == (2, 38, 20, 3)


def test_the_smoothing_pool_keeps_the_size():
    assert vgg.smoothing_pool(column(-4, -2, -3, -5)).reshape(-1).tolist() == [-2, -2, -2, -3]


@pytest.mark.parametrize(("pool", "window", "stride"), [("halving", 2, 2), ("smoothing", 3, 1)])
def test_pools_are_windowed_maxima(pool, window, stride):
    x = jax.random.normal(jax.random.key(0), (2, 7, 10, 3))
    # An odd side gets its missing row behind it; the 3x3 window one on each side.
    padding = ((0, 1), (0, 0)) if pool == "halving" else ((1, 1), (1, 1))
    expected = jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), *padding, (0, 0)),
    )
    np.testing.assert_array_equal(getattr(vgg, f"{pool}_pool")(x), expected)


def shapes(size, **options):
    model = vgg.VGG16(**options)
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(lambda key: model.init_with_output(key, images), jax.random.key(0))


@pytest.mark.parametrize(("size", "grids"), [(300, (38, 19)), (512, (64, 32))])
def test_strides_are_8_and_16(size, grids):
    features, _ = shapes(size, width=4)
    assert [x.shape for x in features] == [(2, grids[0], grids[0], 32), (2, grids[1], grids[1], 64)]


def test_thirteen_convolutions_and_two_that_were_fully_connected():
    _, variables = shapes(64)
    params = variables["params"]
    count = sum(leaf.size for name in params for leaf in params[name].values())
    # torchvision's vgg16().features has 14,714,688; fc6 9 * 512 * 1024 + 1024, fc7 1024 * 1025.
    assert count == 14_714_688 + 4_719_616 + 1_049_600
    assert params["stage1_conv1"]["kernel"].shape == (3, 3, 3, 64)
    assert params["stage5_conv3"]["kernel"].shape == (3, 3, 512, 512)
    assert params["fc6"]["kernel"].shape == (3, 3, 512, 1024)
    frozen = {name for name in params if layers.is_frozen((name, "kernel"), 2)}
    assert frozen == {f"stage{stage}_conv{i}" for stage in (1, 2) for i in (1, 2)}


def test_fc6_reaches_six_cells_far():
    # Every convolution but fc6 hands on channel 0 as it is, so that conv5_3 has a 1 in cell (7, 7)
    # of 15 x 15; pool5 spreads it by one cell, and fc6 sums nine cells at distances of six.
    model = vgg.VGG16(width=1)
    images = jnp.zeros((1, 240, 240, 3)).at[0, 7 * 16, 7 * 16, 0].set(1.0)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables["params"])
    for name, layer in params.items():
        kernel = layer["kernel"]
        middle = kernel.shape[0] // 2
        taps = (slice(None),) * 2 if name == "fc6" else (middle, middle)
        layer["kernel"] = kernel.at[*taps, 0, 0].set(1.0)
    _, fc7 = jax.jit(model.apply)({"params": params}, images)
    # Rows 7 - 6, 7 and 7 + 6, each with its neighbors.
    seen = np.isin(np.arange(15), [0, 1, 2, 6, 7, 8, 12, 13, 14])
    np.testing.assert_array_equal(fc7[0, :, :, 0], np.float32(seen[:, None] & seen[None, :]))


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2])
def test_frozen_stages_get_no_gradient(frozen_stages):
    model = vgg.VGG16(width=2, frozen_stages=frozen_stages)
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    params = jax.jit(model.init)(jax.random.key(0), images)["params"]

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: sum(jnp.sum(x) for x in model.apply({"params": p}, images)))(
            params
        )

    found = {
        name for name, layer in gradient(params).items() if not np.any(np.asarray(layer["kernel"]))
    }
    assert found == {name for name in params if layers.is_frozen((name,), frozen_stages)}
