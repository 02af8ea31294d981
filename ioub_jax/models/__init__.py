"""Networks in Flax Linen."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ioub_jax.models import efficientnet, resnet
from ioub_jax.models.interface import Predictions

__all__ = ["Predictions", "create_backbone"]


def create_backbone(
    name: str,
    *,
    width: int = 64,
    norm: str = "batch_norm",
    norm_epsilon: float = 1e-5,
    frozen_stages: int = -1,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """The feature extractor of a RetinaNet: C2 to C5 of a batch of normalised images.

    Args:
      name: 'resnet18', 'resnet34', 'resnet50', 'resnet101', a ResNeXt of `resnet.RESNETS`, or
        'efficientnet_lite0'.
      width: channels of the stem.
      norm: 'frozen_bn', 'batch_norm' or 'group_norm'.
      norm_epsilon: added to the variance by batch norms.
      frozen_stages: -1: nothing is frozen, 0: the stem, 1: the stem and stage 1, ...
      dtype: of the computation; parameters are float32.

    Raises:
      ValueError: there is no such backbone, or it has no variant of that width.
    """
    options: dict[str, Any] = {
        "norm": norm,
        "norm_epsilon": norm_epsilon,
        "frozen_stages": frozen_stages,
        "dtype": dtype,
    }
    if name in resnet.RESNETS:
        return resnet.ResNet(depth_name=name, width=width, **options)
    if name != "efficientnet_lite0":
        names = ", ".join([*resnet.RESNETS, "efficientnet_lite0"])
        raise ValueError(f"backbone is {name!r}; it must be one of {names}.")
    if width != 64:
        raise ValueError(f"width is {width}, but efficientnet_lite0 has one width; leave it at 64.")
    return efficientnet.EfficientNetLite0(**options)
