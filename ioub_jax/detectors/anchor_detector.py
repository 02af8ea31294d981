"""Common parts of all detectors whose anchors are matched to boxes by their IoU."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from ioub_jax.anchors import AnchorLayout
from ioub_jax.assigners.ground_truth import check_levels
from ioub_jax.box_codecs import BoxCodec, DeltaCodec, DistanceCodec
from ioub_jax.detectors.anchor_objective import AnchorObjective, MatchingOptions
from ioub_jax.detectors.detector import Anchors, Canvas, DetectionOptions, Detector
from ioub_jax.errors import ConfigError
from ioub_jax.key_names import naming_fields
from ioub_jax.models.interface import Predictions
from ioub_jax.objective import (
    ClassificationOptions,
    LocalizationOptions,
    ObjectiveOptions,
    QualityOptions,
)
from ioub_jax.postprocess import Candidates

# The least side in strides of anchors whose IoU with boxes says which level suits a box.
_ATSS_SCALE = 2.0


def create(
    config: Any,
    network: nn.Module,
    levels: AnchorLayout,
    candidates: Callable[..., Candidates],
    canvas: Canvas | None = None,
    codec: BoxCodec | None = None,
) -> Detector:
    """A detector from a network and its anchors, with the losses and rules of a configuration.

    Args:
      config: the whole configuration; `matcher`, `loss`, `anchors.box_weights` and `evaluation` are
        used.
      network: as in `Detector`.
      levels: as in `Detector`.
      candidates: `postprocess.candidates` or a similar function, with its own options bound.
      canvas: as in `Detector`.
      codec: the encoding of boxes as four outputs of an anchor; None: deltas with
        `config.anchors.box_weights`.

    Raises:
      ConfigError: the losses or the rules are impossible.
    """
    codec = codec or DeltaCodec(tuple(config.anchors.box_weights))
    rules = _matching(config)
    _check_assigner(rules, levels, codec)
    if rules.name == "atss":
        # As in the authors' code: the anchors of a location are equally far from a box.
        rules = dataclasses.replace(rules, topk=rules.topk * max(levels.anchors_per_location))
    # In torchvision the stride is the width of an anchor, which the size of the grid determines.
    anchors = config.anchors
    by_width = anchors.get("stride_from_grid", False) and anchors.get("base_scale", 1) == 1
    objective = AnchorObjective(
        rules, losses_of(config.loss, codec), None if by_width else levels.strides
    )

    def find_candidates(
        predictions: Predictions,
        anchors: Anchors,
        image_sizes: jax.Array,
        *,
        score_threshold: float,
    ) -> Candidates:
        of_boxes = {}
        if "quality" in predictions.others:
            of_boxes["qualities"] = predictions.others["quality"]
        return candidates(
            predictions.logits,
            predictions.deltas,
            anchors,
            image_sizes,
            score_threshold=score_threshold,
            codec=codec,
            **of_boxes,
        )

    return Detector(
        network=network,
        levels=levels,
        objective=objective,
        candidates=find_candidates,
        options=options_of(config.evaluation),
        initial_w_loc=objective.losses.localization.initial_w_loc,
        initial_loss_state=objective.losses.localization.initial_state,
        canvas=canvas,
        in_channels=config.model.get("in_channels", 3),
    )


def options_of(evaluation: Any) -> DetectionOptions:
    """Options for selecting detections among the candidates, from `config.evaluation`."""
    sigma = evaluation.get("soft_nms_sigma")
    with naming_fields("evaluation", DetectionOptions):
        return DetectionOptions(
            evaluation.score_threshold,
            evaluation.nms_iou,
            evaluation.max_detections,
            # Runs of earlier versions lack these keys.
            evaluation.get("suppression", "nms"),
            DetectionOptions.soft_nms_sigma if sigma is None else sigma,
            evaluation.get("class_agnostic", False),
        )


def _matching(config: Any) -> MatchingOptions:
    values = dict(config.get("matcher", {}).items())
    if values.get("size_ranges") is not None:
        values["size_ranges"] = tuple(map(tuple, values["size_ranges"]))
    with naming_fields("matcher", MatchingOptions):
        return MatchingOptions(**values)


def _check_assigner(rules: MatchingOptions, levels: AnchorLayout, codec: BoxCodec) -> None:
    """Refuses an assigner that does not suit the anchors or the encoding of boxes."""
    numbers = levels.anchors_per_location
    if rules.name == "fcos" and max(numbers) > 1:
        raise ConfigError(
            f"matcher.name is 'fcos', which assigns points, but a location has {max(numbers)} "
            "anchors; set anchors.scales_per_octave=1 and anchors.ratios=(1.0,), or another "
            "matcher.name."
        )
    if rules.name == "iou" and isinstance(codec, DistanceCodec):
        raise ConfigError(
            "matcher.name is 'iou', but boxes are distances from a point inside of them, and an "
            "anchor may have its center outside of its box; set matcher.name to 'fcos', or to "
            "'atss' with anchors.base_scale=8."
        )
    if rules.name == "atss" and isinstance(codec, DistanceCodec) and codec.scale < _ATSS_SCALE:
        raise ConfigError(
            "matcher.name is 'atss', which compares boxes with anchors, but an anchor has a side "
            f"of {codec.scale:g} strides; set --config.anchors.base_scale=8, as its authors do, or "
            "matcher.name to 'fcos'."
        )
    if isinstance(codec, DistanceCodec) and max(numbers) > 1:
        raise ConfigError(
            f"Boxes are distances from a point in strides, but a location has {max(numbers)} "
            "anchors; set anchors.scales_per_octave=1 and anchors.ratios=(1.0,)."
        )
    if rules.size_ranges is not None:
        with naming_fields("matcher", MatchingOptions):
            check_levels("size_ranges", rules.size_ranges, numbers)


def losses_of(loss: Any, codec: BoxCodec) -> ObjectiveOptions:
    """The losses that `config.loss` describes, for boxes encoded by the given codec.

    Raises:
      ConfigError: the losses contradict each other; the message names the keys.
    """
    values = dict(loss.classification.items())
    # Class weights by name or by counts become numbers only when the training data is known.
    values.pop("effective_number_beta", None)
    weights = values.pop("class_weights", None)
    if weights is not None and not all(isinstance(weight, int | float) for weight in weights):
        weights = None
    with naming_fields("loss.classification", ClassificationOptions):
        classification = ClassificationOptions(
            **values, class_weights=tuple(weights) if weights else None
        )
    with naming_fields("loss.localization", LocalizationOptions):
        chosen = dict(loss.localization.items())
        if chosen.get("focaler") is not None:
            chosen["focaler"] = tuple(chosen["focaler"])
        localization = LocalizationOptions(**chosen)
    with naming_fields("loss.quality", QualityOptions):
        quality = QualityOptions(**loss.get("quality", {}))
    with naming_fields("loss", ObjectiveOptions):
        return ObjectiveOptions(
            classification=classification,
            localization=localization,
            normalizer=loss.normalizer,
            codec=codec,
            quality=quality,
            distribution_weight=loss.get("distribution_weight", 0.0),
        )
