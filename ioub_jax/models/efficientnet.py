"""EfficientNet-Lite0 as the feature extractor of a detector.

It is EfficientNet (Tan and Le, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6
instead of swish, as published in github.com/tensorflow/tpu, models/official/efficientnet/lite. The
first convolution is called the stem; the stages are the paper's stages 2 to 8, counted from 1.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models.layers import (
    GroupedConvolution,
    Padding,
    block_result,
    convolution,
    depthwise_init,
    norm_of,
)


class Stage(NamedTuple):
    """The blocks of one stage.

    Attributes:
      blocks: number of blocks.
      kernel: kernel size of the depthwise convolutions.
      stride: stride of the first block.
      expansion: channels of a depthwise convolution divided by those of its block's input.
      channels: channels of the output.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

# The last stages of strides 4, 8, 16 and 32.
_OUTPUTS = (2, 3, 5, 7)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection, added to the input if shapes agree.

    Modules: `expand_conv` and `expand_norm` (absent if `expansion` is 1), `depthwise_conv`,
    `depthwise_norm`, `project_conv`, `project_norm`.

    Attributes:
      kernel: kernel size of the depthwise convolution.
      stride: stride of the depthwise convolution.
      expansion: channels of the depthwise convolution divided by those of the input.
      channels: channels of the output.
      padding: 'same' or 'symmetric'.
      norm: name of the normalization.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation.
    """

    kernel: int
    stride: int
    expansion: int
    channels: int
    padding: Padding
    norm: str
    norm_epsilon: float
    norm_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H/stride), ceil(W/stride), channels]`."""
        inner = self.expansion * x.shape[-1]
        y = x
        if self.expansion > 1:
            y = convolution(inner, 1, dtype=self.dtype, name="expand_conv")(y)
            y = nn.relu6(norm_of(self, inner, train=train, name="expand_norm")(y))
        y = GroupedConvolution(
            inner,
            self.kernel,
            groups=inner,
            stride=self.stride,
            padding=self.padding,
            kernel_init=depthwise_init,
            dtype=self.dtype,
            name="depthwise_conv",
        )(y)
        y = nn.relu6(norm_of(self, inner, train=train, name="depthwise_norm")(y))
        y = convolution(self.channels, 1, dtype=self.dtype, name="project_conv")(y)
        y = norm_of(self, self.channels, train=train, name="project_norm")(y)
        return x + y if x.shape == y.shape else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to the last block, without the 1280 channels before its classifier.

    The weights of TensorFlow (timm's `tf_efficientnet_lite0`) require `padding` 'same' and
    `norm_epsilon` 1e-3; those trained by timm (`efficientnet_lite0`) require 'symmetric' and 1e-5.

    Attributes:
      norm: 'frozen_bn', 'batch_norm' or 'group_norm'.
      frozen_stages: the parameters of the stem and of the first `frozen_stages` of seven stages
        get no gradient and their batch norms use the running statistics; 0 freezes only the stem,
        -1 nothing.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      padding: 'same' or 'symmetric'.
      dtype: dtype of the computation; parameters are float32.
    """

    norm: str = "batch_norm"
    frozen_stages: int = -1
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.9
    padding: Padding = "same"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalized images.
          train: whether batch norm uses (and updates) the statistics of the batch.

        Returns:
          C2, C3, C4, C5 with strides 4, 8, 16, 32, each `[B, ceil(H/stride), ceil(W/stride), C]`
          with 24, 40, 112 and 320 channels.

        Raises:
          ValueError: `norm` is unknown.
        """
        x = self._stem(x, train=train and self.frozen_stages < 0)
        features = []
        for number, stage in enumerate(STAGES, start=1):
            frozen = number <= self.frozen_stages
            for i in range(stage.blocks):
                x = InvertedBottleneck(
                    kernel=stage.kernel,
                    stride=stage.stride if i == 0 else 1,
                    expansion=stage.expansion,
                    channels=stage.channels,
                    padding=self.padding,
                    norm=self.norm,
                    norm_epsilon=self.norm_epsilon,
                    norm_momentum=self.norm_momentum,
                    dtype=self.dtype,
                    name=f"stage{number}_block{i + 1}",
                )(x, train=train and not frozen)
                x = block_result(x)
            if frozen:
                x = jax.lax.stop_gradient(x)
            if number in _OUTPUTS:
                features.append(x)
        return tuple(features)

    def _stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = convolution(32, 3, stride=2, padding=self.padding, dtype=self.dtype, name="stem_conv")(
            x
        )
        norm = norm_of(
            self,
            32,
            train=train,
            name="stem_norm",
        )
        x = nn.relu6(norm(x))
        return jax.lax.stop_gradient(x) if self.frozen_stages >= 0 else x
