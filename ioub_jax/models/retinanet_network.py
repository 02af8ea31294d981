"""RetinaNet (Lin et al., arXiv 1708.02002): a backbone, a pyramid and two similar heads."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax.models import fpn, layers
from ioub_jax.models.interface import Predictions, normalize_images


class Head(nn.Module):
    """A tower of 3x3 convolutions and one output convolution, shared by all levels.

    Attributes:
      outputs: values per anchor.
      anchors: anchors per location.
      width: channels of the tower.
      depth: number of convolutions in the tower.
      norm: 'none' (the paper) or 'group_norm'.
      bias_before_norm: True for a bias in the convolutions of a tower with a norm; torchvision and
        detectron2 have none.
      bias: initial bias of the output.
      quality: True for a second output convolution with one value per anchor, for `with_quality`.
      dtype: dtype of the computation.
    """

    outputs: int
    anchors: int
    width: int
    depth: int
    norm: str
    bias_before_norm: bool = True
    bias: float = 0.0
    quality: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Creates the layers that all levels share."""
        if self.norm not in ("none", "group_norm"):
            raise ValueError(f"norm of a head is {self.norm!r}; it must be 'none' or 'group_norm'.")
        init = nn.initializers.normal(0.01)
        self.tower = [
            layers.SharedConvolution(
                self.width,
                use_bias=self.norm == "none" or self.bias_before_norm,
                kernel_init=init,
                dtype=self.dtype,
            )
            for _ in range(self.depth)
        ]
        if self.norm == "group_norm":
            self.norms = [
                layers.group_norm(self.width, dtype=self.dtype) for _ in range(self.depth)
            ]
        self.output = layers.SharedConvolution(
            self.outputs * self.anchors,
            kernel_init=init,
            bias_init=nn.initializers.constant(self.bias),
            dtype=self.dtype,
        )
        if self.quality:
            self.quality_output = layers.SharedConvolution(
                self.anchors, kernel_init=init, dtype=self.dtype
            )

    def __call__(self, levels: layers.Maps) -> layers.Maps:
        """Maps `[B, h, w, channels]` of each level to `[B, h, w, anchors * outputs]`."""
        return self.output(self._of_tower(levels))

    def with_quality(self, levels: layers.Maps) -> tuple[layers.Maps, layers.Maps]:
        """The outputs as from a call, and the qualities `[B, h, w, anchors]` of each level."""
        of_tower = self._of_tower(levels)
        return self.output(of_tower), self.quality_output(of_tower)

    def _of_tower(self, levels: layers.Maps) -> layers.Maps:
        for i, layer in enumerate(self.tower):
            levels = layer(levels)
            if self.norm == "group_norm":
                levels = tuple(nn.relu(self.norms[i](x)) for x in levels)
            else:
                levels = tuple(layers.kept_relu(x) for x in levels)
        return levels


class RetinaNet(nn.Module):
    """Network from images to the logits and deltas of every anchor.

    Attributes:
      backbone: network that returns C2 to C5.
      pyramid: network that returns P3 to P7 from C3 to C5.
      classification_head: head with C logits per anchor.
      localization_head: head with 4 deltas per anchor.
      pixel_mean: mean of the pixels that the backbone was trained on, for each channel, on the
        scale 0 to 255.
      pixel_std: their standard deviation.
      dtype: dtype of the computation; parameters are float32.
    """

    backbone: nn.Module
    pyramid: fpn.FeaturePyramid
    classification_head: Head
    localization_head: Head
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array, *, train: bool) -> Predictions:
        """Predictions for a batch.

        Args:
          images: `[B, H, W, channels]` pixels 0-255.
          train: whether batch norms use the statistics of the batch.

        Returns:
          `Predictions` with one entry for each of the levels P3 to P7; the anchors of a location
          have the order of `anchors.retinanet_anchors`.
        """
        images = normalize_images(images, self.pixel_mean, self.pixel_std, self.dtype)
        features = self.backbone(images, train=train)
        levels = layers.block_result(self.pyramid(features[1:]))
        return Predictions(
            logits=self.classification_head(levels),
            deltas=self.localization_head(levels),
        )


def prior_probability_bias(prior_probability: float) -> float:
    """Initial bias with `sigmoid(bias) = prior_probability` for every anchor (section 3.3)."""
    return -math.log((1.0 - prior_probability) / prior_probability)
