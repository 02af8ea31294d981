"""Building blocks of losses on sigmoids: masks, cross entropies and powers, finite everywhere.

Labels are `0..C-1` a class, `-1` background, `-2` ignored.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32, at_least_float32

_IGNORED = -2


def one_hot_and_counted(labels: ArrayLike, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """`[..., C]` masks: the matched class of each positive, and the entries that have a loss."""
    labels = as_int32(labels)
    one_hot = jax.nn.one_hot(labels, num_classes, dtype=jnp.bool_)
    counted = jnp.broadcast_to((labels != _IGNORED)[..., None], one_hot.shape)
    return one_hot, counted


def without(labels: ArrayLike, where: ArrayLike | None) -> jax.Array:
    """Labels, int32; those that a mask of their shape leaves out are ignored."""
    labels = as_int32(labels)
    return labels if where is None else jnp.where(jnp.asarray(where), labels, _IGNORED)


def softplus_of_both_signs(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`softplus(z)` and `softplus(-z)`, that is `-log(1 - sigmoid(z))` and `-log sigmoid(z)`.

    They share their exponential and their logarithm. Neither is computed from the other, because
    values that are small compared with the logit would be lost in the difference, above all in the
    gradient.
    """
    above, below = jnp.maximum(logits, 0.0), jnp.maximum(-logits, 0.0)
    curve = jnp.log1p(jnp.exp(-(above + below)))
    return above + curve, below + curve


def largest_curved(dtype: jnp.dtype) -> float:
    """Least logit from which a sigmoid is 1, and its gradient and softplus(-z) are 0, in the dtype.

    From there on the gradient of a weight made from it is cut off, since 0 times a loss that
    overflows would be NaN.
    """
    return -math.log(jnp.finfo(dtype).tiny)


def power_of_sigmoid(logits: jax.Array, softplus_of_minus: jax.Array, exponent: float) -> jax.Array:
    """`sigmoid(z)^exponent`, which neither underflows nor has an infinite gradient at 0."""
    curved = logits < largest_curved(logits.dtype)
    return jnp.exp(-exponent * jnp.where(curved, softplus_of_minus, 0.0))


def logits_and_iou_targets(
    logits: ArrayLike, labels: ArrayLike, ious: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Logits, targets (the IoU at matched entries, else 0), matched and counted, all `[..., C]`."""
    logits, ious = at_least_float32(logits, jax.lax.stop_gradient(ious))
    one_hot, counted = one_hot_and_counted(labels, logits.shape[-1])
    targets = jnp.where(one_hot, jnp.broadcast_to(ious[..., None], logits.shape), 0.0)
    return logits, targets, one_hot, counted
