"""SSD300 and SSD512 (arXiv 1512.02325) from a configuration."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ioub_jax import postprocess
from ioub_jax.anchors import SSDAnchors
from ioub_jax.detectors import anchor_detector
from ioub_jax.detectors.detector import Detector
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import naming_fields
from ioub_jax.models import ssd_network, vgg
from ioub_jax.models.interface import for_channels


def create(config: Any, num_classes: int) -> Detector:
    """The SSD of a configuration; arguments and errors as in `retinanet.create`."""
    return of_network(config, num_classes, create_network)


def of_network(
    config: Any, num_classes: int, create_network: Callable[[Any, int, Sequence[int]], nn.Module]
) -> Detector:
    """A detector from a network, with the boxes, the losses and the candidates of an SSD.

    Args:
      config: the whole configuration.
      num_classes: C.
      create_network: maps (`config.model`, C, the number of anchors per location for every level)
        to a network with a head for each level, whose logits begin with that of the background.

    Raises:
      ConfigError: there is no such detector.
    """
    _check_canvases(config)
    name = config.loss.classification.name
    if name != "softmax":
        raise ConfigError(
            f"loss.classification.name is {name!r}, but the logits of an SSD have a column for the "
            "background; it must be 'softmax'."
        )
    with naming_fields("anchors", SSDAnchors):
        levels = SSDAnchors(
            **{key: value for key, value in config.anchors.items() if key != "box_weights"}
        )
    candidates = functools.partial(
        postprocess.candidates_softmax, candidates_per_class=config.evaluation.candidates_per_class
    )
    network = create_network(config.model, num_classes, levels.anchors_per_location)
    size = config.model.input_size
    return anchor_detector.create(config, network, levels, candidates, canvas=(size, size))


def _check_canvases(config: Any) -> None:
    """Refuses images of another size than the input size of the SSD."""
    if "input_size" not in config.model:
        raise ConfigError(
            f"model.name is {config.model.name!r}, but the configuration has the keys of a "
            f"RetinaNet; start from ioub_jax/configs/{config.model.name}_defaults.py."
        )
    size, tiles = config.model.input_size, config.data.get("tiles", {})
    if tiles.get("size") is not None:
        side = round(tiles["size"] * tiles.get("zoom", 1.0))
        if side != size:
            raise ConfigError(
                f"model.input_size is {size}, but data.tiles makes inputs of {side} pixels; set "
                f"--config.data.tiles.size={size} and --config.data.tiles.zoom=1, or another size "
                "with a matching zoom."
            )
        return
    canvases = tuple(map(tuple, config.data.canvases))
    if canvases != ((size, size),) or config.data.resize.mode != "stretch":
        raise ConfigError(
            f"model.input_size is {size}, but data.canvases is {canvases} and data.resize.mode "
            f"{config.data.resize.mode!r}; an SSD sees every image stretched to one size, so they "
            f"must be (({size}, {size}),) and 'stretch'."
        )


def check_levels(model: Any, levels: int, anchors_per_location: Sequence[int]) -> None:
    """Refuses anchors with another number of levels than the network has."""
    if len(anchors_per_location) != levels:
        raise ConfigError(
            f"An SSD of model.input_size {model.input_size} has {levels} levels, but anchors are "
            f"given for {len(anchors_per_location)}; give config.anchors one stride for each."
        )


def create_network(
    model: Any, num_classes: int, anchors_per_location: Sequence[int]
) -> ssd_network.SSD:
    """The network of `config.model`; the background's logit comes first."""
    if model.backbone != "vgg16":
        raise ConfigError(f"model.backbone is {model.backbone!r}; that of an SSD must be 'vgg16'.")
    if model.input_size not in ssd_network.EXTRA_BLOCKS:
        raise ConfigError(
            f"model.input_size is {model.input_size}; it must be one of "
            f"{', '.join(map(str, ssd_network.EXTRA_BLOCKS))}."
        )
    check_levels(model, 2 + len(ssd_network.EXTRA_BLOCKS[model.input_size]), anchors_per_location)
    dtype = jnp.dtype(model.dtype)
    channels = model.get("in_channels", 3)  # runs of earlier versions lack it
    # Published weights for SSD have VGG16's own width, which a configuration may leave out.
    width = model.get("width", 64)
    return ssd_network.SSD(
        backbone=vgg.VGG16(width=width, frozen_stages=model.frozen_stages, dtype=dtype),
        l2_norm=ssd_network.ChannelNorm(dtype=dtype),
        extra_layers=ssd_network.ExtraLayers(input_size=model.input_size, width=width, dtype=dtype),
        classification_heads=tuple(
            ssd_network.head_convolution(anchors * (num_classes + 1), dtype)
            for anchors in anchors_per_location
        ),
        localization_heads=tuple(
            ssd_network.head_convolution(anchors * 4, dtype) for anchors in anchors_per_location
        ),
        pixel_mean=for_channels(model.pixel_mean, channels),
        pixel_std=for_channels(model.pixel_std, channels),
        dtype=dtype,
    )
