"""Classification losses of dense detectors.

Labels are integers of any width: `0..C-1` for a class, `-1` for background, `-2` for ignored (loss
0, gradient 0, whatever the logits). Other labels are not detected. Losses are unreduced and
computed in float32, or float64 if an input is float64. Values and gradients are finite for every
finite logit, with one exception: the softmax cross entropy is infinite, with finite gradients, if
the difference of two logits of an anchor exceeds the range of the dtype.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32, at_least_float32
from ioub_jax.losses.argument_checks import check_flag
from ioub_jax.losses.class_balance import weigh_matched, weights_of_classes
from ioub_jax.losses.classification_arguments import (
    check_class_weights,
    check_exponents,
    check_logits,
    check_shares,
)
from ioub_jax.losses.sigmoids import (
    largest_curved,
    logits_and_iou_targets,
    one_hot_and_counted,
    power_of_sigmoid,
    softplus_of_both_signs,
    without_ignored,
)


def _focal_loss(logits: jax.Array, is_target: jax.Array, alpha: float, gamma: float) -> jax.Array:
    """Sigmoid focal loss of single logits against boolean targets."""
    # The logit of the wrong class: its sigmoid is 1 - p_t, and its softplus is the cross entropy.
    wrong = jnp.where(is_target, -logits, logits)
    cross_entropy, softplus_of_minus = softplus_of_both_signs(wrong)
    modulator = power_of_sigmoid(wrong, softplus_of_minus, gamma)
    return jnp.where(is_target, alpha, 1.0 - alpha) * modulator * cross_entropy


def sigmoid_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """Sigmoid focal loss, `-alpha_t (1 - p_t)^gamma log p_t` (arXiv 1708.02002, equation 5).

    `p_t` is `sigmoid(logit)` for the matched class of a positive and `1 - sigmoid(logit)` for every
    other entry; `alpha_t` is likewise alpha and `1 - alpha`.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      alpha: weight of the matched entries of positives, in 0..1.
      gamma: focusing exponent, at least 0.
      class_weights: `[C]`, factors of the matched entries of positives; None: 1.

    Returns:
      `[..., C]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels)
    check_shares(alpha=alpha)
    check_exponents(gamma=gamma)
    check_class_weights(class_weights, np.shape(logits)[-1])
    (logits,) = at_least_float32(logits)
    logits = without_ignored(logits, labels)
    one_hot, counted = one_hot_and_counted(labels, logits.shape[-1])
    loss = jnp.where(counted, _focal_loss(logits, one_hot, alpha, gamma), 0.0)
    return weigh_matched(loss, labels, class_weights)


def sigmoid_focal_loss_of_matched_class(
    logits: ArrayLike, labels: ArrayLike, *, alpha: float = 0.25, gamma: float = 2.0
) -> jax.Array:
    """The entry of `sigmoid_focal_loss` that belongs to the matched class of each positive.

    This is the loss for `iou_balanced_classification_weights`. It has no gradient: the logits are
    gathered, and the gradient of a gather would be an expensive scatter into `[..., C]`.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      alpha: weight of the matched entries of positives, in 0..1.
      gamma: focusing exponent, at least 0.

    Returns:
      `[...]`, 0 where the label is not a class.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels)
    check_shares(alpha=alpha)
    check_exponents(gamma=gamma)
    labels = as_int32(labels)
    (logits,) = at_least_float32(jax.lax.stop_gradient(logits))
    columns = jnp.maximum(labels, 0)[..., None]
    matched_logits = jnp.take_along_axis(logits, columns, axis=-1)[..., 0]
    positive = labels >= 0
    return jnp.where(positive, _focal_loss(matched_logits, positive, alpha, gamma), 0.0)


def softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, *, class_weights: ArrayLike | None = None
) -> jax.Array:
    """Softmax cross entropy, `-log softmax(logits)[label + 1]`, as in SSD (arXiv 1512.02325).

    Args:
      logits: `[..., C + 1]`; column 0 is background, column `c + 1` is class c.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      class_weights: `[C]`, factors of the loss of positives; None: 1. The factor of negatives,
        which are mined by their loss, is always 1.

    Returns:
      `[...]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels)
    check_class_weights(class_weights, np.shape(logits)[-1] - 1)
    (logits,) = at_least_float32(logits)
    logits = without_ignored(logits, labels)
    # A one-hot sum rather than a gather, whose gradient would be a scatter.
    one_hot = jax.nn.one_hot(as_int32(labels) + 1, logits.shape[-1], dtype=jnp.bool_)
    loss = -jnp.sum(jnp.where(one_hot, jax.nn.log_softmax(logits, axis=-1), 0.0), axis=-1)
    return loss if class_weights is None else loss * weights_of_classes(labels, class_weights)


def quality_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    beta: float = 2.0,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """Quality focal loss, `|y - p|^beta BCE(p, y)` (arXiv 2006.04388).

    The target y is the IoU for the matched class of a positive and 0 for every other entry.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` in 0..1; used only at positives, and no gradient flows to them.
      beta: exponent of the distance to the target, at least 0.
      class_weights: `[C]`, factors of the matched entries of positives; None: 1.

    Returns:
      `[..., C]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels, ious=ious)
    check_exponents(beta=beta)
    check_class_weights(class_weights, np.shape(logits)[-1])
    logits, targets, _, counted = logits_and_iou_targets(logits, labels, ious)
    largest = largest_curved(logits.dtype)
    distance = jnp.abs(targets - jax.nn.sigmoid(jax.lax.clamp(-largest, logits, largest)))
    apart = distance > 0.0
    modulator = jnp.where(apart, jnp.where(apart, distance, 1.0) ** beta, 0.0**beta)
    of_zero, of_one = softplus_of_both_signs(logits)
    cross_entropy = (1.0 - targets) * of_zero + targets * of_one
    loss = jnp.where(counted, modulator * cross_entropy, 0.0)
    return weigh_matched(loss, labels, class_weights)


def varifocal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    alpha: float = 0.75,
    gamma: float = 2.0,
    detach_weights: bool = False,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """Varifocal loss (arXiv 2008.13367, equation 2).

    `q BCE(p, q)` for the matched class of a positive with IoU `q > 0`, and
    `-alpha p^gamma log(1 - p)` for every other entry.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` in 0..1; used only at positives, and no gradient flows to them.
      alpha: weight of the negative entries.
      gamma: focusing exponent of the negative entries, at least 0.
      detach_weights: True as in D-FINE and DEIM: no gradient flows through `p^gamma`, and a
        positive with IoU 0 has weight 0 instead of that of a negative. False as in VarifocalNet.
      class_weights: `[C]`, factors of the matched entries of positives; None: 1.

    Returns:
      `[..., C]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels, ious=ious)
    check_exponents(alpha=alpha, gamma=gamma)
    check_flag("detach_weights", detach_weights)
    check_class_weights(class_weights, np.shape(logits)[-1])
    logits, targets, matched, counted = logits_and_iou_targets(logits, labels, ious)
    of_zero, of_one = softplus_of_both_signs(logits)
    negative_weight = alpha * power_of_sigmoid(logits, of_one, gamma)
    has_iou = targets > 0.0
    if detach_weights:
        negative_weight = jax.lax.stop_gradient(negative_weight)
        has_iou = matched
    weight = jnp.where(has_iou, targets, negative_weight)
    cross_entropy = (1.0 - targets) * of_zero + targets * of_one
    loss = jnp.where(counted, weight * cross_entropy, 0.0)
    return weigh_matched(loss, labels, class_weights)
