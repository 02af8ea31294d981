"""Networks in Flax Linen."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ioub_jax.models import convnext, efficientnet, mobilenet, resnet, vision_transformer
from ioub_jax.models.interface import Predictions

__all__ = ["Predictions", "backbone_names", "create_backbone"]


#: Width of the published networks; numbers of channels are proportional to it.
PUBLISHED_WIDTH = 64


def create_backbone(
    name: str,
    *,
    width: int = PUBLISHED_WIDTH,
    norm: str = "batch_norm",
    norm_epsilon: float = 1e-5,
    norm_momentum: float = 0.9,
    frozen_stages: int = -1,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """The feature extractor of a RetinaNet: C2 to C5 of a batch of normalized images.

    Args:
      name: one of `backbone_names`.
      width: channels of the stem of a ResNet; 64 is the published network. In other networks with
        several widths, every number of channels is multiplied by width / 64.
      norm: 'frozen_bn', 'batch_norm' or 'group_norm'; 'layer_norm' for a ConvNeXt and a vision
        transformer.
      norm_epsilon: added to the variance by batch norms.
      norm_momentum: share of the running statistics that batch norms keep in a step.
      frozen_stages: -1: nothing is frozen, 0: the stem, 1: the stem and stage 1, ...
      dtype: dtype of the computation; parameters are float32.

    Raises:
      ValueError: there is no such backbone, or it has no variant of that width or with that norm.
    """
    if name not in backbone_names():
        raise ValueError(f"backbone is {name!r}; it must be one of {', '.join(backbone_names())}.")
    if name in convnext.CONVNEXTS:
        _check_layer_norm(name, norm)
        blocks, channels = convnext.CONVNEXTS[name]
        return convnext.ConvNeXt(
            blocks=blocks,
            channels=_of_width(channels, width, name),
            frozen_stages=frozen_stages,
            dtype=dtype,
        )
    if name in vision_transformer.TRANSFORMERS:
        _check_layer_norm(name, norm)
        of_name = vision_transformer.TRANSFORMERS[name]
        return vision_transformer.VisionTransformer(
            blocks=of_name.blocks,
            channels=of_name.heads * width,  # a head of the published networks has 64 channels
            heads=of_name.heads,
            layer_scale=of_name.layer_scale,
            grid=of_name.grid,
            frozen_stages=frozen_stages,
            dtype=dtype,
        )
    if norm == "layer_norm":
        raise ValueError(
            f"norm is 'layer_norm', but {name} has batch norms; set it to 'frozen_bn', "
            "'batch_norm' or 'group_norm'."
        )
    options: dict[str, Any] = {
        "norm": norm,
        "norm_epsilon": norm_epsilon,
        "norm_momentum": norm_momentum,
        "frozen_stages": frozen_stages,
        "dtype": dtype,
    }
    if name in resnet.RESNETS:
        return resnet.ResNet(depth_name=name, width=width, **options)
    if name == "mobilenet_v3_large":
        return mobilenet.MobileNetV3Large(multiplier=width / PUBLISHED_WIDTH, **options)
    if width != PUBLISHED_WIDTH:
        raise ValueError(f"width is {width}, but {name} has one width; leave it at 64.")
    return efficientnet.EfficientNetLite0(**options)


def backbone_names() -> tuple[str, ...]:
    """The names of backbones that `create_backbone` accepts."""
    return (
        *resnet.RESNETS,
        "efficientnet_lite0",
        "mobilenet_v3_large",
        *convnext.CONVNEXTS,
        *vision_transformer.TRANSFORMERS,
    )


def _check_layer_norm(name: str, norm: str) -> None:
    if norm != "layer_norm":
        raise ValueError(
            f"norm is {norm!r}, but {name} has only layer norms; set it to 'layer_norm'."
        )


def _of_width(channels: int, width: int, name: str) -> int:
    if channels * width % PUBLISHED_WIDTH:
        step = PUBLISHED_WIDTH // math.gcd(channels, PUBLISHED_WIDTH)
        raise ValueError(
            f"width is {width}, but {channels} channels of {name} times {width} / "
            f"{PUBLISHED_WIDTH} is not a whole number; make it a multiple of {step}."
        )
    return channels * width // PUBLISHED_WIDTH
