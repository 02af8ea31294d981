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
from ioub_jax.losses.argument_checks import check_axis, check_mask, check_real
from ioub_jax.losses.classification_arguments import (
    check_exponents,
    check_of_labels,
    check_shape,
    check_shares,
)

# Powers and quotients of smaller numbers have gradients that float32 cannot represent.
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

    The weights of positives are `w_i = n v_i / sum_pos v`, with `v_i = (bias + (1 - bias)
    score_i)^k` and n the number of positives in the scope, so that they have mean 1. A scope is the
    set of anchors over which the sum runs. Unlike all other weights of this package, these are
    differentiable with respect to the scores: a positive with a small localization loss learns a
    higher score.

    Args:
      scores: `[...]` predicted score of the matched class, in 0..1; used only at positives.
      positive: `[...]` bool, whether each anchor is positive.
      k: exponent, at least 0.
      bias: smallest value of the base, in 0..1.
      axis: the axes of n and the sum; None for all axes.

    Returns:
      `[...]`, float32, or float64 if an input is; 1 for anchors that are not positive. The weights
      are 1 in a scope without positives, or whose bases are all at most 1e-12. If the score of a
      positive is NaN, all positives of its scope have weight NaN.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: the shapes differ, or a hyperparameter is out of range.
    """
    check_real(scores=scores)
    check_mask(positive=positive)
    check_shape("positive", positive, np.shape(scores), "one for each of scores")
    check_exponents(k=k)
    check_shares(bias=bias)
    check_axis(axis, "scores", np.shape(scores))
    (scores,) = at_least_float32(scores)
    positive = jnp.asarray(positive, bool)  # an empty list is of floats
    axis = tuple(axis) if isinstance(axis, Sequence) else axis
    base = bias + (1.0 - bias) * jnp.where(positive, scores, 0.0)
    # As in the IoU-balanced weights, the scale cancels, so it needs no gradient.
    positive_base = jax.lax.stop_gradient(jnp.where(positive, base, 0.0))
    largest = jnp.max(positive_base, axis=axis, keepdims=True, initial=0.0)
    # The negated comparisons, here and below, are True for NaN, so that NaN propagates even if a
    # maximum has ignored it, as on CPUs.
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

    The positives are ranked by hierarchical local rank (IoU-HLR). They are first ranked by IoU
    among the positives of the same object. Then they are ranked among the positives of the same
    class, over all images, by that local rank, and by IoU within equal local ranks. With `r_i` the
    rank within the class, from 0, and `n_max` the number of positives of the most frequent class,

    `u_i = (n_max - r_i) / n_max`, `v_i = (bias + (1 - bias) u_i)^k` and
    `w_i = v_i (sum_pos loss) / (sum_pos v loss)`.

    Args:
      loss: `[B, N]` the loss to be weighted, one value for each anchor, at least 0.
      ious: `[B, N]` IoU of the predicted box with its ground truth; used only at positives.
      labels: `[B, N]` int: 0..C-1, -1 background, -2 ignored.
      gt_index: `[B, N]` int, the object in its image that each positive is matched to.
      k: exponent, at least 0.
      bias: smallest value of the base, in 0..1.

    Returns:
      `[B, N]`, float32, or float64 if an input is, under `stop_gradient`; 1 for anchors that are
      not positive, and everywhere if the positives have no loss; NaN at all positives if the loss
      of one is NaN.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: the shapes differ, or a hyperparameter is out of range.
    """
    as_int32(gt_index, "gt_index")
    check_of_labels(labels, loss=loss, ious=ious, gt_index=gt_index)
    if np.ndim(labels) != 2:
        raise ValueError(
            f"labels has shape {np.shape(labels)}; it must be [B, N], since gt_index counts the "
            "objects of an image."
        )
    check_exponents(k=k)
    check_shares(bias=bias)
    loss, ious = at_least_float32(jax.lax.stop_gradient(loss), jax.lax.stop_gradient(ious))
    labels = as_int32(labels)
    positive = labels >= 0
    class_rank = _hierarchical_local_rank(ious, labels, as_int32(gt_index, "gt_index"))
    # The last rank of a class is its number of positives minus one.
    most_positives = jnp.max(jnp.where(positive, class_rank + 1, 0), initial=1).astype(loss.dtype)
    importance = (most_positives - class_rank.astype(loss.dtype)) / most_positives
    importance = jnp.where(positive, importance, 1.0)
    values = (bias + (1.0 - bias) * importance) ** k

    loss = jnp.where(positive, loss, 0.0)
    plain_sum, weighted_sum = jnp.sum(loss), jnp.sum(values * loss)
    defined = ~(weighted_sum <= jnp.finfo(loss.dtype).tiny)
    normalizer = plain_sum / jnp.where(defined, weighted_sum, 1.0)
    return jnp.where(positive & defined, values * normalizer, 1.0)


def _hierarchical_local_rank(ious: jax.Array, labels: jax.Array, gt_index: jax.Array) -> jax.Array:
    """Ranks from 0 within each class, `[B, N]` int32; meaningless for anchors not positive."""
    image = jax.lax.broadcasted_iota(jnp.int32, labels.shape, 0).ravel()
    positive = (labels >= 0).ravel()
    descending_iou = -jnp.where(positive, ious.ravel(), 0.0)
    # All anchors that are not positive form a further class, -1, whose ranks are not used.
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
