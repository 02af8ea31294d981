"""Common parts of RetinaNet and its successors, each of which has its own file.

`create` builds detectors whose heads have more outputs than logits and deltas. A family is defined
by the form of its boxes and by its defaults in `configs.keys`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ioub_jax import models, postprocess
from ioub_jax.anchors import RetinaNetAnchors
from ioub_jax.box_codecs import BoxCodec
from ioub_jax.detectors import anchor_detector
from ioub_jax.detectors.detector import Detector
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import below, naming, naming_fields
from ioub_jax.models import dense_network, fpn, retinanet_network
from ioub_jax.models.interface import for_channels
from ioub_jax.postprocess import Candidates


def create(
    config: Any,
    num_classes: int,
    *,
    box_form: str,
    codec: BoxCodec | None = None,
    bins: int = 1,
) -> Detector:
    """The detector of a configuration whose network is a `DenseNetwork`.

    Args:
      config: the whole configuration.
      num_classes: C.
      box_form: as in `DenseNetwork`.
      codec: the encoding of boxes; None: deltas with `config.anchors.box_weights`.
      bins: the number of bins for each side, if boxes are distributions.

    Raises:
      ConfigError: there is no such detector.
    """
    check_sigmoids(config)
    has_weights = "box_weights" in config.anchors
    check_keys(config, "level_scales" in config.model.head and has_weights == (codec is None))
    levels = anchors_of(config)
    (anchors, *_) = levels.anchors_per_location
    model = config.model
    has_quality = config.loss.get("quality", {}).get("target", "none") != "none"
    network = dense_network.DenseNetwork(
        **trunk_of(model),
        classification_head=head_of(
            model,
            num_classes,
            anchors,
            bias=retinanet_network.prior_probability_bias(model.head.prior_probability),
        ),
        localization_head=head_of(model, 4 * bins, anchors, quality=has_quality),
        box_form=box_form,
        level_scales=model.head.level_scales,
        dtype=jnp.dtype(model.dtype),
    )
    return anchor_detector.create(config, network, levels, candidates_of(config), codec=codec)


def check_keys(config: Any, has_keys: bool) -> None:
    """Refuses a configuration with the keys of another family, whose name was set alone."""
    if not has_keys:
        name = config.model.name
        raise ConfigError(
            f"model.name is {name!r}, but the configuration has the keys of another detector; "
            f"start from a recipe of this one, or from ioub_jax.configs.defaults.of_family({name!r}"
            ", ARM)."
        )


def check_sigmoids(config: Any) -> None:
    """Refuses softmax, the only classification loss that is not a loss of sigmoids."""
    if config.loss.classification.name == "softmax":
        raise ConfigError(
            "loss.classification.name is 'softmax', which is the loss of an SSD, whose logits have "
            "a column for the background; choose another one for this detector."
        )


def anchors_of(config: Any) -> RetinaNetAnchors:
    """The anchors that `config.anchors` describes."""
    with naming_fields("anchors", RetinaNetAnchors):
        return RetinaNetAnchors(
            **{key: value for key, value in config.anchors.items() if key != "box_weights"}
        )


def candidates_of(config: Any) -> Callable[..., Candidates]:
    """The function for NMS candidates, with the options of `config.evaluation`."""
    evaluation: Any = config.evaluation
    options: dict[str, Any] = {}
    if "score_exponents" in evaluation:
        options["score_exponents"] = tuple(evaluation.score_exponents)
    return functools.partial(
        postprocess.candidates, candidates_per_level=evaluation.candidates_per_level, **options
    )


def trunk_of(model: Any) -> dict[str, Any]:
    """Backbone, pyramid and pixel statistics, by the names of a network's arguments."""
    dtype = jnp.dtype(model.dtype)
    channels = model.get("in_channels", 3)  # runs of earlier versions lack it
    with naming(below("model", ("backbone", "width", "norm"))):
        backbone = models.create_backbone(
            model.backbone,
            width=model.width,
            norm=model.norm,
            norm_epsilon=model.norm_epsilon,
            norm_momentum=model.get("norm_momentum", 0.9),  # earlier runs lack it
            frozen_stages=model.frozen_stages,
            dtype=dtype,
        )
    pyramid = fpn.FeaturePyramid(
        channels=model.fpn.channels,
        p6_from=model.fpn.p6_from,
        relu_before_p7=model.fpn.relu_before_p7,
        norm=model.fpn.norm,
        top_down=model.fpn.get("top_down", True),  # runs of earlier versions lack it
        dtype=dtype,
    )
    return {
        "backbone": backbone,
        "pyramid": pyramid,
        "pixel_mean": for_channels(model.pixel_mean, channels),
        "pixel_std": for_channels(model.pixel_std, channels),
    }


def head_of(
    model: Any, outputs: int, anchors: int, *, bias: float = 0.0, quality: bool = False
) -> retinanet_network.Head:
    """A head of `config.model` with `outputs` for each of the `anchors` of a location."""
    return retinanet_network.Head(
        outputs=outputs,
        anchors=anchors,
        width=model.head.width,
        depth=model.head.depth,
        norm=model.head.norm,
        bias_before_norm=model.head.bias_before_norm,
        bias=bias,
        quality=quality,
        dtype=jnp.dtype(model.dtype),
    )
