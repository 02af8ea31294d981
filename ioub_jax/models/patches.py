"""Layers of patch-based networks: convolutions with disjoint windows, and layer norms."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models.convolutions import pointwise_convolution

#: The initialization of ConvNeXt and vision transformers.
truncated_normal = nn.initializers.truncated_normal(0.02)


def layer_norm(*, dtype: Any = jnp.float32, name: str | None = None) -> nn.LayerNorm:
    """Layer norm over the channels in float32, with the epsilon 1e-6 of ConvNeXt and ViT."""
    # The fast variance is a difference of two large means, which would lose precision.
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, use_fast_variance=False, name=name)


class PatchConvolution(nn.Module):
    """A convolution with bias whose stride is the size of its kernel.

    Its `kernel` `[size, size, C, features]` and its `bias` are like those of `nn.Conv`. If the size
    of the input is not a multiple of the stride, zeros are added below and to the right.

    Attributes:
      features: channels of the output.
      size: rows and columns of a patch.
      dtype: dtype of the computation; the parameters are float32.
    """

    features: int
    size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H/size), ceil(W/size), features]`."""
        size, (batch, height, width, channels) = self.size, x.shape
        shape = (size, size, channels, self.features)
        kernel = self.param("kernel", truncated_normal, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
        rows, columns = x.shape[1] // size, x.shape[2] // size
        x = x.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
        x = x.reshape(batch, rows, columns, size * size * channels)
        kernel = kernel.reshape(1, 1, size * size * channels, self.features)
        return pointwise_convolution(x, kernel, (1, 1)) + bias.reshape(1, 1, 1, -1)
