"""Classification losses that are not sums over entries: they look at all of a batch together."""

import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.objective.entries import Sigmoids
from ioub_jax.objective.options import ClassificationOptions
from ioub_jax.objective.per_anchor import Labelled, PerAnchor


def ranked_sums(
    logits: Labelled, scalars: PerAnchor, level_sizes: list[int], options: ClassificationOptions
) -> jax.Array:
    """Ranking losses of each image's positives, ranked among all entries of the batch.

    The logits of all levels are laid beside each other for it: a copy, which the other losses do
    without.

    Args:
      logits: of the levels, with their labels.
      scalars: of every anchor.
      level_sizes: anchors of each level.
      options: which of `RANKING_LOSSES`.

    Returns:
      `[B]`.
    """
    images = scalars.labels.shape[0]
    levels = [
        level.logits.reshape(images, size, -1)
        for level, size in zip(logits, level_sizes, strict=True)
        if isinstance(level, Sigmoids)
    ]
    of_batch = jnp.concatenate(levels, axis=1)
    step = {} if options.delta is None else {"delta": options.delta}
    if options.name == "average_lrp":
        of_boxes = 1.0 - scalars.ious
        values = losses.average_lrp_loss(of_batch, scalars.labels, of_boxes, **step).classification
    elif options.name == "rank_and_sort":
        values = losses.rank_and_sort_loss(of_batch, scalars.labels, scalars.ious, **step)
    else:
        values = losses.bucketed_rank_and_sort_loss(of_batch, scalars.labels, scalars.ious, **step)
    if options.class_weights is not None:
        weights = jnp.asarray(options.class_weights, jnp.float32)
        values = values * losses.weights_of_classes(scalars.labels, weights)
    return jnp.sum(values, axis=1)


def ghm_sums(logits: Labelled, options: ClassificationOptions) -> jax.Array:
    """GHM-C of each image, `[B]`, its bins counted over the batch; their sum is the loss."""
    levels = [level for level in logits if isinstance(level, Sigmoids)]
    images = levels[0].logits.shape[0]
    entries, labels = (
        jnp.concatenate([part.reshape(images, -1) for part in parts], axis=1)
        for parts in zip(*levels, strict=True)
    )
    # Each a detector of one class.
    values, _ = losses.ghm_c_loss(entries[..., None], labels, bins=options.bins)
    return jnp.sum(values, axis=(1, 2))
