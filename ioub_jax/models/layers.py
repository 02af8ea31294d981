"""What backbones, pyramids and heads are made of.

Strided convolutions and pools pad explicitly and symmetrically, as torchvision's do; 'same', the
padding of TensorFlow's models, is asked for by name.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

Norm = Literal["frozen_bn", "batch_norm", "group_norm"]

#: 'symmetric' pads by half the kernel on every side, 'same' as TensorFlow's 'SAME': with stride 2
#: and an even size, one row and one column less at the top and left. Outputs are as large.
Padding = Literal["symmetric", "same"]

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


# Where the gradient by a kernel is summed in blocks of rows.
_PLACES_OF_A_BLOCK = 1024
_MOST_BLOCKS = 4

#: Names of the results of convolutions and of blocks, for `jax.checkpoint`.
CONVOLUTION, BLOCK = "convolution", "block"


def block_result(x: Any) -> Any:
    """Names the arrays of `x` as what `jax.checkpoint` keeps where all in blocks is made anew."""
    return checkpoint_name(x, BLOCK)


class FrozenBatchNorm(nn.Module):
    """Batch norm as a fixed affine map: statistics, scale and bias are constants.

    Its variables have the names and collections of `nn.BatchNorm`, so that weights of one load into
    the other; no gradient reaches any of them.

    Attributes:
      epsilon: added to the variance.
      dtype: dtype of the result.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., C]` to `[..., C]`."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        variance = self.variable("batch_stats", "var", jnp.ones, shape).value
        multiplier = scale * jax.lax.rsqrt(variance + self.epsilon)
        offset = bias - mean * multiplier
        multiplier, offset = jax.lax.stop_gradient((multiplier, offset))
        lead = (1,) * (x.ndim - 1)
        multiplier = multiplier.reshape(*lead, -1).astype(self.dtype)
        return x.astype(self.dtype) * multiplier + offset.reshape(*lead, -1).astype(self.dtype)


def group_norm(channels: int, *, dtype: Any = jnp.float32, name: str | None = None) -> nn.GroupNorm:
    """Group norm with 32 groups, or the most below that divide the channels two or more a group.

    The epsilon is torch's 1e-5, which detectron2 and torchvision train with; flax has 1e-6.
    """
    most = max(1, min(32, channels // 2))
    groups = max(count for count in range(1, most + 1) if channels % count == 0)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=dtype, name=name)


def make_norm(
    norm: str,
    channels: int,
    *,
    train: bool,
    epsilon: float = 1e-5,
    dtype: Any = jnp.float32,
    name: str,
) -> Callable[[jax.Array], jax.Array]:
    """The normalisation called `norm` for `channels` channels; `epsilon` is that of batch norms.

    'batch_norm' takes its statistics over the whole global batch: under `jit` with a sharded batch
    the mean over the batch axis is the mean over all devices.

    Raises:
      ValueError: `norm` is none of 'frozen_bn', 'batch_norm' and 'group_norm'.
    """
    if norm == "frozen_bn":
        return FrozenBatchNorm(epsilon=epsilon, dtype=dtype, name=name)
    if norm == "batch_norm":
        return nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=epsilon, dtype=dtype, name=name
        )
    if norm == "group_norm":
        return group_norm(channels, dtype=dtype, name=name)
    raise ValueError(f"model.norm is {norm!r}; it must be one of {', '.join(get_args(Norm))}.")


def convolution(
    features: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: Padding = "symmetric",
    use_bias: bool = False,
    kernel_init: Any = he_normal_fan_out,
    bias_init: Any = nn.initializers.zeros,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    """A square convolution, `[B, H, W, C]` -> `[B, ceil(H/stride), ceil(W/stride), features]`."""
    by: Any
    if kernel == 1:
        by = pointwise_convolution
    else:
        by = functools.partial(spatial_convolution, stride=stride, padding=padding)
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding="SAME" if padding == "same" else kernel // 2,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        name=name,
        conv_general_dilated=by,
    )


def pointwise_convolution(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], *_: Any, **__: Any
) -> jax.Array:
    """A 1x1 convolution as the matrix product that it is; for `nn.Conv`.

    On CPUs the gradient by the kernel takes XLA two to six times as long when it is a convolution.
    """
    product = _product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
    named: jax.Array = checkpoint_name(product, CONVOLUTION)
    return named


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
    # A CPU transposes the first factor, so that should be the one with fewer channels.
    places = (((0, 1, 2), (0, 1, 2)), ((), ()))
    if x.shape[-1] <= gradient.shape[-1]:
        return by_x, jax.lax.dot_general(x, gradient, places)
    return by_x, jax.lax.dot_general(gradient, x, places).T


_product.defvjp(_product_forward, _product_backward)


def spatial_convolution(
    x: jax.Array, kernel: jax.Array, *_: Any, stride: int, padding: Padding, **__: Any
) -> jax.Array:
    """A convolution for `nn.Conv`; on CPUs its gradient by the kernel is a sum over blocks of rows.

    In one piece XLA takes up to four times as long for it there.
    """
    named: jax.Array = checkpoint_name(_convolve(x, kernel, stride, padding), CONVOLUTION)
    return named


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    return grouped_convolution_by_xla(x, kernel, stride=stride, groups=1, padding=padding)


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _convolve_backward(
    stride: int, padding: Padding, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    convolve = functools.partial(
        grouped_convolution_by_xla, stride=stride, groups=1, padding=padding
    )
    (by_x,) = jax.linear_transpose(lambda x: convolve(x, kernel), x)(gradient)

    def in_one_piece(x: jax.Array, gradient: jax.Array) -> jax.Array:
        (by_kernel,) = jax.linear_transpose(lambda kernel: convolve(x, kernel), kernel)(gradient)
        return by_kernel

    in_blocks = functools.partial(
        _kernel_gradient_in_blocks, kernel=kernel, stride=stride, padding=padding
    )
    by_kernel = jax.lax.platform_dependent(x, gradient, cpu=in_blocks, default=in_one_piece)
    return by_x, by_kernel


def _kernel_gradient_in_blocks(
    x: jax.Array, gradient: jax.Array, *, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """The gradient by the kernel, of about 1,024 places of the output at a time."""
    size, (batch, height, width, _) = kernel.shape[0], gradient.shape
    blocks = min(_MOST_BLOCKS, height, -(-batch * height * width // _PLACES_OF_A_BLOCK))
    x = jnp.pad(x, [(0, 0), *_pads(x.shape[1:3], size, stride, padding), (0, 0)])
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


_convolve.defvjp(_convolve_forward, _convolve_backward)


class GroupedConvolution(nn.Module):
    """A square convolution of `groups` groups of channels, without bias; depthwise with one each.

    Its `kernel` `[k, k, C / groups, features]` is that of `nn.Conv` with `feature_group_count`.

    Attributes:
      features: channels of the output, a multiple of `groups`.
      kernel: k, an odd number.
      groups: how many; the channels of the input are a multiple of it.
      stride: stride in both directions.
      padding: 'symmetric' or 'same'.
      kernel_init: initializer of the kernel.
      dtype: dtype of the computation; the kernel is float32.
    """

    features: int
    kernel: int
    groups: int
    stride: int = 1
    padding: Padding = "symmetric"
    kernel_init: Any = he_normal_fan_out
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H/stride), ceil(W/stride), features]`."""
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        # XLA's own is slow on CPUs: the gradient of a layer of ResNeXt takes 10 to 40 times as
        # long as by shifts, that of a depthwise layer 2 to 20 times.
        by_shifts, by_xla = (
            functools.partial(
                function, stride=self.stride, groups=self.groups, padding=self.padding
            )
            for function in (grouped_convolution_by_shifts, grouped_convolution_by_xla)
        )
        return jax.lax.platform_dependent(
            x.astype(self.dtype), kernel.astype(self.dtype), cpu=by_shifts, default=by_xla
        )


def grouped_convolution_by_xla(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, padding: Padding
) -> jax.Array:
    """`[B, H, W, C]`, `[k, k, C / groups, F]` -> `[B, ceil(H/stride), ceil(W/stride), F]`."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        _pads(x.shape[1:3], kernel.shape[0], stride, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def grouped_convolution_by_shifts(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, padding: Padding
) -> jax.Array:
    """What `grouped_convolution_by_xla` computes, as a sum over the k * k places of the kernel."""
    size, _, inputs, features = kernel.shape
    if inputs == 1 and features == groups:
        windows = _windows(x, size, stride, padding)
        # A place of the kernel stays [1, 1, 1, C].
        terms = (window * kernel[i : i + 1, j : j + 1] for i, j, window in windows)
        return functools.reduce(jnp.add, terms)
    # Groups come first, so that every place is one batched matrix product.
    x = jnp.moveaxis(x.reshape(*x.shape[:3], groups, inputs), 3, 0)
    kernel = kernel.reshape(size, size, inputs, groups, features // groups)
    windows = _windows(x, size, stride, padding)
    terms = (jnp.einsum("gbhwi,igo->gbhwo", window, kernel[i, j]) for i, j, window in windows)
    y = jnp.moveaxis(functools.reduce(jnp.add, terms), 0, 3)
    return y.reshape(*y.shape[:3], features)


def _pads(
    sizes: tuple[int, ...], kernel: int, stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """The rows and the columns to add before and after."""
    if padding == "symmetric":
        return [(kernel // 2, kernel // 2)] * 2
    strides = (stride, stride)
    return [(a, b) for a, b in jax.lax.padtype_to_pads(sizes, (kernel, kernel), strides, "SAME")]


def _windows(
    x: jax.Array, kernel: int, stride: int, padding: Padding
) -> Iterator[tuple[int, int, jax.Array]]:
    """Each place (i, j) of the kernel and what it sees of `[..., H, W, C]`."""
    pads = _pads(x.shape[-3:-1], kernel, stride, padding)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + pads + [(0, 0)])
    # Where windows may begin.
    rows, columns = (size - kernel + 1 for size in x.shape[-3:-1])
    for i in range(kernel):
        for j in range(kernel):
            yield i, j, x[..., i : i + rows : stride, j : j + columns : stride, :]


def max_pool(x: jax.Array) -> jax.Array:
    """3x3 maximum with stride 2 and padding 1, `[B, H, W, C]` -> `[B, ceil(H/2), ceil(W/2), C]`.

    Written as the maximum of nine strided slices: the gradient of a windowed reduction is XLA's
    select-and-scatter, which is slow on CPUs.
    """
    height, width = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    lowest = jnp.finfo(x.dtype).min
    # The last window ends at row 2 * height, whether H is even or odd.
    padding = ((0, 0), (1, 2 * height - x.shape[1]), (1, 2 * width - x.shape[2]), (0, 0))
    padded = jnp.pad(x, padding, constant_values=lowest)
    rows = [padded[:, i : i + 2 * height - 1 : 2] for i in range(3)]
    tall = jnp.maximum(jnp.maximum(rows[0], rows[1]), rows[2])
    columns = [tall[:, :, j : j + 2 * width - 1 : 2] for j in range(3)]
    return jnp.maximum(jnp.maximum(columns[0], columns[1]), columns[2])


def is_frozen(path: tuple[str, ...], frozen_stages: int) -> bool:
    """Whether the backbone variable at `path` belongs to a frozen stage.

    A backbone names its modules `stem...`, `stage1...`, `stage2...`; others are never frozen.

    Args:
      path: names from the root of the backbone's variables, as ('stage1_block2', 'conv1',
        'kernel').
      frozen_stages: the stem and so many stages are frozen; 0 freezes the stem alone, -1 nothing
        (the convention of mmdetection).
    """
    if path[0].startswith("stem"):
        return frozen_stages >= 0
    stage = re.match(r"stage(\d+)", path[0])
    return stage is not None and int(stage[1]) <= frozen_stages
