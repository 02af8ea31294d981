"""Layers of backbones, pyramids and heads.

Strided convolutions and pools pad explicitly and symmetrically, as in torchvision. The padding of
TensorFlow's models must be requested by its name, 'same'.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from ioub_jax.models import convolutions, grouped_convolutions
from ioub_jax.models.kernel_windows import Padding
from ioub_jax.models.winograd import Maps

#: 'layer_norm' is the only norm of ConvNeXt and vision transformers, and of no other network.
Norm = Literal["frozen_bn", "batch_norm", "group_norm", "layer_norm"]

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
#: He initialization over the k * k inputs of a channel. The fan-out of a depthwise kernel would
#: count all channels.
depthwise_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


#: Name of the results of blocks, for `jax.checkpoint`.
BLOCK = "block"


def block_result(x: Any) -> Any:
    """Names the arrays of `x`, so that `jax.checkpoint` keeps them when blocks are recomputed."""
    return checkpoint_name(x, BLOCK)


@jax.custom_jvp
def kept_relu(x: jax.Array) -> jax.Array:
    """ReLU whose result `jax.checkpoint` keeps, like the result of a convolution.

    Its gradient needs only the result, while that of `nn.relu` needs `x`. Therefore the result of
    the preceding convolution is not kept if only a bias or a constant norm lies between them, and
    neither are the two terms of a residual sum.
    """
    return checkpoint_name(jnp.maximum(x, 0), convolutions.ACTIVATION)


@kept_relu.defjvp
def _kept_relu_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    y = checkpoint_name(jnp.maximum(primals[0], 0), convolutions.ACTIVATION)
    return y, jnp.where(y > 0, tangents[0], 0)


class FrozenBatchNorm(nn.Module):
    """Batch norm as a fixed affine map: statistics, scale and bias are constants.

    Its variables have the names and collections of those of `nn.BatchNorm`, so that the weights of
    either can be loaded into the other. No gradient reaches them.

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
    """Group norm with 32 groups, or the most below 32 with at least two channels per group.

    The epsilon is torch's 1e-5, which detectron2 and torchvision train with; flax's is 1e-6.
    """
    most = max(1, min(32, channels // 2))
    groups = max(count for count in range(1, most + 1) if channels % count == 0)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=dtype, name=name)


class Normed(Protocol):
    """A module with a choice of normalization.

    Attributes:
      norm: name of the normalization.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation.
    """

    norm: str
    norm_epsilon: float
    norm_momentum: float
    dtype: Any


def norm_of(
    module: Normed, channels: int, *, train: bool, name: str
) -> Callable[[jax.Array], jax.Array]:
    """The normalization that a module has chosen, for `channels` channels.

    'batch_norm' uses statistics over the whole global batch: under `jit` with a sharded batch, the
    mean over the batch axis is the mean over all devices.

    Raises:
      ValueError: `norm` is not one of 'frozen_bn', 'batch_norm' and 'group_norm'; 'layer_norm' is
        for networks that have no other norms.
    """
    norm, epsilon, dtype = module.norm, module.norm_epsilon, module.dtype
    if norm == "frozen_bn":
        return FrozenBatchNorm(epsilon=epsilon, dtype=dtype, name=name)
    if norm == "batch_norm":
        # flax's default, the variance as E[x^2] - E[x]^2 in float32, reads the maps once and sums
        # over the devices once. Its relative error is about mean^2 / variance * 1e-6. This is small
        # for the maps of networks (docs/numerics.md), since pixels are standardized before the
        # first layer.
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=module.norm_momentum,
            epsilon=epsilon,
            dtype=dtype,
            name=name,
        )
    if norm == "group_norm":
        return group_norm(channels, dtype=dtype, name=name)
    others = ", ".join(choice for choice in get_args(Norm) if choice != "layer_norm")
    raise ValueError(f"norm is {norm!r}; it must be one of {others}.")


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
        by = convolutions.pointwise_convolution
    else:
        by = functools.partial(convolutions.spatial_convolution, stride=stride, padding=padding)
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


class SharedConvolution(nn.Module):
    """A 3x3 convolution that is shared by several maps, such as the levels of a head.

    Its `kernel` `[3, 3, C, features]` and its `bias` are like those of `nn.Conv`.

    Attributes:
      features: channels of the outputs.
      use_bias: whether a bias is added.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      dtype: dtype of the computation; the parameters are float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Any = he_normal_fan_out
    bias_init: Any = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        """Maps each `[B, H, W, C]` to `[B, H, W, features]`."""
        kernel = self.param("kernel", self.kernel_init, (3, 3, maps[0].shape[-1], self.features))
        maps = tuple(x.astype(self.dtype) for x in maps)
        outputs = convolutions.convolve_maps(
            maps, kernel.astype(self.dtype), stride=1, padding="symmetric"
        )
        if not self.use_bias:
            return outputs
        bias = self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
        return tuple(y + bias.reshape(1, 1, 1, -1) for y in outputs)


class GroupedConvolution(nn.Module):
    """A square convolution with groups of channels; depthwise with one channel per group.

    Its `kernel` `[k, k, C / groups, features]` is like that of `nn.Conv` with
    `feature_group_count`.

    Attributes:
      features: channels of the output, a multiple of `groups`.
      kernel: k, an odd number.
      groups: number of groups, a divisor of the channels of the input.
      stride: stride in both directions.
      dilation: distance between the inputs of neighboring kernel entries; above 1 only with
        'symmetric' padding.
      padding: 'symmetric' or 'same'.
      use_bias: whether a bias is added.
      kernel_init: initializer of the kernel.
      dtype: dtype of the computation; the kernel is float32.
    """

    features: int
    kernel: int
    groups: int
    stride: int = 1
    dilation: int = 1
    padding: Padding = "symmetric"
    use_bias: bool = False
    kernel_init: Any = he_normal_fan_out
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H/stride), ceil(W/stride), features]`."""
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        y = _grouped(
            x.astype(self.dtype),
            kernel,
            stride=self.stride,
            groups=self.groups,
            dilation=self.dilation,
            padding=self.padding,
        )
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y + bias.reshape(1, 1, 1, -1)


def _grouped(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, dilation: int, padding: Padding
) -> jax.Array:
    if dilation > 1:
        return grouped_convolutions.dilated_convolution(
            x, kernel, stride=stride, groups=groups, dilation=dilation
        )
    # XLA is slow on CPUs: compared with shifts, the gradient of a layer of ResNeXt takes 10 to 40
    # times as long, that of a depthwise layer 2 to 20 times.
    by_shifts, by_xla = (
        functools.partial(function, stride=stride, groups=groups, padding=padding)
        for function in (
            grouped_convolutions.grouped_convolution_by_shifts,
            grouped_convolutions.grouped_convolution_by_xla,
        )
    )
    y: jax.Array = jax.lax.platform_dependent(x, kernel, cpu=by_shifts, default=by_xla)
    return y


def max_pool(
    x: jax.Array, window: int, *, stride: int, pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """The result of `nn.max_pool`, computed in the fastest way on the platform.

    Args:
      x: the features, `[B, H, W, C]`.
      window: number of rows and of columns of a window.
      stride: stride in both directions.
      pads: the numbers of rows and of columns to add before and after.
    """
    strides = (stride, stride)
    by_windows = functools.partial(
        nn.max_pool, window_shape=(window, window), strides=strides, padding=pads
    )
    by_slices = functools.partial(max_pool_by_slices, window=window, stride=stride, pads=pads)
    # On CPUs XLA's windowed maximum takes two to four times as long as slices, and its gradient, a
    # select-and-scatter, even longer. On TPUs slices access one and a half to three times as many
    # bytes. jax2onnx converts the default branch, and its MaxPool would have too many dimensions.
    pooled: jax.Array = jax.lax.platform_dependent(
        x, cuda=by_windows, rocm=by_windows, tpu=by_windows, default=by_slices
    )
    return pooled


def max_pool_by_slices(
    x: jax.Array, *, window: int, stride: int, pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """The result of `max_pool` as maxima of strided slices, along the rows, then the columns."""
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=jnp.finfo(x.dtype).min)
    for axis in (1, 2):
        last = x.shape[axis] - window
        slices = [
            jax.lax.slice_in_dim(x, i, i + last + 1, stride=stride, axis=axis)
            for i in range(window)
        ]
        x = functools.reduce(jnp.maximum, slices)
    return x


def stage_of(path: tuple[str, ...]) -> int | None:
    """The stage of a backbone that the variable at `path` belongs to; 0 is the stem.

    A backbone names its modules `stem...`, `stage1...`, `stage2...`; the stage of any other module
    is None.

    Args:
      path: names from the root of the backbone's variables, such as ('stage1_block2', 'conv1',
        'kernel').
    """
    if path[0].startswith("stem"):
        return 0
    stage = re.match(r"stage(\d+)", path[0])
    return None if stage is None else int(stage[1])


def is_frozen(path: tuple[str, ...], frozen_stages: int) -> bool:
    """True if the backbone variable at `path` belongs to a frozen stage.

    Args:
      path: as for `stage_of`; a variable without a stage is never frozen.
      frozen_stages: the number of frozen stages besides the stem; 0 freezes only the stem, -1
        nothing (the convention of mmdetection).
    """
    stage = stage_of(path)
    return stage is not None and stage <= frozen_stages
