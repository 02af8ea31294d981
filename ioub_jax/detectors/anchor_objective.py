"""The objective of a detector whose anchors are matched to boxes by their IoU."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax import assigners, matching, objective, wasserstein
from ioub_jax.detectors.detector import Anchors, Batch, Carried
from ioub_jax.losses import box_kinds
from ioub_jax.models.interface import Predictions

_TREATMENTS = ("ignore", "drop", "keep")
#: The names of the assigners, by which anchors find their boxes.
ASSIGNERS = ("iou", "atss", "fcos")

#: Option -> the only assigner that uses it.
_OF_ASSIGNER = {
    "topk": "atss",
    "center_radius": "fcos",
    "size_ranges": "fcos",
    "center_rule": "fcos",
    "foreground_iou": "iou",
    "background_iou": "iou",
    "low_quality": "iou",
    "similarity": "iou",
    "nwd_constant": "iou",
}


@dataclasses.dataclass(frozen=True)
class MatchingOptions:
    """Options for the assignment of anchors to boxes.

    Attributes:
      name: 'iou' for `matching.match`, 'atss' for `assigners.atss`, 'fcos' for `assigners.fcos`.
      topk: `topk` of 'atss'.
      center_radius: `center_radius` of 'fcos'.
      size_ranges: `size_ranges` of 'fcos'.
      center_rule: `rule` of 'fcos'.
      foreground_iou: as in `matching.match`.
      background_iou: as in `matching.match`.
      low_quality: as in `matching.match`.
      ignore_iof: as in `matching.match`, for all assigners.
      crowd: the treatment of crowds: 'ignore', anchors inside have no loss; 'drop', crowds are left
        out; 'keep', crowds are objects.
      difficult: the treatment of difficult objects, likewise.
      similarity: as in `matching.match`.
      nwd_constant: as in `matching.match`.

    Raises:
      ValueError: a value is unknown or out of its range.
    """

    name: str = "iou"
    topk: int = 9
    center_radius: float | None = 1.5
    size_ranges: tuple[tuple[float, float], ...] | None = None
    center_rule: assigners.FcosRule = "authors"
    foreground_iou: float = 0.5
    background_iou: float = 0.4
    low_quality: matching.LowQuality = "authors"
    ignore_iof: float = 0.5
    crowd: str = "ignore"
    difficult: str = "keep"
    similarity: str = "iou"
    nwd_constant: float = wasserstein.CONSTANT

    def __post_init__(self) -> None:
        """Refuses values that the assigners do not accept."""
        matching.check_options(
            self.foreground_iou, self.background_iou, self.low_quality, self.ignore_iof
        )
        matching.check_similarity(self.similarity, self.nwd_constant)
        if self.name not in ASSIGNERS:
            raise ValueError(f"name is {self.name!r}; it must be one of {', '.join(ASSIGNERS)}.")
        for option, name in _OF_ASSIGNER.items():
            value = getattr(self, option)
            default = type(self).__dataclass_fields__[option].default
            if name != self.name and value != default:
                raise ValueError(
                    f"{option} is {value!r}, but name is {self.name!r}, which has none; set "
                    f"{option} to {default!r}, or name to {name!r}."
                )
        if self.similarity == "iou" and self.nwd_constant != wasserstein.CONSTANT:
            raise ValueError(
                f"nwd_constant is {self.nwd_constant}, but similarity is 'iou', which has none; "
                f"set nwd_constant to {wasserstein.CONSTANT}, or similarity to 'nwd'."
            )
        for name in ("crowd", "difficult"):
            treatment = getattr(self, name)
            if treatment not in _TREATMENTS:
                raise ValueError(f"{name} is {treatment!r}; it must be 'ignore', 'drop' or 'keep'.")


class Inspection(NamedTuple):
    """Inputs of the objective for every anchor of a batch, with all levels concatenated.

    Attributes:
      boxes: `[B, N, 4]`, the predicted boxes, in pixels of the network's input.
      ious: `[B, N]`, the IoU of the predicted box with its matched box; 0 where not positive.
      positive: `[B, N]` bool.
      weights: `[B, N]`, the IoU-balanced classification weights; 1 where not positive.
    """

    boxes: jax.Array
    ious: jax.Array
    positive: jax.Array
    weights: jax.Array


@dataclasses.dataclass(frozen=True)
class AnchorObjective:
    """The losses of all anchors with respect to their matched boxes (`objective`).

    Attributes:
      rules: the options for the assignment of anchors to boxes.
      losses: the choice of losses, weights and normalizers.
      strides: the stride of every level in pixels, for 'fcos'; None: the widths of the anchors, as
        in torchvision.
    """

    rules: MatchingOptions
    losses: objective.ObjectiveOptions
    strides: tuple[float, ...] | None = None

    def __call__(
        self, predictions: Predictions, batch: Batch, anchors: Anchors, carried: Carried
    ) -> objective.Objective:
        """The objective of a batch, as in `Detector.objective`."""
        matches, targets = self.match(batch, anchors)
        return objective.detection_objective(
            predictions.logits,
            predictions.deltas,
            anchors,
            matches,
            targets,
            w_loc=carried.w_loc,
            moving_average=carried.moving_average,
            options=self.losses,
            loss_state=carried.loss_state,
            image_size=self._image_size(batch),
            others=predictions.others,
        )

    def match(self, batch: Batch, anchors: Anchors) -> tuple[matching.Matches, jax.Array]:
        """Matches a batch's ground truth to all anchors.

        Args:
          batch: `boxes` `[B, M, 4]`, `labels`, `valid`, `crowd`, `difficult` and `ignored`
            `[B, M]`.
          anchors: one `[N_l, 4]` for each level.

        Returns:
          The matches, and the matched boxes `[B, N, 4]`.
        """
        matches = self._matches(batch, anchors)
        return matches, matching.gather_boxes(batch["boxes"], matches.gt_index)

    def _matches(self, batch: Batch, anchors: Anchors) -> matching.Matches:
        valid, ignored = self._roles(batch)
        ground_truth = batch["boxes"], batch["labels"], valid, ignored
        if self.rules.name == "atss":
            return assigners.atss(
                anchors, *ground_truth, topk=self.rules.topk, ignore_iof=self.rules.ignore_iof
            )
        if self.rules.name == "fcos":
            return assigners.fcos(
                anchors,
                *ground_truth,
                center_radius=self.rules.center_radius,
                size_ranges=self.rules.size_ranges,
                strides=self.strides,
                rule=self.rules.center_rule,
                ignore_iof=self.rules.ignore_iof,
            )
        return matching.match(
            jnp.concatenate(anchors),
            *ground_truth,
            foreground_iou=self.rules.foreground_iou,
            background_iou=self.rules.background_iou,
            low_quality=self.rules.low_quality,
            ignore_iof=self.rules.ignore_iof,
            similarity=self.rules.similarity,
            nwd_constant=self.rules.nwd_constant,
        )

    def _roles(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Returns which ground-truth slots are matched, and which only make anchors ignored."""
        ignored, valid = batch["ignored"], batch["valid"]
        for flag in ("crowd", "difficult"):
            treatment = getattr(self.rules, flag)
            if treatment == "ignore":
                ignored = ignored | batch[flag]
            elif treatment == "drop":
                valid = valid & ~batch[flag]
        return valid, ignored

    def _image_size(self, batch: Batch) -> tuple[int, int] | None:
        """Returns height and width of the canvas if the loss needs them, else None."""
        kind = box_kinds.KINDS.get(self.losses.localization.kind)
        if kind is None or "image_size" not in kind.takes:
            return None
        _, height, width, _ = batch["image"].shape
        return height, width

    def inspect(self, predictions: Predictions, batch: Batch, anchors: Anchors) -> Inspection:
        """The quantities in the losses, for pictures; the predictions are `per_anchor`."""
        matches, targets = self.match(batch, anchors)
        scalars = objective.per_anchor_scalars(
            predictions.logits,
            predictions.deltas,
            anchors,
            matches,
            targets,
            self.losses,
            image_size=self._image_size(batch),
        )
        sizes = [level.shape[0] for level in anchors]
        deltas = jnp.concatenate(predictions.deltas, axis=1)
        return Inspection(
            boxes=self.losses.codec.decode(deltas, jnp.concatenate(anchors)[None]),
            ious=scalars.ious,
            positive=scalars.positive,
            weights=objective.classification_weights(scalars, sizes, self.losses.classification),
        )
