"""ConvNeXt-T and ConvNeXt-S as the feature extractor of a detector.

Liu et al., arXiv 2201.03545, as in torchvision's and timm's `convnext_tiny` and `convnext_small`,
without stochastic depth. The stages are counted from 1; the norm and the 2x2 convolution between
two stages belong to the second of them.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models.layers import GroupedConvolution, block_result, convolution
from ioub_jax.models.patches import PatchConvolution, layer_norm, truncated_normal


class Architecture(NamedTuple):
    """Architecture of a ConvNeXt.

    Attributes:
      blocks: number of blocks in each stage.
      channels: channels of the first stage; every later stage has twice as many as the previous
        one.
    """

    blocks: tuple[int, int, int, int]
    channels: int


CONVNEXTS = {
    "convnext_tiny": Architecture((3, 3, 9, 3), 96),
    "convnext_small": Architecture((3, 3, 27, 3), 96),
}

_LAYER_SCALE = 1e-6


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7 convolution, layer norm, 1x1 to four times the channels, GELU, 1x1 back.

    Its modules are `depthwise_conv`, `norm`, `expand_conv` and `project_conv`; the parameter
    `layer_scale` is a factor for every channel of the residual.

    Attributes:
      dtype: dtype of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, C]`."""
        channels = x.shape[-1]
        y = GroupedConvolution(
            channels,
            7,
            groups=channels,
            use_bias=True,
            kernel_init=truncated_normal,
            dtype=self.dtype,
            name="depthwise_conv",
        )(x)
        y = layer_norm(dtype=self.dtype, name="norm")(y)
        y = nn.gelu(self._pointwise(4 * channels, "expand_conv")(y), approximate=False)
        y = self._pointwise(channels, "project_conv")(y)
        scale = self.param("layer_scale", nn.initializers.constant(_LAYER_SCALE), (channels,))
        return x + y * scale.astype(self.dtype).reshape(1, 1, 1, -1)

    def _pointwise(self, channels: int, name: str) -> nn.Conv:
        return convolution(
            channels, 1, use_bias=True, kernel_init=truncated_normal, dtype=self.dtype, name=name
        )


class ConvNeXt(nn.Module):
    """A ConvNeXt without its last norm and its classifier.

    Attributes:
      blocks: number of blocks in each stage.
      channels: channels of the first stage.
      frozen_stages: the parameters of the stem and of the first `frozen_stages` stages get no
        gradient; 0 freezes only the stem, -1 nothing.
      dtype: dtype of the computation; parameters and norms are float32.
    """

    blocks: tuple[int, ...] = (3, 3, 9, 3)
    channels: int = 96
    frozen_stages: int = -1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalized images. If a size is not a multiple of 32, zeros are added
            below and to the right; torchvision leaves such rows and columns out.
          train: without effect.

        Returns:
          C2, C3, C4, C5 with strides 4, 8, 16, 32, each `[B, ceil(H/stride), ceil(W/stride), C]`
          with `channels` times 1, 2, 4 and 8.
        """
        del train
        x = PatchConvolution(self.channels, 4, dtype=self.dtype, name="stem_conv")(x)
        x = self._frozen(block_result(layer_norm(dtype=self.dtype, name="stem_norm")(x)), 0)
        features = []
        for stage, count in enumerate(self.blocks, start=1):
            if stage > 1:
                prefix, channels = f"stage{stage}_downsample", self.channels * 2 ** (stage - 1)
                x = layer_norm(dtype=self.dtype, name=f"{prefix}_norm")(x)
                x = PatchConvolution(channels, 2, dtype=self.dtype, name=f"{prefix}_conv")(x)
            for i in range(count):
                x = ConvNeXtBlock(dtype=self.dtype, name=f"stage{stage}_block{i + 1}")(x)
                x = block_result(x)
            x = self._frozen(x, stage)
            features.append(x)
        return tuple(features)

    def _frozen(self, x: jax.Array, stage: int) -> jax.Array:
        return jax.lax.stop_gradient(x) if stage <= self.frozen_stages else x
