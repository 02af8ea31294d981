"""What backbones, pyramids and heads are made of.

Strided convolutions and pools pad explicitly and symmetrically, as torchvision's do, never 'SAME'.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

Norm = Literal["frozen_bn", "batch_norm", "group_norm"]

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


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
    """Group norm with 32 groups, fewer where a group would hold less than two channels."""
    return nn.GroupNorm(num_groups=max(1, min(32, channels // 2)), dtype=dtype, name=name)


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
    groups: int = 1,
    use_bias: bool = False,
    kernel_init: Any = he_normal_fan_out,
    bias_init: Any = nn.initializers.zeros,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    """A square convolution padded symmetrically by half its kernel, as torchvision's are."""
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding=kernel // 2,
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        name=name,
    )


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
