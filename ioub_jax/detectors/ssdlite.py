"""SSDLite (arXiv 1801.04381) on MobileNetV3-Large, from a configuration."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ioub_jax.detectors import ssd
from ioub_jax.detectors.detector import Detector
from ioub_jax.errors import ConfigError
from ioub_jax.models import PUBLISHED_WIDTH, mobilenet, ssdlite_network
from ioub_jax.models.interface import for_channels


def create(config: Any, num_classes: int) -> Detector:
    """The SSDLite of a configuration; arguments and errors as in `retinanet.create`."""
    return ssd.of_network(config, num_classes, create_network)


def create_network(
    model: Any, num_classes: int, anchors_per_location: Sequence[int]
) -> ssdlite_network.SSDLite:
    """The network of `config.model`; the background's logit comes first."""
    _check(model)
    ssd.check_levels(model, ssdlite_network.LEVELS, anchors_per_location)
    dtype = jnp.dtype(model.dtype)
    channels = model.get("in_channels", 3)  # imported detectors lack it
    multiplier = model.width / PUBLISHED_WIDTH
    norms = {
        # Layers that are not pretrained have no statistics to freeze.
        "norm": "batch_norm" if model.norm == "frozen_bn" else model.norm,
        "norm_epsilon": model.norm_epsilon,
        "norm_momentum": model.norm_momentum,
        "dtype": dtype,
    }

    def heads(outputs: int) -> tuple[ssdlite_network.PredictionBlock, ...]:
        return tuple(
            ssdlite_network.PredictionBlock(anchors * outputs, **norms)
            for anchors in anchors_per_location
        )

    return ssdlite_network.SSDLite(
        backbone=mobilenet.MobileNetV3Large(
            multiplier=multiplier,
            reduced_tail=model.reduced_tail,
            features="ssdlite",
            frozen_stages=model.frozen_stages,
            **norms | {"norm": model.norm},
        ),
        extra_blocks=tuple(
            ssdlite_network.ExtraBlock(count, **norms)
            for count in ssdlite_network.extra_channels(multiplier)
        ),
        classification_heads=heads(num_classes + 1),
        localization_heads=heads(4),
        pixel_mean=for_channels(model.pixel_mean, channels),
        pixel_std=for_channels(model.pixel_std, channels),
        dtype=dtype,
    )


def _check(model: Any) -> None:
    """Refuses another backbone, norms that it does not have, and the keys of an SSD."""
    if "reduced_tail" not in model:
        raise ConfigError(
            "model.name is 'ssdlite', but the configuration has the keys of another detector; "
            "start from ioub_jax/configs/ssdlite_defaults.py."
        )
    if model.backbone != "mobilenet_v3_large":
        raise ConfigError(
            f"model.backbone is {model.backbone!r}; that of an SSDLite must be "
            "'mobilenet_v3_large'."
        )
    if model.norm == "layer_norm":
        raise ConfigError(
            "model.norm is 'layer_norm', but an SSDLite has batch norms; set it to 'batch_norm', "
            "'frozen_bn' or 'group_norm'."
        )
