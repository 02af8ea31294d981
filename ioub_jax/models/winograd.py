"""3x3 convolutions with stride 1 by Winograd's algorithms F(4x4, 3x3) and F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4. A
tile of outputs is `A^T ((G k G^T) * (B^T d B)) A`, where `d` are its inputs, two rows and columns
more than the tile has. A tile of 4x4 outputs takes 36 products of numbers instead of 144, a tile of
2x2 takes 16 instead of 36. Over channels these become 36 or 16 matrix products, and each transform
is the product with one constant matrix. Both gradients take as few products.

Maps of several sizes that share a kernel, such as the levels of a detector's head, share its
transform and its gradient. Small maps share the products, too.

In float32 with 256 channels, the error of the results relative to their norm is 3e-6 with tiles of
4x4, which sum numbers of different magnitudes, 6e-7 with tiles of 2x2, and 4e-7 for a direct
convolution.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

#: Several maps `[B, H, W, C]`, whose sizes may differ.
Maps = tuple[jax.Array, ...]

# The matrices B^T, G and A^T of the paper, by the side of a tile.
_INPUTS = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
}
_KERNEL = {
    2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    4: np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
}
_OUTPUTS = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    4: np.array(
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    ),
}

# Maps with fewer tiles share a product, since reading the kernel dominates products with few rows.
_FEW_TILES = 64


@functools.partial(jax.jit, static_argnames="tile")
def convolve(maps: Maps, kernel: jax.Array, *, tile: int) -> Maps:
    """Convolutions with a padding of one zero on every side.

    Args:
      maps: `[B, H, W, C]` each.
      kernel: `[3, 3, C, F]`.
      tile: side of a tile of outputs, 4 or 2.

    Returns:
      `[B, H, W, F]` for each map.
    """
    transformed = _of_kernel(kernel, tile)
    return _convolve(maps, transformed, contracted=1, tile=tile)


@functools.partial(jax.jit, static_argnames="tile")
def gradient_by_maps(gradients: Maps, kernel: jax.Array, *, tile: int) -> Maps:
    """The gradients of `convolve` with respect to its maps `[B, H, W, C]`.

    Args:
      gradients: the gradient with respect to each result, `[B, H, W, F]`.
      kernel: `[3, 3, C, F]`.
      tile: as for `convolve`.
    """
    # XLA would transform all kernels before the first of these convolutions and keep them in
    # memory. The kernel is therefore made to depend on the gradients. This changes the result only
    # if a gradient is NaN, which makes everything NaN in any case.
    known = jax.lax.index_in_dim(gradients[0].reshape(-1), 0)
    kernel = jnp.where(known == known, kernel, jnp.nan)
    # The gradient is a convolution with the kernel rotated by 180 degrees.
    transformed = _of_kernel(kernel[::-1, ::-1], tile)
    return _convolve(gradients, transformed, contracted=2, tile=tile)


@functools.partial(jax.jit, static_argnames="tile")
def gradient_by_kernel(maps: Maps, gradients: Maps, *, tile: int) -> jax.Array:
    """The gradient of `convolve` with respect to its kernel `[3, 3, C, F]`.

    Args:
      maps: `[B, H, W, C]` each.
      gradients: the gradient with respect to each result, `[B, H, W, F]`.
      tile: as for `convolve`.
    """
    sums = []
    for group in _groups(maps, tile):
        inputs = _joined([_of_inputs(maps[i], tile) for i in group])
        outputs = _joined([_of_outputs(gradients[i], tile) for i in group])
        sums.append(_products(inputs, outputs, 1, 1))
    products = sum(sums[1:], sums[0])
    return _transformed(_KERNEL[tile].T, products).reshape(3, 3, *products.shape[1:])


def known_batch(shape: tuple[int, ...]) -> int:
    """B of `[B, H, W, C]`; 1 if B is symbolic, as in an export for any batch size."""
    return shape[0] if isinstance(shape[0], int) else 1


def tile_count(shape: tuple[int, ...], tile: int) -> int:
    """Number of tiles in a batch of maps `[B, H, W, C]`; that of one image if B is symbolic."""
    return known_batch(shape) * _tiles(shape[1], tile) * _tiles(shape[2], tile)


def _convolve(maps: Maps, kernel: jax.Array, *, contracted: int, tile: int) -> Maps:
    """Convolutions with a transformed kernel `[n * n, C, F]`, over its axis `contracted`."""
    results: list[jax.Array] = []
    for group in _groups(maps, tile):
        inputs = [_of_inputs(maps[i], tile) for i in group]
        products = _products(_joined(inputs), kernel, 2, contracted)
        first = 0
        for i, part in zip(group, inputs, strict=True):
            tiles = jax.lax.slice_in_dim(products, first, first + part.shape[1], axis=1)
            results.append(_from_tiles(tiles, maps[i].shape, tile))
            first += part.shape[1]
    return tuple(results)


def _groups(maps: Maps, tile: int) -> list[list[int]]:
    """Groups of neighboring maps with few tiles each, which share a product."""
    groups: list[list[int]] = []
    few_before = False
    for i, x in enumerate(maps):
        few = tile_count(x.shape, tile) < _FEW_TILES
        if few and few_before:
            groups[-1].append(i)
        else:
            groups.append([i])
        few_before = few
    return groups


def _joined(parts: Sequence[jax.Array]) -> jax.Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _products(first: jax.Array, second: jax.Array, axis: int, other_axis: int) -> jax.Array:
    """Matrix products that contract an axis of each array, for each of the `n * n` places."""
    return jax.lax.dot_general(first, second, (((axis,), (other_axis,)), ((0,), (0,))))


def _transformed(matrix: np.ndarray, places: jax.Array) -> jax.Array:
    """Applies `matrix` to the rows and the columns: `[n * n, ...]` -> `[m * m, other axes]`."""
    both = jnp.asarray(np.kron(matrix, matrix), places.dtype)
    return both @ places.reshape(both.shape[1], -1)


def _of_kernel(kernel: jax.Array, tile: int) -> jax.Array:
    """`[3, 3, C, F]` -> `[n * n, C, F]`."""
    return _transformed(_KERNEL[tile], kernel).reshape(-1, *kernel.shape[2:])


def _of_inputs(x: jax.Array, tile: int) -> jax.Array:
    """`[B, H, W, C]` -> `[n * n, tiles, C]`."""
    # Blocks as large as tiles; the inputs of a tile include two rows and columns of the next block.
    rows, columns = (_tiles(size, tile) for size in x.shape[1:3])
    blocks = _blocks(x, rows + 1, columns + 1, tile, before=1)
    blocks = jnp.concatenate([blocks[:, :, :, :rows], blocks[:2, :, :, 1:]], axis=0)
    blocks = jax.lax.optimization_barrier(blocks)  # fusion with the next operation would be slower
    seen = jnp.concatenate([blocks[..., :columns, :], blocks[:, :2, :, :, 1:]], axis=1)
    return _transformed(_INPUTS[tile], seen).reshape((tile + 2) ** 2, -1, x.shape[3])


def _of_outputs(gradient: jax.Array, tile: int) -> jax.Array:
    """`[B, H, W, F]` -> `[n * n, tiles, F]`: the transpose of `_from_tiles`."""
    rows, columns = (_tiles(size, tile) for size in gradient.shape[1:3])
    blocks = _blocks(gradient, rows, columns, tile, before=0)
    return _transformed(_OUTPUTS[tile].T, blocks).reshape((tile + 2) ** 2, -1, gradient.shape[3])


def _from_tiles(tiles: jax.Array, shape: tuple[int, ...], tile: int) -> jax.Array:
    """`[n * n, tiles, F]` -> `[B, H, W, F]`."""
    batch, height, width, _ = shape
    rows, columns = (_tiles(size, tile) for size in (height, width))
    y = _transformed(_OUTPUTS[tile], tiles).reshape(tile, tile, batch, rows, columns, -1)
    y = y.transpose(2, 3, 0, 4, 1, 5).reshape(batch, rows * tile, columns * tile, -1)
    return y[:, :height, :width]


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def _blocks(x: jax.Array, rows: int, columns: int, tile: int, *, before: int) -> jax.Array:
    """`[B, H, W, C]` -> `[tile, tile, B, rows, columns, C]`, with zeros before and after."""
    batch, height, width, channels = x.shape
    after = [n * tile - before - size for n, size in ((rows, height), (columns, width))]
    x = jnp.pad(x, ((0, 0), (before, after[0]), (before, after[1]), (0, 0)))
    x = x.reshape(batch, rows, tile, columns, tile, channels)
    return x.transpose(2, 4, 0, 1, 3, 5)
