"""Padding of a convolution, and the windows of a map that its kernel sees."""

from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp

#: 'symmetric' pads by half the kernel on every side. 'same' pads like TensorFlow's 'SAME': with
#: stride 2 and an even size, by one row and one column less at the top and left. Outputs of both
#: have the same size.
Padding = Literal["symmetric", "same"]


def pads_of(
    sizes: tuple[int, ...], kernel: int, stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """The numbers of rows and of columns to add before and after."""
    if padding == "symmetric":
        return [(kernel // 2, kernel // 2)] * 2
    strides = (stride, stride)
    return [(a, b) for a, b in jax.lax.padtype_to_pads(sizes, (kernel, kernel), strides, "SAME")]


def windows_of(
    x: jax.Array, kernel: int, stride: int, padding: Padding
) -> Iterator[tuple[int, int, jax.Array]]:
    """Each place (i, j) of the kernel and its window of `[..., H, W, C]`."""
    pads = pads_of(x.shape[-3:-1], kernel, stride, padding)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + pads + [(0, 0)])
    return valid_windows_of(x, (kernel, kernel), stride)


def valid_windows_of(
    x: jax.Array, kernel: tuple[int, int], stride: int
) -> Iterator[tuple[int, int, jax.Array]]:
    """The windows as in `windows_of`, without padding, for a kernel of these rows and columns."""
    # The numbers of rows and columns at which windows may begin.
    rows, columns = (size - k + 1 for size, k in zip(x.shape[-3:-1], kernel, strict=True))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield i, j, x[..., i : i + rows : stride, j : j + columns : stride, :]
