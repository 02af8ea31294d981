"""The weights of Prime Sample Attention (PISA, Cao et al., arXiv 1904.04821).

PISA is the closest relative of the IoU-balanced losses: it also shifts weight to well-localized
positives, for classification by their rank (ISR-P) and for localization by their score (CARL).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32, at_least_float32
from ioub_jax.losses.classification_arguments import (
    check_exponents,
    check_of_labels,
    check_shape,
    check_shares,
)

# Powers and divisions of smaller numbers have gradients that float32 cannot hold.
_SMALLEST_BASE = 1e-12


def carl_weights(
    scores: ArrayLike,
    positive: ArrayLike,
    *,
    k: float = 1.0,
    bias: float = 0.2,
    axis: int | Sequence[int] | None = None,
) -> jax.Array:
    """Weights of the classification-aware regression loss (CARL, arXiv 1904.04821).

    `w_i = n v_i / sum_pos v`, with `v_i = (bias + (1 - bias) score_i)^k` and n the positives of the
    scope, so that the weights of the positives have mean 1. Unlike all other weights here these are
    differentiable with respect to the scores: a positive with a small localization loss learns a
    higher score.

    Args:
      scores: `[...]` predicted score of the matched class, in 0..1; read at positives only.
      positive: `[...]` bool.
      k: exponent, at least 0.
      bias: least value of the base, in 0..1.
      axis: the axes that n and the sum run over; None for all of them.

    Returns:
      `[...]`, 1 where not positive. A scope without a positive, or whose bases are all below
      1e-12, has weight 1; one in which the score of a positive is NaN, weight NaN at its positives.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: the shapes differ, or a hyper-parameter is out of range.
    """
    check_shape("positive", positive, np.shape(scores), "one for each of scores")
    check_exponents(k=k)
    check_shares(bias=bias)
    (scores,) = at_least_float32(scores)
    positive = jnp.asarray(positive)
    axis = tuple(axis) if isinstance(axis, Sequence) else axis
    base = bias + (1.0 - bias) * jnp.where(positive, scores, 0.0)
    # As in the IoU-balanced weights: the scale cancels, so no gradient has to pass through it.
    positive_base = jax.lax.stop_gradient(jnp.where(positive, base, 0.0))
    largest = jnp.max(positive_base, axis=axis, keepdims=True, initial=0.0)
    # In this form, here and below, what is NaN stays it, whether or not a maximum has passed it
    # over, as on CPUs.
    defined = ~(largest <= _SMALLEST_BASE)
    relative_base = base / jnp.where(defined, largest, 1.0)
    counted = positive & ~(relative_base <= _SMALLEST_BASE)
    values = jnp.where(counted, jnp.where(counted, relative_base, 1.0) ** k, 0.0**k)
    values = jnp.where(positive, values, 0.0)
    total = jnp.sum(values, axis=axis, keepdims=True)
    num_positives = jnp.sum(positive, axis=axis, keepdims=True).astype(values.dtype)
    weights = values * (num_positives / jnp.where(defined, total, 1.0))
    return jnp.where(positive & defined, weights, 1.0)


def isr_p_weights(
    loss: ArrayLike,
    ious: ArrayLike,
    labels: ArrayLike,
    gt_index: ArrayLike,
    *,
    k: float = 2.0,
    bias: float = 0.0,
) -> jax.Array:
    """Weights of importance-based sample reweighting of positives (ISR-P, arXiv 1904.04821).

    The positives are ranked by hierarchical local rank (IoU-HLR): first among those of the same
    object by IoU, then among those of the same class, over all images, by that local rank and
    within equal local ranks by IoU. With `r_i` the rank within the class, from 0, and `n_max` the
    number of positives of the most frequent class,

    `u_i = (n_max - r_i) / n_max`, `v_i = (bias + (1 - bias) u_i)^k` and
    `w_i = v_i (sum_pos loss) / (sum_pos v loss)`.

    Args:
      loss: `[B, N]` the loss to be weighted, one value for each anchor, at least 0.
      ious: `[B, N]` IoU of the predicted box with its ground truth; read at positives only.
      labels: `[B, N]` int: 0..C-1, -1 background, -2 ignored.
      gt_index: `[B, N]` int, the object of its image that a positive is matched to.
      k: exponent, at least 0.
      bias: least value of the base, in 0..1.

    Returns:
      `[B, N]`, under `stop_gradient`, 1 where not positive or where the positives have no loss;
      NaN at the positives if the loss of one is NaN.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: the shapes differ, or a hyper-parameter is out of range.
    """
    as_int32(gt_index, "gt_index")
    check_of_labels(labels, loss=loss, ious=ious, gt_index=gt_index)
    check_exponents(k=k)
    check_shares(bias=bias)
    loss, ious = at_least_float32(jax.lax.stop_gradient(loss), jax.lax.stop_gradient(ious))
    labels = as_int32(labels)
    positive = labels >= 0
    class_rank = _hierarchical_local_rank(ious, labels, as_int32(gt_index, "gt_index"))
    # The worst rank of a class is its number of positives less one.
    most_positives = jnp.max(jnp.where(positive, class_rank + 1, 0), initial=1).astype(loss.dtype)
    importance = (most_positives - class_rank.astype(loss.dtype)) / most_positives
    importance = jnp.where(positive, importance, 1.0)
    values = (bias + (1.0 - bias) * importance) ** k

    loss = jnp.where(positive, loss, 0.0)
    plain_sum, weighted_sum = jnp.sum(loss), jnp.sum(values * loss)
    defined = ~(weighted_sum <= jnp.finfo(loss.dtype).tiny)
    normaliser = plain_sum / jnp.where(defined, weighted_sum, 1.0)
    return jnp.where(positive & defined, values * normaliser, 1.0)


def _hierarchical_local_rank(ious: jax.Array, labels: jax.Array, gt_index: jax.Array) -> jax.Array:
    """`[B, N]` int32 ranks from 0 within each class; meaningless where not positive."""
    image = jax.lax.broadcasted_iota(jnp.int32, labels.shape, 0).ravel()
    positive = (labels >= 0).ravel()
    descending_iou = -jnp.where(positive, ious.ravel(), 0.0)
    # Everything that is no positive is one more class, -1, whose ranks nobody reads.
    classes = jnp.where(positive, labels.ravel(), -1)
    objects = jnp.where(positive, gt_index.ravel(), -1)
    local_rank = _rank_within_groups((classes, image, objects), (descending_iou,))
    class_rank = _rank_within_groups((classes,), (local_rank, descending_iou))
    return class_rank.reshape(labels.shape)


def _rank_within_groups(groups: Sequence[jax.Array], keys: Sequence[jax.Array]) -> jax.Array:
    """Ranks, from 0, by ascending keys among the entries whose group keys are all equal."""
    order = jnp.lexsort([*reversed(keys), *reversed(groups)])
    changes = [group[order][1:] != group[order][:-1] for group in groups]
    starts = jnp.concatenate([jnp.ones(1, jnp.bool_), jnp.any(jnp.stack(changes), axis=0)])
    position = jnp.arange(order.size, dtype=jnp.int32)
    group_start = jax.lax.cummax(jnp.where(starts, position, 0))
    return jnp.zeros_like(position).at[order].set(position - group_start)
