"""ResNet-18/34/50/101 and ResNeXt-101 as the feature extractor of a detector.

He et al., arXiv 1512.03385, and Xie et al., arXiv 1611.05431. The layout is torchvision's "v1.5":
the stride of a bottleneck is in its 3x3 convolution, and every strided convolution and pool pads
explicitly and symmetrically, never 'SAME'.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from ioub_jax.models.convolutions import ACTIVATION
from ioub_jax.models.layers import (
    GroupedConvolution,
    block_result,
    convolution,
    kept_relu,
    max_pool,
    norm_of,
)


class Architecture(NamedTuple):
    """Architecture of a ResNet.

    Attributes:
      blocks: number of blocks in each stage.
      bottleneck: whether the blocks are bottlenecks.
      groups: number of groups of the 3x3 convolution of a bottleneck.
      width_per_group: channels of a group in the first stage of a network of width 64.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    width_per_group: int = 64


RESNETS = {
    "resnet18": Architecture((2, 2, 2, 2), bottleneck=False),
    "resnet34": Architecture((3, 4, 6, 3), bottleneck=False),
    "resnet50": Architecture((3, 4, 6, 3), bottleneck=True),
    "resnet101": Architecture((3, 4, 23, 3), bottleneck=True),
    "resnext101_32x4d": Architecture((3, 4, 23, 3), True, groups=32, width_per_group=4),
    "resnext101_64x4d": Architecture((3, 4, 23, 3), True, groups=64, width_per_group=4),
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 in a bottleneck, around a shortcut.

    Attributes:
      channels: channels of the output, before a bottleneck's expansion by four; also those of inner
        convolutions without groups.
      stride: stride of the block.
      bottleneck: whether the block is a bottleneck.
      groups: number of groups of the 3x3 convolution of a bottleneck.
      width_per_group: a bottleneck's inner convolutions have `channels * width_per_group / 64`
        channels per group.
      norm: name of the normalization.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation.
    """

    channels: int
    stride: int
    bottleneck: bool
    norm: str
    groups: int = 1
    width_per_group: int = 64
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C_in]` to `[B, ceil(H/stride), ceil(W/stride), C_out]`."""
        # (features, kernel, stride) of each convolution of the main path.
        if self.bottleneck:
            inner = self.channels * self.width_per_group // 64 * self.groups
            layers = [(inner, 1, 1), (inner, 3, self.stride), (4 * self.channels, 1, 1)]
        else:
            layers = [(self.channels, 3, self.stride), (self.channels, 3, 1)]
        # The gradients of a trained norm need the convolution's result, so it is kept anyway.
        relu = kept_relu if self.norm == "frozen_bn" else nn.relu
        y = x
        for i, (features, kernel, stride) in enumerate(layers, start=1):
            y = self._convolution(features, kernel, stride, f"conv{i}")(y)
            y = norm_of(self, features, train=train, name=f"norm{i}")(y)
            if i < len(layers):
                y = relu(y)
        out = layers[-1][0]
        if x.shape[-1] != out or self.stride != 1:
            x = self._convolution(out, 1, self.stride, "shortcut_conv")(x)
            x = norm_of(self, out, train=train, name="shortcut_norm")(x)
        return relu(x + y)

    def _convolution(
        self, features: int, kernel: int, stride: int, name: str
    ) -> Callable[[jax.Array], jax.Array]:
        if kernel == 1 or self.groups == 1:
            return convolution(features, kernel, stride=stride, dtype=self.dtype, name=name)
        return GroupedConvolution(
            features, kernel, groups=self.groups, stride=stride, dtype=self.dtype, name=name
        )


class ResNet(nn.Module):
    """A ResNet or ResNeXt without its classifier.

    Attributes:
      depth_name: one of `RESNETS`.
      width: channels of the stem; 64 in the paper, less for a small detector.
      norm: 'frozen_bn', 'batch_norm' or 'group_norm'.
      frozen_stages: the parameters of the stem and of the first `frozen_stages` stages get no
        gradient and their batch norms use the running statistics; 0 freezes only the stem, -1
        nothing (the convention of mmdetection).
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation; parameters are float32.
    """

    depth_name: str = "resnet50"
    width: int = 64
    norm: str = "batch_norm"
    frozen_stages: int = -1
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalized images.
          train: whether batch norm uses (and updates) the statistics of the batch.

        Returns:
          C2, C3, C4, C5 with strides 4, 8, 16, 32, each `[B, ceil(H/stride), ceil(W/stride), C]`.

        Raises:
          ValueError: `norm` is unknown, or `width` is too small for the groups of a ResNeXt.
        """
        blocks, bottleneck, groups, width_per_group = RESNETS[self.depth_name]
        if self.width * width_per_group < 64:
            raise ValueError(
                f"width is {self.width}, but the groups of {self.depth_name} need at least "
                f"{64 // width_per_group}."
            )
        stem_train = train and self.frozen_stages < 0
        x = convolution(self.width, 7, stride=2, dtype=self.dtype, name="stem_conv")(x)
        x = norm_of(
            self,
            self.width,
            train=stem_train,
            name="stem_norm",
        )(x)
        x = block_result(max_pool(nn.relu(x), 3, stride=2, pads=[(1, 1)] * 2))
        if self.frozen_stages >= 0:
            x = _constant(x)
        features = []
        for stage, count in enumerate(blocks, start=1):
            frozen = stage <= self.frozen_stages
            for i in range(count):
                x = ResidualBlock(
                    channels=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and i == 0 else 1,
                    bottleneck=bottleneck,
                    norm=self.norm,
                    groups=groups,
                    width_per_group=width_per_group,
                    norm_epsilon=self.norm_epsilon,
                    norm_momentum=self.norm_momentum,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{i + 1}",
                )(x, train=train and not frozen)
                x = block_result(x)
            if frozen:
                x = _constant(x)
            features.append(x)
        return tuple(features)


def _constant(x: jax.Array) -> jax.Array:
    """The array without a gradient; `jax.checkpoint` keeps it, but not its inputs."""
    return jax.lax.stop_gradient(checkpoint_name(x, ACTIVATION))
