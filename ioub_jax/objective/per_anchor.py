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
    """Scalars of every anchor, `[B, N]`, with the levels concatenated.

    Attributes:
      labels: int32: 0..C-1 for a class, -1 for background, -2 for ignored.
      gt_index: int32, the slot of the matched box in its image; any value where not positive.
      ious: float32, the IoU of the predicted box with its matched box; 0 where not positive.
      classification: float32, the plain loss that a weight multiplies, with a gradient. If weights
        apply to whole anchors ('softmax', ISR-P), it is the loss of the whole anchor, also for
        background; 0 where ignored. Otherwise, it is the loss of the matched class's entry; 0 where
        not positive.
      localization: float32, the plain loss summed over the box, with a gradient; 0 where not
        positive.
    """

    labels: jax.Array
    gt_index: jax.Array
    ious: jax.Array
    classification: jax.Array
    localization: jax.Array

    @property
    def positive(self) -> jax.Array:
        """True for positives, `[B, N]` bool."""
        return self.labels >= 0


def _localization_loss(
    deltas: jax.Array,
    decoded: jax.Array,
    anchors: jax.Array,
    targets: jax.Array,
    options: ObjectiveOptions,
    image_size: tuple[int, int] | None = None,
) -> jax.Array:
    """Returns the plain localization loss `[B, N_l]` of every anchor and its matched box."""
    chosen = options.localization
    if chosen.name not in DELTA_LOSSES:
        return _box_loss(decoded, targets, chosen, image_size)
    target_deltas = options.codec.encode(targets, anchors)
    formula = losses.smooth_l1_loss if chosen.name == "smooth_l1" else losses.balanced_l1_loss
    return jnp.sum(formula(deltas, target_deltas, beta=chosen.linear_from), axis=-1)


def _box_loss(
    decoded: jax.Array,
    targets: jax.Array,
    chosen: LocalizationOptions,
    image_size: tuple[int, int] | None,
) -> jax.Array:
    """Returns a loss on boxes, without the weights of Wise-IoU v2 and v3, which need the batch."""
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
    """Returns the plain classification loss of sigmoids, `[B, N_l]`, as in `PerAnchor`."""
    of_focal = options.hyper_parameters if options.name == "focal" else {}
    focal_loss: Callable[..., jax.Array] = functools.partial(losses.sigmoid_focal_loss, **of_focal)
    if options.isr_p:

        def of_whole_anchors(sigmoids: Sigmoids) -> jax.Array:
            entries = focal_loss(sigmoids.logits[..., None], sigmoids.labels)[..., 0]
            return sum_of_entries(entries, positive.shape[1])

        # Only the logits and labels of the entries are kept for the gradient.
        return jax.checkpoint(of_whole_anchors)(sigmoids)
    matched = matched_logits(sigmoids, positive.shape[1])
    # Each entry detects one class; anchors without a matched class are ignored.
    logits, labels = matched[..., None], jnp.where(positive, 0, -2)
    if options.class_weights is None or options.name not in IOU_TARGET_LOSSES:
        return focal_loss(logits, labels)[..., 0]
    # There are only class weights, which multiply the loss of the entry itself.
    return iou_target_loss(options)(logits, labels, ious)[..., 0]


def iou_target_loss(options: ClassificationOptions) -> Callable[..., jax.Array]:
    """The loss whose target is the IoU, as a function of logits, labels and IoUs."""
    numbers = options.hyper_parameters
    if options.name == "quality_focal":  # its authors call the exponent beta
        exponent = {"beta": numbers["gamma"]} if numbers else {}
        return functools.partial(losses.quality_focal_loss, **exponent)
    formulas: dict[str, Callable[..., jax.Array]] = {
        "varifocal": losses.varifocal_loss,
        "mal": losses.matchability_aware_loss,
        "ia_bce": losses.iou_aware_bce_loss,
    }
    return functools.partial(formulas[options.name], **numbers)


def matched_logits(sigmoids: Sigmoids, anchors: int) -> jax.Array:
    """Logits `[B, N_l]` of the matched classes; 0 where not positive.

    They are computed by a masked sum, since the gradient of a gather would be a scatter.
    """
    # In bfloat16, this is one product on a TPU instead of the six of float32, with half the bytes.
    logits = sum_of_entries(jnp.where(sigmoids.labels == 0, sigmoids.logits, 0.0), anchors)
    # Otherwise, XLA would convert to float32 first and then change the layout to [B, N].
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
    """Returns the per-anchor scalars of one level."""
    positive = labels >= 0
    deltas = coordinates(deltas, anchors.shape[0]).astype(jnp.float32)
    anchors = jnp.broadcast_to(anchors[None], targets.shape)
    # The target of an anchor without a box is the anchor itself, so that its masked loss is finite.
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
    """Scalars from which the weights are computed; arguments as in `detection_objective`."""
    matches = with_int32(matches)
    with_labels = labeled(logits, anchors, matches, options.classification)
    return scalars_of(with_labels, deltas, anchors, matches, targets, options, image_size)


def with_int32(matches: Matches) -> Matches:
    """Matches with int32 labels and indices, from any integer dtype."""
    return matches._replace(
        labels=box_ops.as_int32(matches.labels),
        gt_index=box_ops.as_int32(matches.gt_index, "gt_index"),
    )


#: The logits of the levels in the form of the losses: `Sigmoids`, or arrays for a softmax.
Labeled = Sequence[Sigmoids | jax.Array]


def labeled(
    logits: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    matches: Matches,
    options: ClassificationOptions,
) -> Labeled:
    """The logits, together with their labels if they are sigmoids."""
    if options.name == "softmax":
        return logits
    return sigmoids_of_levels(logits, matches.labels, [level.shape[0] for level in anchors])


def scalars_of(
    logits: Labeled,
    deltas: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    matches: Matches,
    targets: jax.Array,
    options: ObjectiveOptions,
    image_size: tuple[int, int] | None,
) -> PerAnchor:
    """As `per_anchor_scalars`, for logits that already have their labels."""
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
