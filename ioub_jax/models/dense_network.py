"""Single-stage networks with other or more outputs than RetinaNet.

FCOS (arXiv 1904.01355), ATSS (arXiv 1912.02424), GFL (arXiv 2006.04388) and IoU-aware RetinaNet
(arXiv 1912.05992) have the backbone, pyramid and towers of RetinaNet. Their boxes are distances or
distributions, and a convolution predicts the quality of a box.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.models import fpn, layers
from ioub_jax.models.interface import Predictions, normalize_images
from ioub_jax.models.retinanet_network import Head

#: The possible meanings of the values of the localization head.
BOX_FORMS = ("deltas", "exp_distances", "relu_distances", "distribution")
# `boxes.decode` clips the logarithms of sides at the same value.
_MAX_LOG_DISTANCE = math.log(1000 / 16)


class DenseNetwork(nn.Module):
    """Network from images to logits, boxes and, if configured, the quality of the boxes.

    Attributes:
      backbone: network that returns C2 to C5.
      pyramid: network that returns P3 to P7 from C3 to C5.
      classification_head: head with C logits per anchor.
      localization_head: head with 4 values per anchor, or 4 K for distributions over K bins; with
        `quality` it has one more value per anchor.
      box_form: 'deltas', the values themselves; 'exp_distances' or 'relu_distances', their
        exponential or ReLU; 'distribution', the expectation over the bins of each side.
      level_scales: True to multiply the values of each level by a learned number.
      pixel_mean: as for `RetinaNet`.
      pixel_std: as for `RetinaNet`.
      dtype: dtype of the computation; parameters and boxes are float32.

    Raises:
      ValueError: `box_form` is unknown.
    """

    backbone: nn.Module
    pyramid: fpn.FeaturePyramid
    classification_head: Head
    localization_head: Head
    box_form: str
    level_scales: bool
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> Predictions:
        """Predictions for a batch.

        Args:
          images: `[B, H, W, channels]` pixels 0-255.
          train: whether batch norms use the statistics of the batch.

        Returns:
          `Predictions` with one entry for each of the levels P3 to P7. Distances are in strides.
          `others` has `quality`, logits `[B, h, w, A]`, if the head has them, and `distribution`,
          logits `[B, h, w, A * 4 * K]`, if boxes are distributions.
        """
        if self.box_form not in BOX_FORMS:
            raise ValueError(f"box_form is {self.box_form!r}; it must be one of {BOX_FORMS}.")
        images = normalize_images(images, self.pixel_mean, self.pixel_std, self.dtype)
        features = self.backbone(images, train=train)
        levels = layers.block_result(self.pyramid(features[1:]))
        logits = self.classification_head(levels)
        others = {}
        if self.localization_head.quality:
            values, others["quality"] = self.localization_head.with_quality(levels)
        else:
            values = self.localization_head(levels)
        values = tuple(level.astype(jnp.float32) for level in values)
        if self.level_scales:
            scales = self.param("level_scales", nn.initializers.ones, (len(values),))
            values = tuple(level * scales[i] for i, level in enumerate(values))
        if self.box_form == "distribution":
            others["distribution"] = values
        return Predictions(logits, tuple(map(self._boxes, values)), others)

    def _boxes(self, values: jax.Array) -> jax.Array:
        """The four numbers of the box of each anchor, `[B, h, w, A * 4]`."""
        if self.box_form == "exp_distances":
            return jnp.exp(jnp.clip(values, -_MAX_LOG_DISTANCE, _MAX_LOG_DISTANCE))
        if self.box_form == "relu_distances":
            return nn.relu(values)
        if self.box_form == "deltas":
            return values
        sides = 4 * self.localization_head.anchors
        return losses.decode_distribution(values.reshape(*values.shape[:-1], sides, -1))
