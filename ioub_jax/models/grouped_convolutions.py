"""Grouped and dilated convolutions, by XLA and as sums over the places of a kernel.

On a CPU, XLA is slow at depthwise convolutions and their gradients.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from ioub_jax.models.kernel_windows import Padding, pads_of, valid_windows_of, windows_of

# Number of arrays that are added in one expression when a depthwise gradient is summed.
_MOST_SUMMANDS = 16


def grouped_convolution_by_xla(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, padding: Padding
) -> jax.Array:
    """`[B, H, W, C]`, `[k, k, C / groups, F]` -> `[B, ceil(H/stride), ceil(W/stride), F]`."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads_of(x.shape[1:3], kernel.shape[0], stride, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def dilated_convolution(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, dilation: int
) -> jax.Array:
    """A convolution like `grouped_convolution_by_xla`, with a dilation and symmetric padding."""
    pad = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def grouped_convolution_by_shifts(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, padding: Padding
) -> jax.Array:
    """The result of `grouped_convolution_by_xla`, as a sum over the k * k places of the kernel."""
    size, _, inputs, features = kernel.shape
    if inputs == 1 and features == groups:
        return _depthwise(x, kernel, stride, padding)
    # Groups come first, so that every place is one batched matrix product.
    x = jnp.moveaxis(x.reshape(*x.shape[:3], groups, inputs), 3, 0)
    kernel = kernel.reshape(size, size, inputs, groups, features // groups)
    windows = windows_of(x, size, stride, padding)
    terms = (jnp.einsum("gbhwi,igo->gbhwo", window, kernel[i, j]) for i, j, window in windows)
    y = jnp.moveaxis(functools.reduce(jnp.add, terms), 0, 3)
    return y.reshape(*y.shape[:3], features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """`[B, H, W, C]`, `[k, k, 1, C]` -> `[B, ceil(H/stride), ceil(W/stride), C]`."""
    return _sum_of_shifts(windows_of(x, kernel.shape[0], stride, padding), kernel)


def _sum_of_shifts(windows: Iterator[tuple[int, int, jax.Array]], kernel: jax.Array) -> jax.Array:
    # Slices keep the axes, so that each term of the kernel is [1, 1, 1, C].
    terms = (window * kernel[i : i + 1, j : j + 1] for i, j, window in windows)
    return functools.reduce(jnp.add, terms)


def _depthwise_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _depthwise(x, kernel, stride, padding), (x, kernel)


def _depthwise_backward(
    stride: int, padding: Padding, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients with respect to `x` and to the kernel.

    The gradients that jax derives take 5 to 15 times as long: they are a sum of k * k padded
    arrays, in which every number is tested for the padding, and k * k sums over places that are not
    vectorized.
    """
    x, kernel = kept
    size = kernel.shape[0]
    pads = pads_of(x.shape[1:3], size, stride, padding)
    # The gradient is spread out by the stride, with zeros in between. The gradient with respect to
    # `x` is then a convolution with the rotated kernel.
    spread = [
        (size - 1 - before, length - (places - 1) * stride - 1 + before, stride - 1)
        for (before, _), length, places in zip(pads, x.shape[1:3], gradient.shape[1:3], strict=True)
    ]
    zero = jnp.zeros((), gradient.dtype)
    spread_out = jax.lax.pad(gradient, zero, [(0, 0, 0), *spread, (0, 0, 0)])
    by_x = _sum_of_shifts(valid_windows_of(spread_out, (size, size), 1), kernel[::-1, ::-1])
    return by_x, _kernel_gradient_of_depthwise(x, gradient, kernel, stride, pads)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _kernel_gradient_of_depthwise(
    x: jax.Array,
    gradient: jax.Array,
    kernel: jax.Array,
    stride: int,
    pads: list[tuple[int, int]],
) -> jax.Array:
    size, height = kernel.shape[0], gradient.shape[1]
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)]).astype(jnp.float32)
    gradient = gradient.astype(jnp.float32)
    # Blocks of rows are added elementwise, which is vectorized; the result is summed over places.
    blocks = min(height, _MOST_SUMMANDS)
    rows = -(-height // blocks)
    gradient = jnp.pad(gradient, [(0, 0), (0, blocks * rows - height), (0, 0), (0, 0)])
    x = jnp.pad(x, [(0, 0), (0, (blocks * rows - height) * stride), (0, 0), (0, 0)])
    seen = x.shape[1] - size + 1

    def of_row(i: jax.Array) -> jax.Array:
        """The gradient with respect to row `i` of the kernel, `[k, C]`."""
        below = jax.lax.dynamic_slice_in_dim(x, i, seen, axis=1)
        places = []
        for _, _, window in valid_windows_of(below, (1, size), stride):
            product = window * gradient
            summands = (product[:, rows * n : rows * (n + 1)] for n in range(blocks))
            places.append(jnp.sum(functools.reduce(jnp.add, summands), (0, 1, 2)))
        return jnp.stack(places)

    # XLA for CPUs would recompute the operands of a product for each of its uses, except in a loop.
    by_kernel = jax.lax.map(of_row, jnp.arange(size))
    return by_kernel.reshape(kernel.shape).astype(kernel.dtype)
