"""RetinaNet (arXiv 1708.02002) as a configuration describes it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ioub_jax import models, postprocess
from ioub_jax.anchors import RetinaNetAnchors
from ioub_jax.detectors import anchor_detector
from ioub_jax.detectors.detector import Detector
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import below, naming, naming_fields
from ioub_jax.models import fpn, retinanet_network
from ioub_jax.models.interface import for_channels


def create(config: Any, num_classes: int) -> Detector:
    """The RetinaNet of a configuration.

    Args:
      config: the whole configuration; `model`, `anchors`, `matcher`, `loss` and `evaluation` are
        used.
      num_classes: C.

    Raises:
      ConfigError: there is none like that.
    """
    if config.loss.classification.name == "softmax":
        raise ConfigError(
            "loss.classification.name is 'softmax', which is the loss of an SSD, whose logits have "
            "a column for the background; for a RetinaNet it must be another one."
        )
    with naming_fields("anchors", RetinaNetAnchors):
        levels = RetinaNetAnchors(
            **{key: value for key, value in config.anchors.items() if key != "box_weights"}
        )
    candidates = functools.partial(
        postprocess.candidates, candidates_per_level=config.evaluation.candidates_per_level
    )
    network = create_network(config.model, num_classes, levels.anchors_per_location)
    return anchor_detector.create(config, network, levels, candidates)


def create_network(
    model: Any, num_classes: int, anchors_per_location: Sequence[int]
) -> retinanet_network.RetinaNet:
    """The network of `config.model`; of the anchors only how many share a location is needed."""
    dtype = jnp.dtype(model.dtype)
    channels = model.get("in_channels", 3)  # which the runs of earlier versions lack

    def head(outputs: int, bias: float) -> retinanet_network.Head:
        return retinanet_network.Head(
            outputs=outputs,
            anchors=anchors_per_location[0],
            width=model.head.width,
            depth=model.head.depth,
            norm=model.head.norm,
            bias_before_norm=model.head.bias_before_norm,
            bias=bias,
            dtype=dtype,
        )

    with naming(below("model", ("backbone", "width", "norm"))):
        backbone = models.create_backbone(
            model.backbone,
            width=model.width,
            norm=model.norm,
            norm_epsilon=model.norm_epsilon,
            frozen_stages=model.frozen_stages,
            dtype=dtype,
        )
    return retinanet_network.RetinaNet(
        backbone=backbone,
        pyramid=fpn.FeaturePyramid(
            channels=model.fpn.channels,
            p6_from=model.fpn.p6_from,
            relu_before_p7=model.fpn.relu_before_p7,
            norm=model.fpn.norm,
            top_down=model.fpn.get("top_down", True),  # which runs of earlier versions lack
            dtype=dtype,
        ),
        classification_head=head(
            num_classes, retinanet_network.prior_probability_bias(model.head.prior_probability)
        ),
        localization_head=head(4, 0.0),
        pixel_mean=for_channels(model.pixel_mean, channels),
        pixel_std=for_channels(model.pixel_std, channels),
        dtype=dtype,
    )
