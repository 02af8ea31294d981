import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.models import winograd

# Of the norm of a result. These cases reach 3.5e-6 and 6.6e-7 (256 channels), a direct convolution
# in float32 reaches 4.6e-7 there.
BOUND = {4: 6e-6, 2: 1.2e-6}


@pytest.mark.parametrize("tile", [4, 2])
def test_the_matrices_are_exact(tile):
    # One dimension, exact fractions: A^T ((G k) * (B^T d)) is the sum over three neighbors,
    # y_i = d_i k_0 + d_i+1 k_1 + d_i+2 k_2. It is linear in k and in d, so unit vectors are enough.
    exact = np.vectorize(lambda x: Fraction(x).limit_denominator(100), otypes=[object])
    inputs, kernel, outputs = (
        exact(matrices[tile])
        for matrices in (winograd._INPUTS, winograd._KERNEL, winograd._OUTPUTS)
    )
    for place in range(3):
        for seen in range(tile + 2):
            y = outputs @ (kernel[:, place] * inputs[:, seen])
            assert list(y) == [i + place == seen for i in range(tile)]


def test_a_tile_of_2x2_by_hand():
    # Of the map below and a kernel that is 1 but for 2 in its middle, one zero around: the sum of
    # the neighbors and itself once more. 1+2+4+5 + 1 = 13, 1+2+3+4+5+6 + 2 = 23, ...
    x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    kernel = jnp.ones((3, 3, 1, 1)).at[1, 1].set(2.0)
    expected = [[13, 23, 19], [31, 50, 39], [31, 47, 37]]
    for tile in (2, 4):
        (y,) = winograd.convolve((x,), kernel, tile=tile)
        np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-5)


def in_double(maps, kernel, gradients):
    """Results and both gradients by sums over the nine places of the kernel, in float64."""
    kernel = np.asarray(kernel, np.float64)
    results, by_maps, by_kernel = [], [], np.zeros_like(kernel)
    for x, gradient in zip(maps, gradients, strict=True):
        x, gradient = np.asarray(x, np.float64), np.asarray(gradient, np.float64)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        y, by_padded = np.zeros(gradient.shape), np.zeros_like(padded)
        for i in range(3):
            for j in range(3):
                window = np.s_[:, i : i + height, j : j + width]
                y += padded[window] @ kernel[i, j]
                by_padded[window] += gradient @ kernel[i, j].T
                by_kernel[i, j] += np.einsum("bhwc,bhwf->cf", padded[window], gradient)
        results.append(y)
        by_maps.append(by_padded[:, 1:-1, 1:-1])
    return results, by_maps, by_kernel


def drawn(sizes, channels, features, batch=2):
    keys = iter(jax.random.split(jax.random.key(len(sizes)), 2 * len(sizes) + 1))

    def normal(*shape):
        return jax.random.normal(next(keys), shape)

    maps = tuple(normal(batch, *size, channels) for size in sizes)
    gradients = tuple(normal(batch, *size, features) for size in sizes)
    return maps, normal(3, 3, channels, features), gradients


@pytest.mark.parametrize("tile", [4, 2])
@pytest.mark.parametrize(
    ("sizes", "channels", "features"),
    [
        (((1, 1),), 5, 7),
        (((8, 4),), 24, 3),
        (((2, 9),), 1, 2),
        (((13, 7),), 30, 5),
        # One product alone, and two joined.
        (((33, 18), (5, 6), (1, 2)), 4, 6),
    ],
)
def test_values_and_gradients_are_those_of_a_direct_convolution(tile, sizes, channels, features):
    maps, kernel, gradients = drawn(sizes, channels, features)
    results, by_maps, by_kernel = in_double(maps, kernel, gradients)
    near = functools.partial(check, bound=BOUND[tile])
    jax.tree.map(near, list(winograd.convolve(maps, kernel, tile=tile)), results)
    jax.tree.map(near, list(winograd.gradient_by_maps(gradients, kernel, tile=tile)), by_maps)
    near(winograd.gradient_by_kernel(maps, gradients, tile=tile), by_kernel)


def check(result, exact, bound):
    assert (result.dtype, result.shape) == (jnp.float32, exact.shape)
    difference = np.asarray(result, np.float64) - exact
    assert np.linalg.norm(difference) < bound * np.linalg.norm(exact)
    # No single place, as one at the edge, is far off.
    assert np.abs(difference).max() < 5 * bound * np.abs(exact).max()


def test_the_error_of_a_layer_of_a_head_is_small():
    # P5 to P7.
    maps, kernel, gradients = drawn(((8, 8), (4, 4), (2, 2)), 256, 32, batch=1)
    results, by_maps, by_kernel = in_double(maps, kernel, gradients)
    for tile, bound in BOUND.items():
        near = functools.partial(check, bound=bound)
        jax.tree.map(near, list(winograd.convolve(maps, kernel, tile=tile)), results)
        jax.tree.map(near, list(winograd.gradient_by_maps(gradients, kernel, tile=tile)), by_maps)
        near(winograd.gradient_by_kernel(maps, gradients, tile=tile), by_kernel)


def test_small_maps_share_a_product_with_their_neighbors():
    # Tiles of 4x4 of one image: 81, 16, 4, 100 and 1; fewer than 64 are few.
    maps = tuple(jnp.zeros((1, size, size, 1)) for size in (36, 16, 8, 40, 4))
    assert winograd._groups(maps, 4) == [[0], [1, 2], [3], [4]]
    assert winograd.tile_count((2, 5, 9, 1), 4) == 2 * 2 * 3
