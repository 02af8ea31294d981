"""Detectors in Flax Linen."""

from typing import Any

import jax.numpy as jnp

from ioub_jax.models import fpn, resnet, retinanet


def create_model(
    config: Any, *, num_classes: int, anchors_per_location: int
) -> retinanet.RetinaNet:
    """The detector that a configuration describes.

    Args:
      config: `config.model`: `backbone`, `width`, `norm`, `frozen_stages`, `dtype`,
        `fpn.{channels, p6_from, relu_before_p7, norm}` and
        `head.{width, depth, norm, prior_probability}`.
      num_classes: C.
      anchors_per_location: anchors that share a location of a level.
    """
    dtype = jnp.dtype(config.dtype)

    def head(outputs: int, bias: float) -> retinanet.Head:
        return retinanet.Head(
            outputs=outputs,
            anchors=anchors_per_location,
            width=config.head.width,
            depth=config.head.depth,
            norm=config.head.norm,
            bias=bias,
            dtype=dtype,
        )

    return retinanet.RetinaNet(
        backbone=resnet.ResNet(
            depth_name=config.backbone,
            width=config.width,
            norm=config.norm,
            frozen_stages=config.frozen_stages,
            dtype=dtype,
        ),
        pyramid=fpn.FeaturePyramid(
            channels=config.fpn.channels,
            p6_from=config.fpn.p6_from,
            relu_before_p7=config.fpn.relu_before_p7,
            norm=config.fpn.norm,
            dtype=dtype,
        ),
        classification_head=head(
            num_classes, retinanet.prior_probability_bias(config.head.prior_probability)
        ),
        localization_head=head(4, 0.0),
        dtype=dtype,
    )
