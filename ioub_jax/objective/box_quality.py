"""Losses for further outputs of a head: the quality and the distribution of its boxes."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.box_codecs import centreness
from ioub_jax.losses.sigmoids import softplus_of_both_signs
from ioub_jax.objective.entries import Sigmoids, split_levels, sum_of_entries
from ioub_jax.objective.options import ObjectiveOptions
from ioub_jax.objective.per_anchor import Labeled, PerAnchor

#: The further outputs of a head by name, as in `Predictions.others`.
Others = Mapping[str, Sequence[jax.Array]]


def instance_weights(
    logits: Labeled,
    scalars: PerAnchor,
    anchors: Sequence[jax.Array],
    targets: jax.Array,
    options: ObjectiveOptions,
) -> jax.Array | None:
    """Weight of each positive in the losses on its box, `[B, N]`; None if all weights are equal.

    Args:
      logits: the logits of the levels, with their labels.
      scalars: the scalars of every anchor.
      anchors: one `[N_l, 4]` for each level.
      targets: `[B, N, 4]`, the matched boxes.
      options: the options; `localization.instance_weights` selects the kind.

    Returns:
      `[B, N]` float32 without a gradient; 0 where not positive.
    """
    kind = options.localization.instance_weights
    if kind == "none":
        return None
    if kind == "centreness":
        weights = _centreness(anchors, targets)
    else:
        sizes = [level.shape[0] for level in anchors]
        levels = zip(logits, sizes, strict=True)
        weights = jnp.concatenate(
            [_highest_scores(level, n) for level, n in levels if isinstance(level, Sigmoids)],
            axis=1,
        )
    return jax.lax.stop_gradient(jnp.where(scalars.positive, weights, 0.0))


def _centreness(anchors: Sequence[jax.Array], targets: jax.Array) -> jax.Array:
    """Returns the centreness of every anchor in its matched box, `[B, N]`."""
    return centreness(targets, jnp.concatenate(list(anchors))[None])


def _highest_scores(level: Sigmoids, anchors: int) -> jax.Array:
    """Returns the highest score of every anchor, `[B, N_l]`."""
    logits = level.logits.reshape(level.logits.shape[0], anchors, -1)
    return jax.nn.sigmoid(jnp.max(logits, axis=-1).astype(jnp.float32))


def quality_loss(
    others: Others,
    scalars: PerAnchor,
    anchors: Sequence[jax.Array],
    targets: jax.Array,
    options: ObjectiveOptions,
) -> jax.Array:
    """Binary cross-entropy of every positive's quality, `[B, N]`; 0 where not positive.

    Args:
      others: its `quality` has one array of logits `[B, ..., A]` for each level.
      scalars: the scalars of every anchor.
      anchors: one `[N_l, 4]` for each level.
      targets: `[B, N, 4]`, the matched boxes.
      options: the options; `quality.target` selects the target.

    Raises:
      ValueError: the head has no quality output.
    """
    if "quality" not in others:
        raise ValueError(
            f"quality.target is {options.quality.target!r}, but the network has no 'quality' among "
            "its Predictions.others."
        )
    sizes = [level.shape[0] for level in anchors]
    logits = jnp.concatenate(
        [
            sum_of_entries(level.astype(jnp.float32), n)
            for level, n in zip(others["quality"], sizes, strict=True)
        ],
        axis=1,
    )
    quality = scalars.ious
    if options.quality.target == "centreness":
        quality = _centreness(anchors, targets)
    positive = scalars.positive
    logits = jnp.where(positive, logits, 0.0)
    of_low, of_high = softplus_of_both_signs(logits)
    loss = quality * of_high + (1.0 - quality) * of_low
    return jnp.where(positive, loss, 0.0)


def distribution_loss(
    bins: Sequence[jax.Array],
    scalars: PerAnchor,
    anchors: Sequence[jax.Array],
    targets: jax.Array,
    options: ObjectiveOptions,
) -> jax.Array:
    """Distribution focal loss of every positive, averaged over its sides: `[B, N]`.

    Targets beyond the last bin are clipped to .1 below it, as in the authors' code.

    Args:
      bins: one array of logits `[B, ..., A * 4 * (R + 1)]` for each level.
      scalars: the scalars of every anchor.
      anchors: one `[N_l, 4]` for each level.
      targets: `[B, N, 4]`, the matched boxes.
      options: the options; `codec` converts boxes to distances.
    """
    sizes = [level.shape[0] for level in anchors]
    found = []
    for level, of_level, boxes, positive in zip(
        bins,
        anchors,
        split_levels(targets, sizes),
        split_levels(scalars.positive, sizes),
        strict=True,
    ):
        logits = level.reshape(*positive.shape, 4, -1)
        distances = options.codec.encode(boxes, of_level[None])
        # There is a bin for each logit; the first one stands for a distance of 0.
        distances = jnp.clip(distances, 0.0, logits.shape[-1] - 1 - 0.1)
        distances = jnp.where(positive[..., None], distances, 0.0)
        loss = jnp.mean(losses.distribution_focal_loss(logits, distances), axis=-1)
        found.append(jnp.where(positive, loss, 0.0))
    return jnp.concatenate(found, axis=1)
