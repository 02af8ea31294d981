import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.models import convolutions, layers


def shaped(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


# Maps of four images, or as many as the first number says.
@pytest.mark.parametrize(
    ("maps", "kernel", "stride", "algorithm"),
    [
        # Of RetinaNet-R50 at 256x256: a layer of the heads, stages 1 to 4, their strides, P6.
        ([(4, 32), (4, 16), (4, 8), (4, 4), (4, 2)], (3, 256, 256), 1, "winograd_4x4"),
        ([(4, 64)], (3, 64, 64), 1, "direct"),
        ([(4, 32)], (3, 128, 128), 1, "winograd_4x4"),
        ([(4, 8)], (3, 512, 512), 1, "winograd_2x2"),  # 16 tiles of 4x4
        ([(4, 64)], (3, 128, 128), 2, "direct"),
        ([(4, 16)], (3, 512, 512), 2, "patches"),  # 4 * 8 * 8 = 256 places for 512 channels
        ([(4, 8)], (3, 2048, 256), 2, "patches"),
        ([(4, 256)], (7, 3, 64), 2, "direct"),
        # 6 * 4 = 24 tiles, and 5 * 4.
        ([(6, 8)], (3, 96, 96), 1, "winograd_4x4"),
        ([(5, 8)], (3, 96, 96), 1, "winograd_2x2"),
        ([(3, 4)], (3, 96, 96), 1, "patches"),  # 3 tiles, 48 places
        ([(6, 8)], (3, 95, 96), 1, "direct"),
        # Several maps that share a kernel need fewer channels.
        ([(6, 8), (1, 1)], (3, 64, 64), 1, "winograd_4x4"),
        ([(6, 8), (1, 1)], (3, 63, 64), 1, "direct"),
        ([(2, 2)], (3, 8, 8), 1, "patches"),  # as many places as channels
        ([(2, 2)], (3, 7, 8), 1, "direct"),
    ],
)
def test_what_a_layer_takes_on_a_cpu(maps, kernel, stride, algorithm):
    size, channels, features = kernel
    arrays = tuple(shaped(batch, side, side, channels) for batch, side in maps)
    weights = shaped(size, size, channels, features)
    assert convolutions.algorithm_on_cpu(arrays, weights, stride=stride) == algorithm
    halves = tuple(shaped(*x.shape, dtype=jnp.bfloat16) for x in arrays)
    assert convolutions.algorithm_on_cpu(halves, weights, stride=stride) == "direct"


def gradients(convolve, x, kernel):
    @jax.jit
    def run(x, kernel):
        value, pull_back = jax.vjp(convolve, x, kernel)
        weights = jax.random.normal(jax.random.key(7), value.shape).astype(value.dtype)
        return value, *pull_back(weights)

    return run(x, kernel)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "shape"),
    [
        (1, 1, "symmetric", (2, 5, 4, 6)),
        (1, 2, "symmetric", (2, 5, 4, 2)),
        (3, 1, "symmetric", (2, 7, 6, 3)),
        (3, 2, "symmetric", (3, 9, 8, 3)),
        (3, 2, "same", (2, 8, 9, 3)),
        (7, 2, "symmetric", (1, 16, 13, 3)),
    ],
)
@pytest.mark.parametrize("places", [1024, 9])
def test_gradients_of_convolutions_are_xlas(monkeypatch, size, stride, padding, shape, places):
    # A block of at most 9 places cuts every one of these into several.
    monkeypatch.setattr(convolutions, "_PLACES_OF_A_BLOCK", places)
    compare_with_xla(size, stride, padding, shape)


@pytest.mark.parametrize(
    ("stride", "padding", "shape", "algorithm"),
    [
        (1, "symmetric", (1, 2, 3, 6), "patches"),
        (2, "symmetric", (1, 5, 4, 6), "patches"),
        (2, "same", (1, 4, 5, 6), "patches"),
        (1, "symmetric", (1, 9, 11, 96), "winograd_2x2"),
        (1, "same", (3, 11, 9, 96), "winograd_4x4"),
    ],
)
def test_other_algorithms_are_xlas(stride, padding, shape, algorithm):
    taken = convolutions.algorithm_on_cpu(
        (shaped(*shape),), shaped(3, 3, shape[-1], 4), stride=stride
    )
    assert taken == algorithm
    compare_with_xla(3, stride, padding, shape)


def compare_with_xla(size, stride, padding, shape):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (size, size, shape[-1], 4))
    ours = layers.convolution(4, size, stride=stride, padding=padding)
    of_xla = nn.Conv(
        4,
        (size, size),
        strides=(stride, stride),
        padding="SAME" if padding == "same" else size // 2,
        use_bias=False,
    )
    results = [
        gradients(
            lambda x, kernel, layer=layer: layer.apply({"params": {"kernel": kernel}}, x), x, kernel
        )
        for layer in (ours, of_xla)
    ]
    for ours, xlas in zip(*results, strict=True):
        assert ours.shape == xlas.shape
        # Sums of some hundred products; tiles of 4x4 are the least exact (test_winograd.py).
        np.testing.assert_allclose(ours, xlas, rtol=1e-4, atol=2e-5 * jnp.abs(xlas).max())


def test_bfloat16_is_convolved_directly():
    # Winograd's transforms take sums of numbers of unlike size: 8 bits are too few for them.
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (3, 9, 11, 96), jnp.bfloat16)
    kernel = jax.random.normal(keys[1], (3, 3, 96, 4), jnp.bfloat16)

    def convolve(x, kernel):
        return convolutions.spatial_convolution(x, kernel, stride=1, padding="symmetric")

    exact = gradients(convolve, x.astype(jnp.float32), kernel.astype(jnp.float32))
    for result, expected in zip(gradients(convolve, x, kernel), exact, strict=True):
        assert result.dtype == jnp.bfloat16
        difference = result.astype(jnp.float32) - expected
        assert jnp.linalg.norm(difference) < 0.01 * jnp.linalg.norm(expected)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_keep_the_convolution_of_xla(platform):
    maps = tuple(shaped(4, size, size, 96) for size in (16, 2))
    kernel = shaped(3, 3, 96, 96)

    def loss(convolve, maps, kernel):
        return sum(jnp.sum(jnp.sin(y)) for y in convolve(maps, kernel))

    def ours(maps, kernel):
        return convolutions.convolve_maps(maps, kernel, stride=1, padding="symmetric")

    def plain(maps, kernel):
        return [
            jax.lax.conv_general_dilated(
                x, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            for x in maps
        ]

    programs = []
    for convolve in (ours, plain):
        gradient = jax.jit(lambda *a, f=convolve: jax.grad(loss, argnums=(1, 2))(f, *a))
        lowered = gradient.trace(maps, kernel).lower(lowering_platforms=(platform,)).as_text()
        lines = [line.partition("=")[2] for line in lowered.splitlines()]
        programs.append(sorted(line.split("(")[0] for line in lines if "convolution" in line))
        assert "dot_general" not in lowered
    # Two maps: forward, by the map and by the kernel.
    assert len(programs[0]) == 6
    assert programs[0] == programs[1]
