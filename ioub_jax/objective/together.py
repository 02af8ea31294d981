"""Classification losses that depend on the whole batch instead of being sums over entries."""

import jax
import jax.numpy as jnp

from ioub_jax import losses
from ioub_jax.losses.gradient_harmonizing import (
    counts_of_bins,
    weights_of_bins,
    weights_of_entries,
)
from ioub_jax.losses.sigmoids import IGNORED, softplus_of_both_signs
from ioub_jax.objective.entries import Sigmoids
from ioub_jax.objective.options import ClassificationOptions
from ioub_jax.objective.per_anchor import Labeled, PerAnchor


def ranked_sums(
    logits: Labeled, scalars: PerAnchor, level_sizes: list[int], options: ClassificationOptions
) -> jax.Array:
    """Ranking losses of each image's positives, ranked among all entries of the batch.

    This concatenates the logits of all levels, a copy that the other losses avoid.

    Args:
      logits: the logits of the levels, with their labels.
      scalars: the scalars of every anchor.
      level_sizes: the number of anchors of each level.
      options: the options; `name` is one of `RANKING_LOSSES`.

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
    step = options.hyper_parameters
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


def ghm_sums(logits: Labeled, options: ClassificationOptions) -> jax.Array:
    """GHM-C of each image, `[B]`, with bins that are counted over the batch; the sum is the loss.

    This is `losses.ghm_c_loss` level by level, with the counts of all levels.
    """
    levels = [level for level in logits if isinstance(level, Sigmoids)]
    counts = sum(
        counts_of_bins(_gradient_norms(level), level.labels != IGNORED, options.bins)
        for level in levels
    )
    of_bins, _ = weights_of_bins(jnp.asarray(counts), None, 0.0)
    # For the gradient, only the logit and the label of an entry are kept in memory.
    level_sums = jax.checkpoint(_ghm_level_sums)
    return jnp.asarray(sum(level_sums(level, of_bins) for level in levels))


def _ghm_level_sums(level: Sigmoids, of_bins: jax.Array) -> jax.Array:
    """Returns GHM-C of one level's sigmoids, summed over each image: `[B]`."""
    cross_entropy, _ = softplus_of_both_signs(_wrong(level))
    values = weights_of_entries(_gradient_norms(level), of_bins) * cross_entropy
    values = jnp.where(level.labels != IGNORED, values, 0.0)
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _gradient_norms(level: Sigmoids) -> jax.Array:
    return jax.lax.stop_gradient(jax.nn.sigmoid(_wrong(level)))


def _wrong(level: Sigmoids) -> jax.Array:
    """Returns the logits of the wrong answers, float32."""
    logits = level.logits.astype(jnp.float32)
    return jnp.where(level.labels == 0, -logits, logits)
