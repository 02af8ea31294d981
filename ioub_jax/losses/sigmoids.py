"""Building blocks of losses on sigmoids: masks, cross entropies and powers, finite everywhere.

Labels are `0..C-1` for a class, `-1` for background, `-2` for ignored.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32, at_least_float32

#: The label of anchors without a loss.
IGNORED = -2


def one_hot_and_counted(labels: ArrayLike, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Masks `[..., C]` of the matched class of each positive, and of the entries with a loss."""
    labels = as_int32(labels)
    one_hot = jax.nn.one_hot(labels, num_classes, dtype=jnp.bool_)
    counted = jnp.broadcast_to((labels != IGNORED)[..., None], one_hot.shape)
    return one_hot, counted


def without(labels: ArrayLike, where: ArrayLike | None) -> jax.Array:
    """The labels as int32, with -2 (ignored) where the mask `where` is False."""
    labels = as_int32(labels)
    return labels if where is None else jnp.where(jnp.asarray(where, bool), labels, IGNORED)


def without_ignored(logits: jax.Array, labels: ArrayLike) -> jax.Array:
    """The logits `[..., C]`, with 0 for ignored anchors: a gradient of 0 times NaN would be NaN."""
    return jnp.where((as_int32(labels) != IGNORED)[..., None], logits, 0.0)


def softplus_of_both_signs(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`softplus(z)` and `softplus(-z)`, that is `-log(1 - sigmoid(z))` and `-log sigmoid(z)`.

    They share an exponential and a logarithm. Neither is computed from the other, because values
    that are small compared with the logit would be lost in the difference, especially in the
    gradient.
    """
    above, below = jnp.maximum(logits, 0.0), jnp.maximum(-logits, 0.0)
    curve = jnp.log1p(jnp.exp(-(above + below)))
    return above + curve, below + curve


def largest_curved(dtype: jnp.dtype) -> float:
    """The smallest logit at which a sigmoid is 1, and its gradient and softplus(-z) are 0.

    This refers to values as represented in the dtype. Weights computed from the sigmoid have no
    gradient from this logit on, since 0 times a loss that overflows would be NaN.
    """
    return -math.log(jnp.finfo(dtype).tiny)


def power_of_sigmoid(logits: jax.Array, softplus_of_minus: jax.Array, exponent: float) -> jax.Array:
    """`sigmoid(z)^exponent`, without underflow and without an infinite gradient.

    Args:
      logits: z.
      softplus_of_minus: `softplus(-z)`.
      exponent: the exponent, at least 0.
    """
    curved = logits < largest_curved(logits.dtype)
    return jnp.exp(-exponent * jnp.where(curved, softplus_of_minus, 0.0))


def logits_and_iou_targets(
    logits: ArrayLike, labels: ArrayLike, ious: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Logits, targets and the masks of matched and of counted entries, all `[..., C]`.

    The targets are the IoU at matched entries and 0 elsewhere; logits of ignored anchors are 0.
    """
    logits, ious = at_least_float32(logits, jax.lax.stop_gradient(ious))
    one_hot, counted = one_hot_and_counted(labels, logits.shape[-1])
    logits = without_ignored(logits, labels)
    targets = jnp.where(one_hot, jnp.broadcast_to(ious[..., None], logits.shape), 0.0)
    return logits, targets, one_hot, counted
