"""Convolutions and their gradients: those of XLA on accelerators, faster algorithms on CPUs.

On a CPU, XLA is slow at gradients with respect to a kernel, at small maps and at strides in a
gradient. With enough channels, any direct convolution is slower than Winograd's algorithm.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from ioub_jax.models import winograd
from ioub_jax.models.grouped_convolutions import grouped_convolution_by_xla
from ioub_jax.models.kernel_windows import Padding, pads_of, windows_of
from ioub_jax.models.winograd import Maps

#: Algorithms by which a CPU computes a convolution and its gradients.
Algorithm = Literal["winograd_4x4", "winograd_2x2", "patches", "direct"]

#: Name of the arrays that `jax.checkpoint` keeps when everything else is recomputed: the results of
#: convolutions, and those of blocks whose convolutions the gradient does not need.
ACTIVATION = "activation"

# Thresholds for the fastest algorithm on a CPU, as measured by `experiments.benchmark layers`;
# docs/performance.md has the figures. Winograd's transforms take a constant time per channel, but
# what they save grows with the number of channels, so they do not pay off with few channels. Maps
# that share a kernel share its transform. A transformed kernel has 36 or 16 numbers instead of 9,
# and reading it dominates if there are few tiles.
_LEAST_CHANNELS, _LEAST_CHANNELS_OF_SEVERAL_MAPS = 96, 64
_LEAST_TILES_4X4, _LEAST_TILES_2X2 = 24, 4

# Size and number of the blocks of rows in which a kernel gradient is summed.
_PLACES_OF_A_BLOCK = 1024
_MOST_BLOCKS = 4


def algorithm_on_cpu(maps: Maps, kernel: jax.Array, *, stride: int) -> Algorithm:
    """The fastest algorithm on a CPU for a convolution of several maps by one kernel.

    'winograd_4x4' and 'winograd_2x2' are those of `ioub_jax.models.winograd`; 'patches' multiplies
    the window of every output by the kernel; 'direct' is the convolution of XLA.

    Args:
      maps: `[B, H, W, C]` each.
      kernel: `[k, k, C, F]`.
      stride: stride of the convolution.
    """
    if maps[0].dtype != jnp.float32:
        return "direct"
    size, _, channels, _ = kernel.shape
    least = _LEAST_CHANNELS if len(maps) == 1 else _LEAST_CHANNELS_OF_SEVERAL_MAPS
    if (size, stride) == (3, 1) and channels >= least:
        # Both thresholds count tiles of 4x4, so that they refer to the same number of places.
        tiles = sum(winograd.tile_count(x.shape, 4) for x in maps)
        if tiles >= _LEAST_TILES_4X4:
            return "winograd_4x4"
        if tiles >= _LEAST_TILES_2X2:
            return "winograd_2x2"
    places = sum(
        winograd.known_batch(x.shape) * -(-x.shape[1] // stride) * -(-x.shape[2] // stride)
        for x in maps
    )
    # With so few places the kernel is larger than the maps, and XLA would rearrange the kernel or
    # its gradient.
    return "patches" if places <= channels else "direct"


def pointwise_convolution(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], *_: Any, **__: Any
) -> jax.Array:
    """A 1x1 convolution as a matrix product, for `nn.Conv`.

    On CPUs, XLA takes two to six times as long for the kernel gradient of a convolution.
    """
    if strides != (1, 1):
        x = _strided(x, strides)
    product = _product(x, kernel[0, 0])
    named: jax.Array = checkpoint_name(product, ACTIVATION)
    return named


def _strided(x: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    def stride(x: jax.Array) -> jax.Array:
        return x[:, :: strides[0], :: strides[1]]

    # Without the barrier, XLA for CPUs fuses the strides into the transposition in the kernel
    # gradient, which then recomputes the whole preceding block for every row of the kernel.
    strided: jax.Array = jax.lax.platform_dependent(
        x, cpu=lambda x: jax.lax.optimization_barrier(stride(x)), default=stride
    )
    return strided


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[B, H, W, C]` times `[C, F]`."""
    return jax.lax.dot_general(x, kernel, (((3,), (0,)), ((), ())))


def _product_forward(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(x, kernel), (x, kernel)


def _product_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    by_x = jax.lax.dot_general(gradient, kernel, (((3,), (1,)), ((), ())))
    by_kernel: jax.Array = jax.lax.platform_dependent(
        x, gradient, cpu=_kernel_gradient_of_product_on_cpu, default=_kernel_gradient_of_product
    )
    return by_x, by_kernel


def _kernel_gradient_of_product(x: jax.Array, gradient: jax.Array) -> jax.Array:
    return jax.lax.dot_general(x, gradient, (((0, 1, 2), (0, 1, 2)), ((), ())))


def _kernel_gradient_of_product_on_cpu(x: jax.Array, gradient: jax.Array) -> jax.Array:
    # The first factor is transposed, so it should be the one with fewer channels. The barrier keeps
    # XLA from replacing the transposed product by the product in the other order.
    if x.shape[-1] <= gradient.shape[-1]:
        return _kernel_gradient_of_product(x, gradient)
    return jax.lax.optimization_barrier(_kernel_gradient_of_product(gradient, x)).T


_product.defvjp(_product_forward, _product_backward)


def spatial_convolution(
    x: jax.Array, kernel: jax.Array, *_: Any, stride: int, padding: Padding, **__: Any
) -> jax.Array:
    """A convolution with a kernel `[k, k, C, F]`, for `nn.Conv`."""
    (y,) = convolve_maps((x,), kernel, stride=stride, padding=padding)
    return y


def convolve_maps(maps: Maps, kernel: jax.Array, *, stride: int, padding: Padding) -> Maps:
    """Convolutions of several maps with one kernel.

    Args:
      maps: `[B, H, W, C]` each.
      kernel: `[k, k, C, F]`, of the dtype of the maps.
      stride: stride in both directions.
      padding: padding of every map.

    Returns:
      `[B, ceil(H/stride), ceil(W/stride), F]` for each map.
    """
    return tuple(checkpoint_name(y, ACTIVATION) for y in _convolve(maps, kernel, stride, padding))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(maps: Maps, kernel: jax.Array, stride: int, padding: Padding) -> Maps:
    direct = functools.partial(_directly, stride=stride, padding=padding)
    on_cpu: dict[Algorithm, Callable[[Maps, jax.Array], Maps]] = {
        "direct": direct,
        "patches": functools.partial(_by_patches, stride=stride, padding=padding),
        "winograd_4x4": functools.partial(winograd.convolve, tile=4),
        "winograd_2x2": functools.partial(winograd.convolve, tile=2),
    }
    algorithm = algorithm_on_cpu(maps, kernel, stride=stride)
    if algorithm == "direct":
        return direct(maps, kernel)
    convolved: Maps = jax.lax.platform_dependent(
        maps, kernel, cpu=on_cpu[algorithm], default=direct
    )
    return convolved


def _convolve_forward(
    maps: Maps, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[Maps, tuple[Maps, jax.Array]]:
    return _convolve(maps, kernel, stride, padding), (maps, kernel)


def _convolve_backward(
    stride: int, padding: Padding, kept: tuple[Maps, jax.Array], gradients: Maps
) -> tuple[Maps, jax.Array]:
    maps, kernel = kept
    direct, patches = (
        functools.partial(convolve, stride=stride, padding=padding)
        for convolve in (_directly, _by_patches)
    )
    algorithm = algorithm_on_cpu(maps, kernel, stride=stride)

    def by_maps(convolve: Callable[..., Maps], gradients: Maps, kernel: jax.Array) -> Maps:
        transposed = jax.linear_transpose(lambda maps: convolve(maps, kernel), maps)
        result: Maps = transposed(gradients)[0]
        return result

    by_maps_on_cpu: dict[Algorithm, Callable[[Maps, jax.Array], Maps]] = {
        "direct": functools.partial(by_maps, direct),
        "patches": functools.partial(by_maps, patches),
        "winograd_4x4": functools.partial(winograd.gradient_by_maps, tile=4),
        "winograd_2x2": functools.partial(winograd.gradient_by_maps, tile=2),
    }
    by_kernel, in_blocks, of_patches = (
        functools.partial(
            _summed, functools.partial(gradient, kernel=kernel, stride=stride, padding=padding)
        )
        for gradient in (_kernel_gradient, _kernel_gradient_in_blocks, _kernel_gradient_of_patches)
    )
    by_kernel_on_cpu: dict[Algorithm, Callable[[Maps, Maps], jax.Array]] = {
        "direct": in_blocks,
        "patches": of_patches,
        "winograd_4x4": functools.partial(winograd.gradient_by_kernel, tile=4),
        "winograd_2x2": functools.partial(winograd.gradient_by_kernel, tile=2),
    }
    if algorithm == "direct":
        for_maps = by_maps(direct, gradients, kernel)
    else:
        for_maps = jax.lax.platform_dependent(
            gradients,
            kernel,
            cpu=by_maps_on_cpu[algorithm],
            default=functools.partial(by_maps, direct),
        )
    for_kernel = jax.lax.platform_dependent(
        maps, gradients, cpu=by_kernel_on_cpu[algorithm], default=by_kernel
    )
    return for_maps, for_kernel


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _directly(maps: Maps, kernel: jax.Array, *, stride: int, padding: Padding) -> Maps:
    return tuple(
        grouped_convolution_by_xla(x, kernel, stride=stride, groups=1, padding=padding)
        for x in maps
    )


def _by_patches(maps: Maps, kernel: jax.Array, *, stride: int, padding: Padding) -> Maps:
    flat = kernel.reshape(-1, kernel.shape[-1])
    return tuple(
        jax.lax.dot_general(
            _patches(x, kernel.shape[0], stride, padding), flat, (((3,), (0,)), ((), ()))
        )
        for x in maps
    )


def _patches(x: jax.Array, size: int, stride: int, padding: Padding) -> jax.Array:
    """`[B, H, W, C]` -> `[B, ceil(H/stride), ceil(W/stride), size * size * C]`."""
    windows = (window for _, _, window in windows_of(x, size, stride, padding))
    return jnp.concatenate(list(windows), axis=-1)


def _summed(
    gradient_of: Callable[[jax.Array, jax.Array], jax.Array], maps: Maps, gradients: Maps
) -> jax.Array:
    """The kernel gradient over several maps, summed from the last map to the first, as in jax."""
    pairs = zip(reversed(maps), reversed(gradients), strict=True)
    return functools.reduce(jnp.add, (gradient_of(x, gradient) for x, gradient in pairs))


def _kernel_gradient(
    x: jax.Array, gradient: jax.Array, *, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """The gradient with respect to the kernel, as a single convolution."""

    def convolve(kernel: jax.Array) -> jax.Array:
        return grouped_convolution_by_xla(x, kernel, stride=stride, groups=1, padding=padding)

    (by_kernel,) = jax.linear_transpose(convolve, kernel)(gradient)
    return by_kernel


def _kernel_gradient_of_patches(
    x: jax.Array, gradient: jax.Array, *, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    patches = _patches(x, kernel.shape[0], stride, padding)
    return _kernel_gradient_of_product_on_cpu(patches, gradient).reshape(kernel.shape)


def _kernel_gradient_in_blocks(
    x: jax.Array, gradient: jax.Array, *, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """The kernel gradient, as a sum over up to four blocks of rows of the output."""
    size, (batch, height, width, _) = kernel.shape[0], gradient.shape
    blocks = min(_MOST_BLOCKS, height, -(-batch * height * width // _PLACES_OF_A_BLOCK))
    x = jnp.pad(x, [(0, 0), *pads_of(x.shape[1:3], size, stride, padding), (0, 0)])
    total = jnp.zeros_like(kernel)
    rows = -(-height // blocks)
    for first in range(0, height, rows):
        block = gradient[:, first : first + rows]
        seen = x[:, stride * first : stride * (first + block.shape[1] - 1) + size]

        def convolve(kernel: jax.Array, seen: jax.Array = seen) -> jax.Array:
            return jax.lax.conv_general_dilated(
                seen, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

        total = total + jax.linear_transpose(convolve, kernel)(block)[0]
    return total
