"""RetinaNet (Lin et al., arXiv 1708.02002): a backbone, a pyramid, and two heads of one form."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models import fpn, resnet

# Mean and standard deviation of ImageNet's RGB pixels, on the scale 0 to 255.
_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)


class Predictions(NamedTuple):
    """What a detector says of every anchor, level by level, finest first.

    Attributes:
      logits: one `[B, N_l, C]` a level.
      deltas: one `[B, N_l, 4]` a level, (dx, dy, dw, dh) from anchor to box.
    """

    logits: tuple[jax.Array, ...]
    deltas: tuple[jax.Array, ...]


def normalize_images(images: jax.Array, dtype: Any = jnp.float32) -> jax.Array:
    """`[..., 3]` RGB pixels 0-255 (uint8 or float) to ImageNet's zero mean and unit variance."""
    lead = (1,) * (images.ndim - 1)
    mean = jnp.asarray(_PIXEL_MEAN, jnp.float32).reshape(*lead, 3)
    std = jnp.asarray(_PIXEL_STD, jnp.float32).reshape(*lead, 3)
    return ((images.astype(jnp.float32) - mean) / std).astype(dtype)


class Head(nn.Module):
    """A tower of 3x3 convolutions and one output convolution, the same for every level.

    Attributes:
      outputs: values per anchor.
      anchors: anchors per location.
      width: channels of the tower.
      depth: convolutions of the tower.
      norm: 'none' (the paper) or 'group_norm'.
      bias: initial bias of the output.
      dtype: dtype of the computation.
    """

    outputs: int
    anchors: int
    width: int
    depth: int
    norm: str
    bias: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers that all levels share."""
        if self.norm not in ("none", "group_norm"):
            raise ValueError(
                f"model.head.norm is {self.norm!r}; it must be 'none' or 'group_norm'."
            )
        init = nn.initializers.normal(0.01)
        self.tower = [
            resnet.convolution(
                self.width,
                3,
                use_bias=True,
                kernel_init=init,
                dtype=self.dtype,
            )
            for _ in range(self.depth)
        ]
        if self.norm == "group_norm":
            self.norms = [
                resnet.group_norm(self.width, dtype=self.dtype) for _ in range(self.depth)
            ]
        self.output = resnet.convolution(
            self.outputs * self.anchors,
            3,
            use_bias=True,
            kernel_init=init,
            bias_init=nn.initializers.constant(self.bias),
            dtype=self.dtype,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, h, w, channels]` to `[B, h * w * anchors, outputs]`."""
        for i, layer in enumerate(self.tower):
            x = layer(x)
            if self.norm == "group_norm":
                x = self.norms[i](x)
            x = nn.relu(x)
        return self.output(x).reshape(x.shape[0], -1, self.outputs)


class RetinaNet(nn.Module):
    """Images in, logits and deltas of every anchor out.

    Attributes:
      backbone: puts out C2 to C5.
      pyramid: puts out P3 to P7 from C3 to C5.
      classification_head: puts out C logits an anchor.
      localization_head: puts out 4 deltas an anchor.
      dtype: dtype of the computation; parameters are float32.
    """

    backbone: resnet.ResNet
    pyramid: fpn.FeaturePyramid
    classification_head: Head
    localization_head: Head
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array, *, train: bool) -> Predictions:
        """Predictions for a batch.

        Args:
          images: `[B, H, W, 3]` RGB pixels 0-255.
          train: whether batch norms use the statistics of the batch.

        Returns:
          `Predictions` with one entry for each of the levels P3 to P7; the anchors of a level are
          ordered by row, column, anchor, as `anchors.retinanet_anchors` orders them.
        """
        features = self.backbone(normalize_images(images, self.dtype), train=train)
        levels = self.pyramid(features[1:])
        return Predictions(
            logits=tuple(self.classification_head(level) for level in levels),
            deltas=tuple(self.localization_head(level) for level in levels),
        )


def prior_probability_bias(prior_probability: float) -> float:
    """Bias with which every anchor starts at `sigmoid(bias) = prior_probability` (section 3.3)."""
    return -math.log((1.0 - prior_probability) / prior_probability)
