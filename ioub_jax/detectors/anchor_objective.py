"""The objective of a detector whose anchors are matched to boxes by their IoU."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax import boxes, matching, objective, wasserstein
from ioub_jax.detectors.detector import Anchors, Batch, Carried
from ioub_jax.models.interface import Predictions

_TREATMENTS = ("ignore", "drop", "keep")


@dataclasses.dataclass(frozen=True)
class MatchingOptions:
    """Which anchors learn which boxes.

    Attributes:
      foreground_iou: as `matching.match`, as are the next three.
      background_iou: see there.
      low_quality: see there.
      ignore_iof: see there.
      crowd: what crowds are: 'ignore', the anchors inside get no loss; 'drop', nothing; 'keep', an
        object.
      difficult: what difficult objects are, likewise.
      similarity: as `matching.match`, as is the next.
      nwd_constant: see there.

    Raises:
      ValueError: a value is none of these, or out of its range.
    """

    foreground_iou: float = 0.5
    background_iou: float = 0.4
    low_quality: matching.LowQuality = "authors"
    ignore_iof: float = 0.5
    crowd: str = "ignore"
    difficult: str = "keep"
    similarity: str = "iou"
    nwd_constant: float = wasserstein.CONSTANT

    def __post_init__(self) -> None:
        """Refuses what no rule knows."""
        matching.check_options(
            self.foreground_iou, self.background_iou, self.low_quality, self.ignore_iof
        )
        matching.check_similarity(self.similarity, self.nwd_constant)
        for name in ("crowd", "difficult"):
            treatment = getattr(self, name)
            if treatment not in _TREATMENTS:
                raise ValueError(f"{name} is {treatment!r}; it must be 'ignore', 'drop' or 'keep'.")


class Inspection(NamedTuple):
    """What the objective sees of every anchor of a batch, all levels concatenated.

    Attributes:
      boxes: `[B, N, 4]` predicted boxes, in pixels of the network's input.
      ious: `[B, N]` IoU of the predicted box with its matched box; 0 where not positive.
      positive: `[B, N]` bool.
      weights: `[B, N]` IoU-balanced classification weights; 1 where not positive.
    """

    boxes: jax.Array
    ious: jax.Array
    positive: jax.Array
    weights: jax.Array


@dataclasses.dataclass(frozen=True)
class AnchorObjective:
    """The losses of all anchors against the boxes they are matched to (`objective`).

    Attributes:
      rules: which anchors learn which boxes.
      losses: which losses, weights and normalisers.
    """

    rules: MatchingOptions
    losses: objective.ObjectiveOptions

    def __call__(
        self, predictions: Predictions, batch: Batch, anchors: Anchors, carried: Carried
    ) -> objective.Objective:
        """The objective of a batch, as `Detector.objective`."""
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
        )

    def match(self, batch: Batch, anchors: Anchors) -> tuple[matching.Matches, jax.Array]:
        """Matches a batch's ground truth to all anchors.

        Args:
          batch: `boxes` `[B, M, 4]`, `labels`, `valid`, `crowd`, `difficult` and `ignored`
            `[B, M]`.
          anchors: one `[N_l, 4]` a level.

        Returns:
          The matches, and the matched boxes `[B, N, 4]`.
        """
        valid, ignored = self._roles(batch)
        matches = matching.match(
            jnp.concatenate(anchors),
            batch["boxes"],
            batch["labels"],
            valid,
            ignored,
            foreground_iou=self.rules.foreground_iou,
            background_iou=self.rules.background_iou,
            low_quality=self.rules.low_quality,
            ignore_iof=self.rules.ignore_iof,
            similarity=self.rules.similarity,
            nwd_constant=self.rules.nwd_constant,
        )
        return matches, matching.gather_boxes(batch["boxes"], matches.gt_index)

    def _roles(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Which ground-truth slots are matched, and which only ignore the anchors inside them."""
        ignored, valid = batch["ignored"], batch["valid"]
        for flag in ("crowd", "difficult"):
            treatment = getattr(self.rules, flag)
            if treatment == "ignore":
                ignored = ignored | batch[flag]
            elif treatment == "drop":
                valid = valid & ~batch[flag]
        return valid, ignored

    def _image_size(self, batch: Batch) -> tuple[int, int] | None:
        """Height and width of the canvas, for the loss that needs them."""
        if self.losses.localization.name != "mpdiou":
            return None
        _, height, width, _ = batch["image"].shape
        return height, width

    def inspect(self, predictions: Predictions, batch: Batch, anchors: Anchors) -> Inspection:
        """What the losses weigh, for pictures; the predictions are `per_anchor`."""
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
        weights = self.losses.box_weights
        return Inspection(
            boxes=boxes.decode(deltas, jnp.concatenate(anchors)[None], weights=weights),
            ious=scalars.ious,
            positive=scalars.positive,
            weights=objective.classification_weights(scalars, sizes, self.losses.classification),
        )
