"""SSDLite (arXiv 1801.04381, section 6.2, and 1905.02244, section 6.3), as in torchvision.

It is SSD on MobileNetV3-Large, with depthwise convolutions in the heads and extra layers, each with
a norm.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models import layers
from ioub_jax.models.interface import Predictions, normalize_images

#: Output channels of each extra block of the published network.
EXTRA_CHANNELS = (512, 256, 256, 128)
#: The backbone's two levels, and one for each extra block.
LEVELS = 2 + len(EXTRA_CHANNELS)

_LEAST_CHANNELS = 16
_init = nn.initializers.normal(0.03)


def extra_channels(multiplier: float) -> tuple[int, ...]:
    """Output channels of every extra block: the published ones times `multiplier`, at least 16."""
    return tuple(max(_LEAST_CHANNELS, int(count * multiplier)) for count in EXTRA_CHANNELS)


class ExtraBlock(nn.Module):
    """1x1 convolution to half of the channels, 3x3 depthwise with stride 2, 1x1 to all of them.

    Each has a norm and a ReLU6. Modules: `reduce_conv`, `reduce_norm`, `depthwise_conv`,
    `depthwise_norm`, `expand_conv`, `expand_norm`.

    Attributes:
      channels: channels of the output.
      norm: name of the normalization.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation.
    """

    channels: int
    norm: str
    norm_epsilon: float
    norm_momentum: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H/2), ceil(W/2), channels]`."""
        inner = self.channels // 2
        x = self._pointwise(inner, "reduce_conv")(x)
        x = nn.relu6(layers.norm_of(self, inner, train=train, name="reduce_norm")(x))
        x = _depthwise(inner, stride=2, dtype=self.dtype, name="depthwise_conv")(x)
        x = nn.relu6(layers.norm_of(self, inner, train=train, name="depthwise_norm")(x))
        x = self._pointwise(self.channels, "expand_conv")(x)
        return nn.relu6(layers.norm_of(self, self.channels, train=train, name="expand_norm")(x))

    def _pointwise(self, channels: int, name: str) -> nn.Conv:
        return layers.convolution(channels, 1, kernel_init=_init, dtype=self.dtype, name=name)


class PredictionBlock(nn.Module):
    """The head of a level: 3x3 depthwise convolution, norm, ReLU6, and a 1x1 convolution.

    Modules: `depthwise_conv`, `depthwise_norm`, and `output` with a bias.

    Attributes:
      outputs: channels of the output.
      norm: name of the normalization.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      dtype: dtype of the computation.
    """

    outputs: int
    norm: str
    norm_epsilon: float
    norm_momentum: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, outputs]`."""
        channels = x.shape[-1]
        x = _depthwise(channels, stride=1, dtype=self.dtype, name="depthwise_conv")(x)
        x = nn.relu6(layers.norm_of(self, channels, train=train, name="depthwise_norm")(x))
        output = layers.convolution(
            self.outputs, 1, use_bias=True, kernel_init=_init, dtype=self.dtype, name="output"
        )
        return output(x)


class SSDLite(nn.Module):
    """Network from images to the logits and deltas of every default box.

    Attributes:
      backbone: network that returns two levels, of strides 16 and 32.
      extra_blocks: blocks that each return a coarser level from the previous level.
      classification_heads: for each level, a head with C + 1 logits per anchor, the background
        first.
      localization_heads: for each level, a head with 4 deltas per anchor.
      pixel_mean: number that is subtracted from the pixels of each channel, on the scale 0 to 255.
      pixel_std: divisor of the pixels of each channel.
      dtype: dtype of the computation; parameters are float32.
    """

    backbone: nn.Module
    extra_blocks: tuple[ExtraBlock, ...]
    classification_heads: tuple[PredictionBlock, ...]
    localization_heads: tuple[PredictionBlock, ...]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array, *, train: bool) -> Predictions:
        """Predictions for a batch.

        Args:
          images: `[B, S, S, channels]` pixels 0-255.
          train: whether batch norms use (and update) the statistics of the batch.

        Returns:
          `Predictions` with one entry for each of six levels, with C + 1 logits per anchor, the
          background first. The anchors of a location have the order of `anchors.ssd_anchors`.
        """
        images = normalize_images(images, self.pixel_mean, self.pixel_std, self.dtype)
        levels = list(self.backbone(images, train=train))
        for block in self.extra_blocks:
            levels.append(block(levels[-1], train=train))
        levels = layers.block_result(levels)

        def applied(heads: tuple[PredictionBlock, ...]) -> tuple[jax.Array, ...]:
            return tuple(
                head(level, train=train) for head, level in zip(heads, levels, strict=True)
            )

        return Predictions(
            logits=applied(self.classification_heads), deltas=applied(self.localization_heads)
        )


def _depthwise(channels: int, *, stride: int, dtype: Any, name: str) -> layers.GroupedConvolution:
    return layers.GroupedConvolution(
        channels, 3, groups=channels, stride=stride, kernel_init=_init, dtype=dtype, name=name
    )
