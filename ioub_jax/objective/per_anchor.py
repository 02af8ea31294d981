"""What the objective computes of every anchor before anything is summed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax import boxes as box_ops
from ioub_jax import losses
from ioub_jax.matching import Matches
from ioub_jax.objective.options import DELTA_LOSSES, ClassificationOptions, ObjectiveOptions


class PerAnchor(NamedTuple):
    """Scalars of every anchor, `[B, N]`, the levels concatenated.

    Attributes:
      labels: int32, 0..C-1, -1 background, -2 ignored.
      gt_index: int32, the slot of the matched box in its image; anything where not positive.
      ious: float32, IoU of the predicted box with its matched box; 0 where not positive.
      classification: float32, the plain loss that a weight multiplies. Where weights are of whole
        anchors ('softmax', ISR-P): the loss of the whole anchor, background too, 0 where ignored,
        with a gradient. Else that of the matched class's entry, 0 where not positive, without.
      localization: float32, plain loss summed over the box, with a gradient; 0 where not positive.
    """

    labels: jax.Array
    gt_index: jax.Array
    ious: jax.Array
    classification: jax.Array
    localization: jax.Array

    @property
    def positive(self) -> jax.Array:
        """`[B, N]` bool."""
        return self.labels >= 0


def split_levels(values: jax.Array, sizes: list[int]) -> list[jax.Array]:
    """Cuts `[B, N, ...]` into the levels' `[B, N_l, ...]`."""
    edges = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return jnp.split(values, edges, axis=1)


def _localization_loss(
    deltas: jax.Array,
    decoded: jax.Array,
    anchors: jax.Array,
    targets: jax.Array,
    options: ObjectiveOptions,
) -> jax.Array:
    """Plain localization loss `[B, N_l]` of every anchor, against its matched box."""
    chosen = options.localization
    if chosen.name not in DELTA_LOSSES:
        return losses.iou_loss(decoded, targets, kind=chosen.name, power=chosen.power)
    target_deltas = box_ops.encode(targets, anchors, weights=options.box_weights)
    formula = losses.smooth_l1_loss if chosen.name == "smooth_l1" else losses.balanced_l1_loss
    return jnp.sum(formula(deltas, target_deltas, beta=chosen.beta), axis=-1)


def _classification_loss(
    logits: jax.Array, labels: jax.Array, options: ClassificationOptions
) -> jax.Array:
    """Plain classification loss `[B, N_l]`: what `PerAnchor.classification` says."""
    if options.name == "softmax":
        return losses.softmax_cross_entropy(logits, labels)
    if options.isr_p:
        entries = losses.sigmoid_focal_loss(
            logits, labels, alpha=options.alpha, gamma=options.gamma
        )
        return jnp.sum(entries, axis=-1)
    return losses.sigmoid_focal_loss_of_matched_class(
        logits, labels, alpha=options.alpha, gamma=options.gamma
    )


def _level_scalars(
    options: ObjectiveOptions,
    logits: jax.Array,
    deltas: jax.Array,
    anchors: jax.Array,
    labels: jax.Array,
    gt_index: jax.Array,
    targets: jax.Array,
) -> PerAnchor:
    """The per-anchor scalars of one level."""
    positive = labels >= 0
    deltas = deltas.astype(jnp.float32)
    anchors = jnp.broadcast_to(anchors[None], targets.shape)
    # A target box of an anchor without one is the anchor itself: its loss is masked, and finite.
    targets = jnp.where(positive[..., None], targets, anchors)
    decoded = box_ops.decode(deltas, anchors, weights=options.box_weights)
    ious = box_ops.aligned_iou(jax.lax.stop_gradient(decoded), targets)
    localization = _localization_loss(deltas, decoded, anchors, targets, options)
    return PerAnchor(
        labels=labels,
        gt_index=gt_index,
        ious=jnp.where(positive, ious, 0.0),
        classification=_classification_loss(logits, labels, options.classification),
        localization=jnp.where(positive, localization, 0.0),
    )


def per_anchor_scalars(
    logits: tuple[jax.Array, ...],
    deltas: tuple[jax.Array, ...],
    anchors: tuple[jax.Array, ...],
    matches: Matches,
    targets: jax.Array,
    options: ObjectiveOptions,
) -> PerAnchor:
    """What the weights are made of; arguments as `detection_objective`."""
    sizes = [level.shape[0] for level in anchors]
    levels = [
        _level_scalars(options, *level)
        for level in zip(
            logits,
            deltas,
            anchors,
            split_levels(matches.labels, sizes),
            split_levels(matches.gt_index, sizes),
            split_levels(targets, sizes),
            strict=True,
        )
    ]
    return PerAnchor(*(jnp.concatenate(values, axis=1) for values in zip(*levels, strict=True)))
