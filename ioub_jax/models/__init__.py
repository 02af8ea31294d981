"""Detectors in Flax Linen."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ioub_jax.models import efficientnet, fpn, resnet, retinanet_network, ssd_network, vgg
from ioub_jax.models.interface import Predictions

__all__ = ["Predictions", "create_backbone", "create_model"]


def create_model(
    config: Any, *, num_classes: int, anchors_per_location: Sequence[int]
) -> retinanet_network.RetinaNet | ssd_network.SSD:
    """The detector that a configuration describes.

    Args:
      config: `config.model`; its keys are explained in `ioub_jax/configs/defaults.py` and
        `ioub_jax/configs/ssd_defaults.py`.
      num_classes: C.
      anchors_per_location: for every level, the anchors that share a location.

    Raises:
      ValueError: `config.name` is no detector, or `config.backbone` no backbone of it.
    """
    if config.name == "retinanet":
        return _create_retinanet(config, num_classes, anchors_per_location[0])
    if config.name == "ssd":
        return _create_ssd(config, num_classes + 1, anchors_per_location)
    raise ValueError(f"model.name is {config.name!r}; it must be 'retinanet' or 'ssd'.")


def create_backbone(config: Any) -> nn.Module:
    """The feature extractor of a RetinaNet: C2 to C5 of a batch of normalised images.

    Args:
      config: `config.model`: `backbone`, `width`, `norm`, `norm_epsilon`, `frozen_stages`, `dtype`.

    Raises:
      ValueError: `config.backbone` is no backbone, or it has no variant of that width.
    """
    options = {
        "norm": config.norm,
        "norm_epsilon": config.norm_epsilon,
        "frozen_stages": config.frozen_stages,
        "dtype": jnp.dtype(config.dtype),
    }
    if config.backbone in resnet.RESNETS:
        return resnet.ResNet(depth_name=config.backbone, width=config.width, **options)
    if config.backbone != "efficientnet_lite0":
        names = ", ".join([*resnet.RESNETS, "efficientnet_lite0"])
        raise ValueError(f"model.backbone is {config.backbone!r}; it must be one of {names}.")
    if config.width != 64:
        raise ValueError(
            f"model.width is {config.width}, but efficientnet_lite0 has one width; leave it at 64."
        )
    return efficientnet.EfficientNetLite0(**options)


def _create_retinanet(config: Any, num_classes: int, anchors: int) -> retinanet_network.RetinaNet:
    dtype = jnp.dtype(config.dtype)

    def head(outputs: int, bias: float) -> retinanet_network.Head:
        return retinanet_network.Head(
            outputs=outputs,
            anchors=anchors,
            width=config.head.width,
            depth=config.head.depth,
            norm=config.head.norm,
            bias_before_norm=config.head.bias_before_norm,
            bias=bias,
            dtype=dtype,
        )

    return retinanet_network.RetinaNet(
        backbone=create_backbone(config),
        pyramid=fpn.FeaturePyramid(
            channels=config.fpn.channels,
            p6_from=config.fpn.p6_from,
            relu_before_p7=config.fpn.relu_before_p7,
            norm=config.fpn.norm,
            dtype=dtype,
        ),
        classification_head=head(
            num_classes, retinanet_network.prior_probability_bias(config.head.prior_probability)
        ),
        localization_head=head(4, 0.0),
        pixel_mean=tuple(config.pixel_mean),
        pixel_std=tuple(config.pixel_std),
        dtype=dtype,
    )


def _create_ssd(config: Any, outputs: int, anchors_per_location: Sequence[int]) -> ssd_network.SSD:
    """An SSD whose heads put out `outputs` logits an anchor, the background's included."""
    if config.backbone != "vgg16":
        raise ValueError(f"model.backbone is {config.backbone!r}; that of an SSD must be 'vgg16'.")
    if config.input_size not in ssd_network.EXTRA_BLOCKS:
        raise ValueError(
            f"model.input_size is {config.input_size}; it must be one of "
            f"{', '.join(map(str, ssd_network.EXTRA_BLOCKS))}."
        )
    levels = 2 + len(ssd_network.EXTRA_BLOCKS[config.input_size])
    if len(anchors_per_location) != levels:
        raise ValueError(
            f"An SSD of model.input_size {config.input_size} has {levels} levels, but anchors are "
            f"given for {len(anchors_per_location)}; give config.anchors one stride for each."
        )
    dtype = jnp.dtype(config.dtype)
    # Weights published for SSD are of VGG16 at its own width, which a configuration may leave out.
    width = config.get("width", 64)
    return ssd_network.SSD(
        backbone=vgg.VGG16(width=width, frozen_stages=config.frozen_stages, dtype=dtype),
        l2_norm=ssd_network.ChannelNorm(dtype=dtype),
        extra_layers=ssd_network.ExtraLayers(
            input_size=config.input_size, width=width, dtype=dtype
        ),
        classification_heads=tuple(
            ssd_network.head_convolution(anchors * outputs, dtype)
            for anchors in anchors_per_location
        ),
        localization_heads=tuple(
            ssd_network.head_convolution(anchors * 4, dtype) for anchors in anchors_per_location
        ),
        pixel_mean=tuple(config.pixel_mean),
        pixel_std=tuple(config.pixel_std),
        dtype=dtype,
    )
