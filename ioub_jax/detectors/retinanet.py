"""RetinaNet (arXiv 1708.02002) from a configuration."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ioub_jax.detectors import anchor_detector, dense_detector
from ioub_jax.detectors.detector import Detector
from ioub_jax.models import retinanet_network


def create(config: Any, num_classes: int) -> Detector:
    """The RetinaNet of a configuration.

    Args:
      config: the whole configuration; `model`, `anchors`, `matcher`, `loss` and `evaluation` are
        used.
      num_classes: C.

    Raises:
      ConfigError: there is no such detector.
    """
    dense_detector.check_sigmoids(config)
    has_others = "level_scales" in config.model.head
    dense_detector.check_keys(config, "box_weights" in config.anchors and not has_others)
    levels = dense_detector.anchors_of(config)
    network = create_network(config.model, num_classes, levels.anchors_per_location)
    candidates = dense_detector.candidates_of(config)
    return anchor_detector.create(config, network, levels, candidates)


def create_network(
    model: Any, num_classes: int, anchors_per_location: Sequence[int]
) -> retinanet_network.RetinaNet:
    """The network of `config.model`; it needs only the number of anchors per location."""
    return retinanet_network.RetinaNet(
        **dense_detector.trunk_of(model),
        classification_head=dense_detector.head_of(
            model,
            num_classes,
            anchors_per_location[0],
            bias=retinanet_network.prior_probability_bias(model.head.prior_probability),
        ),
        localization_head=dense_detector.head_of(model, 4, anchors_per_location[0]),
        dtype=jnp.dtype(model.dtype),
    )
