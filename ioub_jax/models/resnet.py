"""ResNet-18/34/50/101 as the feature extractor of a detector (He et al., arXiv 1512.03385).

The layout is torchvision's "v1.5": the stride of a bottleneck is in its 3x3 convolution, and every
strided convolution and pool pads explicitly and symmetrically, never 'SAME'.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

Norm = Literal["frozen_bn", "batch_norm", "group_norm"]

#: name -> (blocks of each stage, whether the blocks are bottlenecks)
RESNETS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}

_he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


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
    norm: str, channels: int, *, train: bool, dtype: Any = jnp.float32, name: str
) -> Callable[[jax.Array], jax.Array]:
    """The normalisation called `norm` for `channels` channels.

    'batch_norm' takes its statistics over the whole global batch: under `jit` with a sharded batch
    the mean over the batch axis is the mean over all devices.

    Raises:
      ValueError: `norm` is none of 'frozen_bn', 'batch_norm' and 'group_norm'.
    """
    if norm == "frozen_bn":
        return FrozenBatchNorm(dtype=dtype, name=name)
    if norm == "batch_norm":
        return nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name
        )
    if norm == "group_norm":
        return group_norm(channels, dtype=dtype, name=name)
    raise ValueError(f"model.norm is {norm!r}; it must be one of {', '.join(get_args(Norm))}.")


def convolution(
    features: int,
    kernel: int,
    *,
    stride: int = 1,
    use_bias: bool = False,
    kernel_init: Any = _he_normal_fan_out,
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


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 in a bottleneck, around a shortcut.

    Attributes:
      channels: channels of the inner convolutions; a bottleneck puts out four times as many.
      stride: stride of the block.
      bottleneck: which of the two layouts.
      norm: name of the normalisation.
      dtype: dtype of the computation.
    """

    channels: int
    stride: int
    bottleneck: bool
    norm: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C_in]` to `[B, ceil(H/stride), ceil(W/stride), C_out]`."""
        # (features, kernel, stride) of each convolution of the main path.
        if self.bottleneck:
            layers = [(self.channels, 1, 1), (self.channels, 3, self.stride)]
            layers.append((4 * self.channels, 1, 1))
        else:
            layers = [(self.channels, 3, self.stride), (self.channels, 3, 1)]
        y = x
        for i, (features, kernel, stride) in enumerate(layers, start=1):
            y = convolution(features, kernel, stride=stride, dtype=self.dtype, name=f"conv{i}")(y)
            y = self._norm(features, train, f"norm{i}")(y)
            if i < len(layers):
                y = nn.relu(y)
        out = layers[-1][0]
        if x.shape[-1] != out or self.stride != 1:
            x = convolution(out, 1, stride=self.stride, dtype=self.dtype, name="shortcut_conv")(x)
            x = self._norm(out, train, "shortcut_norm")(x)
        return nn.relu(x + y)

    def _norm(self, channels: int, train: bool, name: str) -> Callable[[jax.Array], jax.Array]:
        return make_norm(self.norm, channels, train=train, dtype=self.dtype, name=name)


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Attributes:
      depth_name: 'resnet18', 'resnet34', 'resnet50' or 'resnet101'.
      width: channels of the stem; 64 in the paper, less for a small detector.
      norm: 'frozen_bn', 'batch_norm' or 'group_norm'.
      frozen_stages: the parameters of the stem and of the first `frozen_stages` stages get no
        gradient and their batch norms use the running statistics; 0 freezes the stem alone, -1
        nothing (the convention of mmdetection).
      dtype: dtype of the computation; parameters are float32.
    """

    depth_name: str = "resnet50"
    width: int = 64
    norm: str = "batch_norm"
    frozen_stages: int = -1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalised images.
          train: whether batch norm uses (and updates) the statistics of the batch.

        Returns:
          C2, C3, C4, C5 with strides 4, 8, 16, 32, each `[B, ceil(H/stride), ceil(W/stride), C]`.

        Raises:
          ValueError: an unknown `depth_name` or `norm`.
        """
        if self.depth_name not in RESNETS:
            raise ValueError(
                f"model.backbone is {self.depth_name!r}; it must be one of {', '.join(RESNETS)}."
            )
        blocks, bottleneck = RESNETS[self.depth_name]
        stem_train = train and self.frozen_stages < 0
        x = convolution(self.width, 7, stride=2, dtype=self.dtype, name="stem_conv")(x)
        x = make_norm(self.norm, self.width, train=stem_train, dtype=self.dtype, name="stem_norm")(
            x
        )
        x = max_pool(nn.relu(x))
        if self.frozen_stages >= 0:
            x = jax.lax.stop_gradient(x)
        features = []
        for stage, count in enumerate(blocks, start=1):
            frozen = stage <= self.frozen_stages
            for i in range(count):
                x = ResidualBlock(
                    channels=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and i == 0 else 1,
                    bottleneck=bottleneck,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{i + 1}",
                )(x, train=train and not frozen)
            if frozen:
                x = jax.lax.stop_gradient(x)
            features.append(x)
        return tuple(features)


def is_frozen(path: tuple[str, ...], frozen_stages: int) -> bool:
    """Whether the backbone variable at `path` belongs to a frozen stage.

    Args:
      path: names from the root of the backbone's variables, as ('stage1_block2', 'conv1',
        'kernel').
      frozen_stages: as in `ResNet`.
    """
    if path[0].startswith("stem"):
        return frozen_stages >= 0
    return int(path[0].removeprefix("stage").split("_")[0]) <= frozen_stages
