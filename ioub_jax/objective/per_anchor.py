"""Losses and labels of every anchor, before anything is summed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax import boxes as box_ops
from ioub_jax import losses
from ioub_jax.losses import box_kinds
from ioub_jax.matching import Matches
from ioub_jax.objective.entries import (
    Sigmoids,
    coordinates,
    sigmoids_of_levels,
    split_levels,
    sum_of_entries,
)
from ioub_jax.objective.options import (
    DELTA_LOSSES,
    IOU_TARGET_LOSSES,
    ClassificationOptions,
    LocalizationOptions,
    ObjectiveOptions,
)


class PerAnchor(NamedTuple):
    """Scalars of every anchor, `[B, N]`, the levels concatenated.

    Attributes:
      labels: int32, 0..C-1, -1 background, -2 ignored.
      gt_index: int32, the slot of the matched box in its image; anything where not positive.
      ious: float32, IoU of the predicted box with its matched box; 0 where not positive.
      classification: float32, the plain loss that a weight multiplies, with a gradient. If weights
        apply to whole anchors ('softmax', ISR-P), it is the loss of the whole anchor, background
        included, 0 where ignored. Otherwise it is that of the matched class's entry, 0 where not
        positive.
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


def _localization_loss(
    deltas: jax.Array,
    decoded: jax.Array,
    anchors: jax.Array,
    targets: jax.Array,
    options: ObjectiveOptions,
    image_size: tuple[int, int] | None = None,
) -> jax.Array:
    """Plain localization loss `[B, N_l]` of every anchor, against its matched box."""
    chosen = options.localization
    if chosen.name not in DELTA_LOSSES:
        return _box_loss(decoded, targets, chosen, image_size)
    target_deltas = options.codec.encode(targets, anchors)
    formula = losses.smooth_l1_loss if chosen.name == "smooth_l1" else losses.balanced_l1_loss
    return jnp.sum(formula(deltas, target_deltas, beta=chosen.beta), axis=-1)


def _box_loss(
    decoded: jax.Array,
    targets: jax.Array,
    chosen: LocalizationOptions,
    image_size: tuple[int, int] | None,
) -> jax.Array:
    """A loss on boxes; Wise-IoU v2 and v3 without their weights, which take the whole batch."""
    if chosen.name == "nwd":
        return losses.normalized_wasserstein_distance(
            decoded, targets, constant=chosen.nwd_constant
        )
    of_kind: dict[str, Any] = {
        name: image_size if name == "image_size" else getattr(chosen, name)
        for name in box_kinds.KINDS[chosen.kind].takes
    }
    return losses.iou_loss(
        decoded,
        targets,
        kind=chosen.kind,
        power=chosen.power,
        inner=chosen.inner,
        focaler=chosen.focaler,
        **of_kind,
    )


def _classification_loss(
    sigmoids: Sigmoids, positive: jax.Array, ious: jax.Array, options: ClassificationOptions
) -> jax.Array:
    """Plain classification loss `[B, N_l]` of sigmoids, as in `PerAnchor.classification`."""
    focal_loss = functools.partial(
        losses.sigmoid_focal_loss, alpha=options.alpha, gamma=options.gamma
    )
    if options.isr_p:

        def of_whole_anchors(sigmoids: Sigmoids) -> jax.Array:
            entries = focal_loss(sigmoids.logits[..., None], sigmoids.labels)[..., 0]
            return sum_of_entries(entries, positive.shape[1])

        # Only the logits and labels of the entries are kept for the gradient.
        return jax.checkpoint(of_whole_anchors)(sigmoids)
    matched = matched_logits(sigmoids, positive.shape[1])
    # Each a detector of one class, and ignored where there is none.
    logits, labels = matched[..., None], jnp.where(positive, 0, -2)
    if options.class_weights is None or options.name == "focal":
        return focal_loss(logits, labels)[..., 0]
    if options.name not in IOU_TARGET_LOSSES:
        return focal_loss(logits, labels)[..., 0]
    # Weighted by class alone, for which it takes the very loss.
    return iou_target_loss(options)(logits, labels, ious)[..., 0]


def iou_target_loss(options: ClassificationOptions) -> Callable[..., jax.Array]:
    """The loss whose target is the IoU, of logits, labels and IoUs."""
    if options.name == "quality_focal":
        return functools.partial(losses.quality_focal_loss, beta=options.gamma)
    if options.name == "mal":
        return functools.partial(losses.matchability_aware_loss, gamma=options.gamma)
    formula = losses.varifocal_loss if options.name == "varifocal" else losses.iou_aware_bce_loss
    return functools.partial(formula, alpha=options.alpha, gamma=options.gamma)


def matched_logits(sigmoids: Sigmoids, anchors: int) -> jax.Array:
    """Logits `[B, N_l]` of the matched classes, 0 where not positive.

    A sum over a mask rather than a gather, whose gradient would be a scatter.
    """
    # A product of bfloat16 is one on a TPU, of float32 six; and half the bytes.
    logits = sum_of_entries(jnp.where(sigmoids.labels == 0, sigmoids.logits, 0.0), anchors)
    # XLA would otherwise make float32 of it first, and then lay it out as [B, N].
    return jax.lax.optimization_barrier(logits).astype(jnp.float32)


def _level_scalars(
    options: ObjectiveOptions,
    image_size: tuple[int, int] | None,
    logits: Sigmoids | jax.Array,
    deltas: jax.Array,
    anchors: jax.Array,
    labels: jax.Array,
    gt_index: jax.Array,
    targets: jax.Array,
) -> PerAnchor:
    """The per-anchor scalars of one level."""
    positive = labels >= 0
    deltas = coordinates(deltas, anchors.shape[0]).astype(jnp.float32)
    anchors = jnp.broadcast_to(anchors[None], targets.shape)
    # A target box of an anchor without one is the anchor itself: its loss is masked, and finite.
    targets = jnp.where(positive[..., None], targets, anchors)
    decoded = options.codec.decode(deltas, anchors)
    ious = box_ops.aligned_iou(jax.lax.stop_gradient(decoded), targets)
    localization = _localization_loss(deltas, decoded, anchors, targets, options, image_size)
    if isinstance(logits, Sigmoids):
        classification = _classification_loss(logits, positive, ious, options.classification)
    else:
        logits = logits.reshape(*labels.shape, -1)
        classification = losses.softmax_cross_entropy(logits, labels)
    return PerAnchor(
        labels=labels,
        gt_index=gt_index,
        ious=jnp.where(positive, ious, 0.0),
        classification=classification,
        localization=jnp.where(positive, localization, 0.0),
    )


def per_anchor_scalars(
    logits: Sequence[jax.Array],
    deltas: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    matches: Matches,
    targets: jax.Array,
    options: ObjectiveOptions,
    *,
    image_size: tuple[int, int] | None = None,
) -> PerAnchor:
    """Scalars from which the weights are computed; arguments as `detection_objective`."""
    matches = with_int32(matches)
    with_labels = labelled(logits, anchors, matches, options.classification)
    return scalars_of(with_labels, deltas, anchors, matches, targets, options, image_size)


def with_int32(matches: Matches) -> Matches:
    """Matches with int32 labels and indices; those given may be of any integer dtype."""
    return matches._replace(
        labels=box_ops.as_int32(matches.labels),
        gt_index=box_ops.as_int32(matches.gt_index, "gt_index"),
    )


#: Logits of the levels as the losses read them: sigmoids, or arrays for a softmax.
Labelled = Sequence[Sigmoids | jax.Array]


def labelled(
    logits: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    matches: Matches,
    options: ClassificationOptions,
) -> Labelled:
    """Logits, and labels beside each where they are sigmoids."""
    if options.name == "softmax":
        return logits
    return sigmoids_of_levels(logits, matches.labels, [level.shape[0] for level in anchors])


def scalars_of(
    logits: Labelled,
    deltas: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    matches: Matches,
    targets: jax.Array,
    options: ObjectiveOptions,
    image_size: tuple[int, int] | None,
) -> PerAnchor:
    """`per_anchor_scalars` of logits that have their labels."""
    sizes = [level.shape[0] for level in anchors]
    levels = [
        _level_scalars(options, image_size, *level)
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
