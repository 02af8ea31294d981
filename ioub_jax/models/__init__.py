"""Detectors in Flax Linen."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ioub_jax.models import fpn, resnet, retinanet
from ioub_jax.models.interface import Predictions

__all__ = ["Predictions", "create_backbone", "create_model"]


def create_model(
    config: Any, *, num_classes: int, anchors_per_location: Sequence[int]
) -> retinanet.RetinaNet:
    """The detector that a configuration describes.

    Args:
      config: `config.model`; its keys are explained in `configs/defaults.py`.
      num_classes: C.
      anchors_per_location: for every level, the anchors that share a location.

    Raises:
      ValueError: `config.name` is no detector, or `config.backbone` no backbone of it.
    """
    if config.name == "retinanet":
        return _create_retinanet(config, num_classes, anchors_per_location[0])
    raise ValueError(f"model.name is {config.name!r}; it must be 'retinanet' or 'ssd'.")


def create_backbone(config: Any) -> nn.Module:
    """The feature extractor of a RetinaNet: C2 to C5 of a batch of normalised images.

    Args:
      config: `config.model`: `backbone`, `width`, `norm`, `norm_epsilon`, `frozen_stages`, `dtype`.
    """
    return resnet.ResNet(
        depth_name=config.backbone,
        width=config.width,
        norm=config.norm,
        norm_epsilon=config.norm_epsilon,
        frozen_stages=config.frozen_stages,
        dtype=jnp.dtype(config.dtype),
    )


def _create_retinanet(config: Any, num_classes: int, anchors: int) -> retinanet.RetinaNet:
    dtype = jnp.dtype(config.dtype)

    def head(outputs: int, bias: float) -> retinanet.Head:
        return retinanet.Head(
            outputs=outputs,
            anchors=anchors,
            width=config.head.width,
            depth=config.head.depth,
            norm=config.head.norm,
            bias_before_norm=config.head.bias_before_norm,
            bias=bias,
            dtype=dtype,
        )

    return retinanet.RetinaNet(
        backbone=create_backbone(config),
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
        pixel_mean=tuple(config.pixel_mean),
        pixel_std=tuple(config.pixel_std),
        dtype=dtype,
    )
