"""VGG16 as the feature extractor of SSD (arXiv 1409.1556; SSD, arXiv 1512.02325, section 3.1).

The fully connected layers are convolutions. fc6 has a dilation of 6 and pool5 keeps the resolution,
so fc7 has the stride of conv5_3. There is no batch norm and no dropout.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models.layers import block_result, convolution, kept_relu, max_pool

# Number of convolutions of each stage, and their channels divided by the width.
_STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def halving_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum with stride 2, `[B, H, W, C]` -> `[B, ceil(H/2), ceil(W/2), C]`.

    A single last row or column has a separate window, as in Caffe and with torchvision's
    `ceil_mode`: 75 becomes 38.
    """
    return max_pool(x, 2, stride=2, pads=[(0, x.shape[1] % 2), (0, x.shape[2] % 2)])


def smoothing_pool(x: jax.Array) -> jax.Array:
    """3x3 maximum with stride 1 and padding 1, `[B, H, W, C]` -> `[B, H, W, C]`."""
    return max_pool(x, 3, stride=1, pads=[(1, 1)] * 2)


class VGG16(nn.Module):
    """VGG16 up to fc7, without its classifier.

    Its convolutions are named `stage1_conv1` to `stage5_conv3`, `fc6` and `fc7`.

    Attributes:
      width: channels of the first stage; 64 in the paper, less for a small detector.
      frozen_stages: the parameters of the first `frozen_stages` stages get no gradient; there is no
        stem, so 0 and -1 freeze nothing (the convention of mmdetection).
      dtype: dtype of the computation; parameters are float32.
    """

    width: int = 64
    frozen_stages: int = -1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalized images.

        Returns:
          conv4_3 with stride 8 and `8 * width` channels and fc7 with stride 16 and `16 * width`
          channels, both after their ReLU.
        """
        conv4_3 = x
        for stage, (count, multiple) in enumerate(_STAGES, start=1):
            if stage > 1:
                x = block_result(halving_pool(x))
            for i in range(1, count + 1):
                name = f"stage{stage}_conv{i}"
                x = convolution(
                    multiple * self.width, 3, use_bias=True, dtype=self.dtype, name=name
                )(x)
                x = kept_relu(x)
            if stage <= self.frozen_stages:
                x = jax.lax.stop_gradient(x)
            if stage == 4:
                conv4_3 = block_result(x)
        return conv4_3, self._fully_connected(smoothing_pool(x))

    def _fully_connected(self, x: jax.Array) -> jax.Array:
        """The output of fc6 and fc7."""
        channels = 16 * self.width
        init = nn.initializers.xavier_uniform()
        x = nn.Conv(
            channels,
            (3, 3),
            padding=6,
            kernel_dilation=6,
            kernel_init=init,
            dtype=self.dtype,
            name="fc6",
        )(x)
        x = convolution(channels, 1, use_bias=True, kernel_init=init, dtype=self.dtype, name="fc7")(
            kept_relu(x)
        )
        return kept_relu(x)
