"""Histograms of the positives of a batch: their IoUs and their weights."""

import jax
import jax.numpy as jnp

from ioub_jax.objective.per_anchor import PerAnchor

#: The number of bins of every histogram, which have equal width.
BINS = 20

#: Name of each histogram -> the lower edge of its first bin and the upper edge of its last one. A
#: bin includes its lower edge, and the last bin also includes all higher values. The bins of
#: weights are centered on 0, .2, .4, ... 3.8, so that 1, the weight in the plain losses, is the
#: center of a bin.
RANGES = {
    "histogram_positive_iou": (0.0, 1.0),
    "histogram_classification_weight": (-0.1, 3.9),
    "histogram_localization_weight": (-0.1, 3.9),
}


def positive_histograms(
    scalars: PerAnchor, class_weights: jax.Array, box_weights: jax.Array
) -> dict[str, jax.Array]:
    """Histograms of the IoUs and the weights of the batch's positives, without gradients.

    Args:
      scalars: the scalars of every anchor; `ious` are those of the predicted boxes.
      class_weights: `[B, N]`, the weights of the classification loss.
      box_weights: `[B, N]`, the weights of the localization loss, including `w_loc`.

    Returns:
      One `[BINS]` int32 for each of `RANGES`; each sums to the number of positives.
    """
    values = jax.lax.stop_gradient((scalars.ious, class_weights, box_weights))
    bins = [
        _bin_of(value, scalars.positive, *ends)
        for value, ends in zip(values, RANGES.values(), strict=True)
    ]

    # One bin is counted after another, because XLA would keep all comparisons in memory if they
    # were made at once. Images are counted separately, so that devices that share a batch only
    # communicate once and not in every iteration.
    def counts_of_images(number: jax.Array) -> list[jax.Array]:
        return [jnp.sum(each == number, axis=1, dtype=jnp.int32) for each in bins]

    counts = jax.lax.map(counts_of_images, jnp.arange(BINS, dtype=jnp.int8))
    # Sums of integers do not depend on the order in which devices add them.
    return {name: jnp.sum(each, axis=1) for name, each in zip(RANGES, counts, strict=True)}


def _bin_of(values: jax.Array, counted: jax.Array, lower: float, upper: float) -> jax.Array:
    """Returns the bin of every value, `[B, N]` int8; -1 where not `counted`."""
    bins = jnp.clip(jnp.floor((values - lower) * (BINS / (upper - lower))), 0, BINS - 1)
    return jnp.where(counted, bins, -1).astype(jnp.int8)
