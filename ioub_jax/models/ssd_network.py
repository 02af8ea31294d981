"""SSD (Liu et al., arXiv 1512.02325): VGG16, extra layers, and a head for each level."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models import layers
from ioub_jax.models.interface import Predictions, normalize_images

#: Input size -> extra blocks. The numbers of a block are the channels of its 1x1 and its larger
#: convolution divided by the width of VGG16, and the kernel, stride and padding of the latter. The
#: 4x4 convolution is that of Caffe and mmdetection; torchvision's SSD512 extends SSD300's blocks
#: instead, which results in other grids.
EXTRA_BLOCKS = {
    300: ((4, 8, 3, 2, 1), (2, 4, 3, 2, 1), (2, 4, 3, 1, 0), (2, 4, 3, 1, 0)),
    512: (
        (4, 8, 3, 2, 1),
        (2, 4, 3, 2, 1),
        (2, 4, 3, 2, 1),
        (2, 4, 3, 2, 1),
        (2, 4, 4, 1, 1),
    ),
}

# The smallest norm that a feature vector is divided by, as in torch's F.normalize.
_SMALLEST_NORM = 1e-12


class ChannelNorm(nn.Module):
    """L2 normalization over the channels, with a learned scale for each (ParseNet, 1506.04579).

    `scale * x / max(|x|, 1e-12)`, as in torchvision; Caffe and mmdetection add 1e-10 to the norm
    instead.

    Attributes:
      initial_scale: initial value of every scale.
      dtype: dtype of the result; the norm is computed in float32.
    """

    initial_scale: float = 20.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., C]` to `[..., C]`; zero vectors stay zero and have finite gradients."""
        init = nn.initializers.constant(self.initial_scale)
        scale = self.param("scale", init, (x.shape[-1],))
        x = x.astype(jnp.float32)
        squared_norm = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        # The bound is inside the root, whose derivative at 0 would be infinite.
        norm = jnp.sqrt(jnp.maximum(squared_norm, _SMALLEST_NORM**2))
        return (scale.reshape((1,) * (x.ndim - 1) + scale.shape) * (x / norm)).astype(self.dtype)


class ExtraLayers(nn.Module):
    """Blocks of a 1x1 and a larger convolution, each of which returns a coarser level.

    The convolutions are named as in the paper: `conv8_1`, `conv8_2`, `conv9_1`, ...

    Attributes:
      input_size: 300 or 512.
      width: width of VGG16.
      dtype: dtype of the computation.
    """

    input_size: int
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Maps fc7 `[B, H, W, C]` to the output of each block, after its ReLU."""
        levels = []
        for number, block in enumerate(EXTRA_BLOCKS[self.input_size], start=8):
            reduced, channels, kernel, stride, padding = block
            x = layers.kept_relu(self._convolution(reduced, 1, 1, 0, f"conv{number}_1")(x))
            x = layers.kept_relu(
                self._convolution(channels, kernel, stride, padding, f"conv{number}_2")(x)
            )
            levels.append(x)
        return tuple(levels)

    def _convolution(
        self, multiple: int, kernel: int, stride: int, padding: int, name: str
    ) -> nn.Conv:
        return nn.Conv(
            multiple * self.width,
            (kernel, kernel),
            strides=(stride, stride),
            padding=padding,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            name=name,
        )


class SSD(nn.Module):
    """Network from images to the logits and deltas of every default box.

    Attributes:
      backbone: network that returns conv4_3 and fc7.
      l2_norm: norm between conv4_3 and its head.
      extra_layers: layers that return the coarser levels from fc7.
      classification_heads: for each level, a convolution with C + 1 logits per anchor, the
        background first.
      localization_heads: for each level, a convolution with 4 deltas per anchor.
      pixel_mean: mean of the pixels that the backbone was trained on, for each channel, on the
        scale 0 to 255.
      pixel_std: divisor of the pixels, 1 for the VGG16 that SSD starts from.
      dtype: dtype of the computation; parameters are float32.
    """

    backbone: nn.Module
    l2_norm: ChannelNorm
    extra_layers: ExtraLayers
    classification_heads: tuple[nn.Conv, ...]
    localization_heads: tuple[nn.Conv, ...]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array, *, train: bool) -> Predictions:
        """Predictions for a batch.

        Args:
          images: `[B, S, S, channels]` pixels 0-255, S the input size of the extra layers.
          train: without effect, since there is no batch norm and no dropout.

        Returns:
          `Predictions` with one entry for each of six (SSD300) or seven (SSD512) levels, with C + 1
          logits per anchor, the background first. The anchors of a location have the order of
          `anchors.ssd_anchors`.
        """
        images = normalize_images(images, self.pixel_mean, self.pixel_std, self.dtype)
        conv4_3, fc7 = self.backbone(images)
        levels = (self.l2_norm(conv4_3), fc7, *self.extra_layers(fc7))
        levels = layers.block_result(levels)
        return Predictions(
            logits=_applied(self.classification_heads, levels),
            deltas=_applied(self.localization_heads, levels),
        )


def _applied(heads: tuple[nn.Conv, ...], levels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return tuple(head(level) for head, level in zip(heads, levels, strict=True))


def head_convolution(channels: int, dtype: Any) -> nn.Conv:
    """The 3x3 convolution of one level's head."""
    init = nn.initializers.xavier_uniform()
    return layers.convolution(channels, 3, use_bias=True, kernel_init=init, dtype=dtype)
