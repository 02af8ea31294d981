"""ViT-S and ViT-B with a simple pyramid as the feature extractor of a detector.

Dosovitskiy et al., arXiv 2010.11929, as in timm's `vit_small_patch16_224` and
`vit_base_patch16_224`. DINOv2 (Oquab et al., arXiv 2304.07193) has in addition a factor for every
channel after each layer. All blocks attend to the whole image and to the class token. The pyramid
is from Li et al., arXiv 2203.16527: every level is computed from the output of the last block,
before the last norm.

Every block is a separate stage, and the layers before the blocks are the stem.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.models.layers import block_result, max_pool
from ioub_jax.models.patches import PatchConvolution, layer_norm, truncated_normal

#: Number of rows and of columns of pixels that become one token.
PATCH = 16


class Architecture(NamedTuple):
    """Architecture of a vision transformer.

    Attributes:
      blocks: number of blocks.
      heads: number of attention heads, of 64 channels each.
      layer_scale: True for factors after each layer, as in DINOv2.
      grid: number of rows and of columns of the position embeddings.
    """

    blocks: int
    heads: int
    layer_scale: bool = False
    grid: int = 14


TRANSFORMERS = {
    "vit_small": Architecture(12, 6),
    "vit_base": Architecture(12, 12),
    "dinov2_small": Architecture(12, 6, layer_scale=True, grid=37),
    "dinov2_base": Architecture(12, 12, layer_scale=True, grid=37),
}

_LAYER_SCALE = 1e-5


def resizing_matrix(old: int, new: int) -> np.ndarray:
    """Matrix of a bicubic interpolation from `old` to `new` values, `[new, old]` in float64.

    It is Keys' kernel with a = -1/2. The kernel is widened if the result has fewer values, and
    weights beyond the border are distributed over the others. This equals the interpolation of
    Pillow, jax and torch's `interpolate(mode='bicubic', antialias=True)`, with which timm resizes
    position embeddings. DINOv2's code resizes without antialiasing, where torch has a = -3/4 and
    repeats the values at the border.
    """
    ratio = old / new
    centers = (np.arange(new)[:, None] + 0.5) * ratio
    distance = np.abs(np.arange(old) + 0.5 - centers) / max(ratio, 1.0)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    result: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return result


class Attention(nn.Module):
    """Self-attention among the tokens of an image (arXiv 1706.03762), the softmax in float32.

    Attributes:
      heads: number of heads, a divisor of the channels.
      dtype: dtype of the computation.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, T, C]` to `[B, T, C]`."""
        batch, tokens, channels = x.shape
        queries_keys_values = dense(3 * channels, dtype=self.dtype, name="qkv")(x)
        of_heads = queries_keys_values.reshape(batch, tokens, 3, self.heads, -1)
        query, key, value = (of_heads[:, :, i] for i in range(3))
        y = jax.nn.dot_product_attention(query, key, value)
        return dense(channels, dtype=self.dtype, name="project")(y.reshape(x.shape))


class TransformerBlock(nn.Module):
    """Attention and two fully connected layers, each with a norm before and a residual after it.

    Modules: `norm1`, `attention`, `norm2`, `expand`, `project`; with `layer_scale` also the
    parameters `layer_scale1` and `layer_scale2`.

    Attributes:
      heads: number of attention heads.
      layer_scale: True to multiply each residual by a factor for every channel.
      dtype: dtype of the computation.
    """

    heads: int
    layer_scale: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, T, C]` to `[B, T, C]`."""
        channels = x.shape[-1]
        y = layer_norm(dtype=self.dtype, name="norm1")(x)
        y = Attention(self.heads, dtype=self.dtype, name="attention")(y)
        x = x + self._scaled(y, "layer_scale1")
        y = layer_norm(dtype=self.dtype, name="norm2")(x)
        y = nn.gelu(dense(4 * channels, dtype=self.dtype, name="expand")(y), approximate=False)
        y = dense(channels, dtype=self.dtype, name="project")(y)
        return x + self._scaled(y, "layer_scale2")

    def _scaled(self, y: jax.Array, name: str) -> jax.Array:
        if not self.layer_scale:
            return y
        scale = self.param(name, nn.initializers.constant(_LAYER_SCALE), (y.shape[-1],))
        return y * scale.astype(self.dtype).reshape(1, 1, -1)


class Doubling(nn.Module):
    """A transposed 2x2 convolution of stride 2, with bias.

    Its `kernel` is `[2, 2, C, features]`, for each row and column of the four output pixels.

    Attributes:
      features: channels of the output.
      dtype: dtype of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, 2H, 2W, features]`."""
        batch, height, width, channels = x.shape
        kernel = self.param("kernel", truncated_normal, (2, 2, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        y = jnp.einsum("bhwc,ijcf->bhiwjf", x.astype(self.dtype), kernel.astype(self.dtype))
        return y.reshape(batch, 2 * height, 2 * width, self.features) + bias.reshape(1, 1, 1, -1)


class VisionTransformer(nn.Module):
    """A vision transformer with layers that compute C2 to C5 from its last map.

    Modules: `stem_conv`, `stage1_block1`, `stage2_block1` and so on, `pyramid_double4a`,
    `pyramid_norm4`, `pyramid_double4b`, `pyramid_double8`; parameters: `stem_class_token` (which
    includes its position) and `stem_position`.

    Attributes:
      blocks: number of blocks.
      channels: number of channels, a multiple of `heads` and of 4.
      heads: number of attention heads.
      layer_scale: True for factors after each layer.
      grid: number of rows and of columns of the position embeddings, which are interpolated for
        images of other sizes.
      frozen_stages: the parameters of the stem and of the first `frozen_stages` blocks get no
        gradient; 0 freezes only the stem, -1 nothing.
      dtype: dtype of the computation; parameters, norms and softmax are float32.
    """

    blocks: int = 12
    channels: int = 384
    heads: int = 6
    layer_scale: bool = False
    grid: int = 14
    frozen_stages: int = -1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of a batch of images.

        Args:
          x: `[B, H, W, 3]` normalized images. If a size is not a multiple of 16, zeros are added
            below and to the right.
          train: without effect.

        Returns:
          C2, C3, C4, C5 with strides 4, 8, 16, 32, each `[B, ceil(H/stride), ceil(W/stride), C]`
          with a quarter, a half, all and all of the channels.
        """
        del train
        height, width = x.shape[1:3]
        x = PatchConvolution(self.channels, PATCH, dtype=self.dtype, name="stem_conv")(x)
        shape = x.shape
        tokens = self._frozen(self._with_position(x), 0)
        for number in range(1, self.blocks + 1):
            tokens = TransformerBlock(
                self.heads, self.layer_scale, dtype=self.dtype, name=f"stage{number}_block1"
            )(tokens)
            tokens = self._frozen(block_result(tokens), number)
        c4 = tokens[:, 1:].reshape(shape)
        # The padding to multiples of 16 may have added whole rows and columns at strides 4 and 8.
        c2, c3 = (
            level[:, : -(-height // stride), : -(-width // stride)]
            for level, stride in ((self._quadrupled(c4), 4), (self._doubled(c4), 8))
        )
        pads = [(0, size % 2) for size in shape[1:3]]
        return c2, c3, c4, max_pool(c4, 2, stride=2, pads=pads)

    def _with_position(self, x: jax.Array) -> jax.Array:
        """The class token and `[B, h, w, C]` as `[B, 1 + h * w, C]`, with position embeddings."""
        batch, height, width, channels = x.shape
        first = self.param("stem_class_token", truncated_normal, (1, 1, channels))
        of_grid = self.param("stem_position", truncated_normal, (1, self.grid**2, channels))
        rows, columns = (np.float32(resizing_matrix(self.grid, n)) for n in (height, width))
        position = jnp.einsum(
            "yi,xj,ijc->yxc", rows, columns, of_grid.reshape(self.grid, self.grid, channels)
        )
        tokens = (x + position[None].astype(self.dtype)).reshape(batch, -1, channels)
        first = jnp.broadcast_to(first.astype(self.dtype), (batch, 1, channels))
        return jnp.concatenate([first, tokens], axis=1)

    def _quadrupled(self, x: jax.Array) -> jax.Array:
        x = Doubling(self.channels // 2, dtype=self.dtype, name="pyramid_double4a")(x)
        x = nn.gelu(layer_norm(dtype=self.dtype, name="pyramid_norm4")(x), approximate=False)
        return Doubling(self.channels // 4, dtype=self.dtype, name="pyramid_double4b")(x)

    def _doubled(self, x: jax.Array) -> jax.Array:
        return Doubling(self.channels // 2, dtype=self.dtype, name="pyramid_double8")(x)

    def _frozen(self, x: jax.Array, stage: int) -> jax.Array:
        return jax.lax.stop_gradient(x) if stage <= self.frozen_stages else x


def dense(features: int, *, dtype: Any, name: str) -> nn.Dense:
    """A fully connected layer with bias, initialized as in vision transformers."""
    return nn.Dense(features, kernel_init=truncated_normal, dtype=dtype, name=name)
