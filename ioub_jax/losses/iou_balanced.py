"""The IoU-balanced losses of Wu et al. (arXiv 1908.05641), and their weights as functions.

The IoU of a positive is that of its **predicted** box with its ground truth. No gradient flows
through the weights or into the IoUs. Everything is computed in float32, or in float64 if an input
is float64.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import aligned_iou, as_int32, at_least_float32
from ioub_jax.losses.argument_checks import (
    check_alike,
    check_axis,
    check_mask,
    check_number,
    check_of_each,
    check_real,
)
from ioub_jax.losses.box_pairs import pairs_of
from ioub_jax.losses.class_balance import weigh_matched, weights_of_classes
from ioub_jax.losses.classification import (
    sigmoid_focal_loss,
    sigmoid_focal_loss_of_matched_class,
    softmax_cross_entropy,
)
from ioub_jax.losses.classification_arguments import (
    check_class_weights,
    check_exponents,
    check_logits,
    check_shape,
)
from ioub_jax.losses.localization import iou_loss, smooth_l1_loss

# A normalizer above 1e20 results from a sum that has underflowed; its scope remains unweighted.
_LARGEST_NORMALIZER = 1e20


def iou_balanced_classification_weights(
    loss: ArrayLike,
    ious: ArrayLike,
    positive: ArrayLike,
    *,
    eta: ArrayLike = 1.5,
    axis: int | Sequence[int] | None = None,
    eps: float = 0.0,
) -> jax.Array:
    """Weights of the IoU-balanced classification loss (arXiv 1908.05641, equation 2).

    The weights are `w_i = iou_i^eta * (sum_pos loss) / (sum_pos iou^eta loss + eps)` for positives
    and 1 for all other anchors. Well-localized positives gain weight, and the sum of the positives'
    loss in each scope stays unchanged; a scope is the set of anchors of one normalizer. The weights
    do not depend on the scale of the IoUs (unless eps is set).

    Applied to a localization loss, with lambda for eta, this is the dynamic normalizer of equation
    5 in the paper.

    Args:
      loss: `[...]` the loss to be weighted, one value for each anchor, at least 0.
      ious: `[...]` IoU of the predicted box with its ground truth; used only at positives.
      positive: `[...]` bool, whether each anchor is positive.
      eta: exponent, at least 0; 0 gives weight 1 everywhere. May be traced.
      axis: the axes over which a normalizer sums; None for all axes. Under `jax.vmap` and
        `jax.shard_map` it sums over the local part, under `jax.jit` with shardings over the global
        array.
      eps: added to the denominator; the authors' code has 1e-6. With it, the weights of a scope
        whose IoUs are nearly 0 vanish, as in that code.

    Returns:
      `[...]`, under `stop_gradient`. The weights are 1 in a scope without positives, or whose
      positives all have IoU 0 or loss 0. If the loss or the IoU of a positive is NaN, all positives
      of its scope have weight NaN.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: the shapes differ, or a hyperparameter is out of range.
    """
    check_real(loss=loss, ious=ious)
    check_shape("ious", ious, np.shape(loss), "one for each of loss")
    check_mask(positive=positive)
    check_shape("positive", positive, np.shape(loss), "one for each of loss")
    check_exponents(eta=eta, eps=eps)
    check_axis(axis, "loss", np.shape(loss))
    loss, ious = at_least_float32(jax.lax.stop_gradient(loss), jax.lax.stop_gradient(ious))
    positive = jnp.asarray(positive, bool)  # an empty list is of floats
    eta = jnp.asarray(jax.lax.stop_gradient(eta)).astype(loss.dtype)
    axis = tuple(axis) if isinstance(axis, Sequence) else axis

    loss = jnp.where(positive, loss, 0.0)
    ious = jnp.where(positive, ious, 0.0)
    # Dividing by the largest IoU does not change the weights but prevents the powers from
    # underflowing. It divides the denominator by largest^eta, so eps is divided by that too.
    largest = jnp.max(ious, axis=axis, keepdims=True, initial=0.0)
    largest = jnp.where(largest > 0.0, largest, 1.0)
    powers = jnp.power(ious / largest, eta)
    scaled_eps = eps / jnp.maximum(jnp.power(largest, eta), jnp.finfo(loss.dtype).tiny)

    plain_sum = jnp.sum(loss, axis=axis, keepdims=True)
    powered_sum = jnp.sum(powers * loss, axis=axis, keepdims=True)
    defined = _has_normalizer(plain_sum, powered_sum)
    normalizer = plain_sum / jnp.where(defined, powered_sum + scaled_eps, 1.0)
    return jnp.where(positive & defined, powers * normalizer, 1.0)


def _has_normalizer(plain_sum: jax.Array, weighted_sum: jax.Array) -> jax.Array:
    """True if `plain_sum / weighted_sum` is usable, and for NaN, which must propagate."""
    tiny = jnp.finfo(plain_sum.dtype).tiny
    return ~(weighted_sum <= jnp.maximum(plain_sum / _LARGEST_NORMALIZER, tiny))


def iou_balanced_localization_weights(
    ious: ArrayLike, *, lambda_: ArrayLike = 1.5, w_loc: ArrayLike = 1.0
) -> jax.Array:
    """Weights of the IoU-balanced localization loss, `w_loc iou^lambda` (arXiv 1908.05641, eq. 4).

    `calibrate_w_loc` measures the constant w_loc. For the dynamic normalizer of equation 5 see
    `iou_balanced_classification_weights`.

    Args:
      ious: `[...]` IoU of the predicted box with its ground truth, at least 0.
      lambda_: exponent, at least 0; 0 gives w_loc everywhere, even for an IoU of 0. May be traced.
      w_loc: scalar factor. May be traced.

    Returns:
      `[...]`, under `stop_gradient`.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: lambda_ is below 0, or lambda_ or w_loc has dimensions.
    """
    check_real(ious=ious)
    check_number("lambda_", lambda_, at_least=0, may_be_traced=True)
    check_number("w_loc", w_loc, may_be_traced=True)
    (ious,) = at_least_float32(ious)
    lambda_, w_loc = (jnp.asarray(number).astype(ious.dtype) for number in (lambda_, w_loc))
    return jax.lax.stop_gradient(w_loc * jnp.power(ious, lambda_))


def calibrate_w_loc(
    loss: ArrayLike, ious: ArrayLike, positive: ArrayLike, *, lambda_: ArrayLike = 1.5
) -> jax.Array:
    """The w_loc that leaves the sum of the localization loss unchanged.

    `w_loc = sum_pos loss / sum_pos iou^lambda loss` is measured at the first training step and then
    kept constant (arXiv 1908.05641).

    Args:
      loss: `[...]` plain localization loss of each anchor, summed over its coordinates.
      ious: `[...]` IoU of the predicted box with its ground truth; used only at positives.
      positive: `[...]` bool, whether each anchor is positive.
      lambda_: exponent, at least 0.

    Returns:
      `[]`, under `stop_gradient`; 1 without positives, or if all positives have IoU 0 or loss 0;
      NaN if the loss or the IoU of a positive is NaN.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: the shapes differ, or lambda_ is below 0.
    """
    check_real(loss=loss, ious=ious)
    check_shape("ious", ious, np.shape(loss), "one for each of loss")
    check_mask(positive=positive)
    check_shape("positive", positive, np.shape(loss), "one for each of loss")
    loss, ious = at_least_float32(jax.lax.stop_gradient(loss), jax.lax.stop_gradient(ious))
    positive = jnp.asarray(positive, bool)  # an empty list is of floats
    loss = jnp.where(positive, loss, 0.0)
    weights = iou_balanced_localization_weights(jnp.where(positive, ious, 0.0), lambda_=lambda_)
    plain_sum, weighted_sum = jnp.sum(loss), jnp.sum(weights * loss)
    defined = _has_normalizer(plain_sum, weighted_sum)
    return jnp.where(defined, plain_sum / jnp.where(defined, weighted_sum, 1.0), 1.0)


def iou_balanced_sigmoid_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    eta: ArrayLike = 1.5,
    alpha: float = 0.25,
    gamma: float = 2.0,
    axis: int | Sequence[int] | None = None,
    eps: float = 0.0,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """IoU-balanced classification loss of RetinaNet (arXiv 1908.05641, equations 1-2).

    This is `sigmoid_focal_loss` with the matched entry of each positive weighted by
    `iou_balanced_classification_weights`. The other C - 1 entries of a positive and all entries of
    negatives keep weight 1.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` IoU of the predicted box with its ground truth; used only at positives.
      eta: exponent of the IoU; 0 gives the plain loss. May be traced.
      alpha: see `sigmoid_focal_loss`.
      gamma: see `sigmoid_focal_loss`.
      axis: axes of the **labels** over which a normalizer sums; None for all axes.
      eps: see `iou_balanced_classification_weights`.
      class_weights: `[C]`, further factors of the matched entries of positives; None: 1. The
        normalizer is computed from the loss without them.

    Returns:
      `[..., C]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit, or a hyperparameter is out of range.
    """
    check_logits(logits, labels, ious=ious)
    check_axis(axis, "labels", np.shape(labels))
    check_class_weights(class_weights, np.shape(logits)[-1])
    logits, ious = at_least_float32(logits, ious)
    labels = as_int32(labels)
    loss = sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=gamma)
    matched = sigmoid_focal_loss_of_matched_class(logits, labels, alpha=alpha, gamma=gamma)
    weights = iou_balanced_classification_weights(
        matched, ious, labels >= 0, eta=eta, axis=axis, eps=eps
    )
    one_hot = jax.nn.one_hot(labels, loss.shape[-1], dtype=jnp.bool_)
    weights = jnp.broadcast_to(weights[..., None], loss.shape)
    return weigh_matched(loss * jnp.where(one_hot, weights, 1.0), labels, class_weights)


def iou_balanced_softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    eta: ArrayLike = 1.5,
    axis: int | Sequence[int] | None = None,
    eps: float = 0.0,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """IoU-balanced classification loss of SSD (arXiv 1908.05641, equations 1-2).

    This is `softmax_cross_entropy` with the loss of each positive weighted by
    `iou_balanced_classification_weights`. Negatives have weight 1, so `hard_negative_mask` chooses
    the same negatives by this loss as by the plain one.

    Args:
      logits: `[..., C + 1]`; column 0 is background, column `c + 1` is class c.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` IoU of the predicted box with its ground truth; used only at positives.
      eta: exponent of the IoU; 0 gives the plain loss. May be traced.
      axis: axes of the labels over which a normalizer sums; None for all axes.
      eps: see `iou_balanced_classification_weights`.
      class_weights: `[C]`, further factors of the loss of positives; None: 1. The normalizer is
        computed from the loss without them.

    Returns:
      `[...]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit, or a hyperparameter is out of range.
    """
    check_logits(logits, labels, ious=ious)
    check_axis(axis, "labels", np.shape(labels))
    check_class_weights(class_weights, np.shape(logits)[-1] - 1)
    logits, ious = at_least_float32(logits, ious)
    labels = as_int32(labels)
    loss = softmax_cross_entropy(logits, labels)
    weights = iou_balanced_classification_weights(
        loss, ious, labels >= 0, eta=eta, axis=axis, eps=eps
    )
    weighted = loss * weights
    if class_weights is None:
        return weighted
    return weighted * weights_of_classes(labels, class_weights)


def iou_balanced_smooth_l1_loss(
    pred: ArrayLike,
    target: ArrayLike,
    ious: ArrayLike,
    *,
    lambda_: ArrayLike = 1.5,
    w_loc: ArrayLike = 1.0,
    beta: float = 1 / 9,
) -> jax.Array:
    """IoU-balanced localization loss (arXiv 1908.05641, equations 3-4).

    Args:
      pred: `[..., 4]` predicted deltas.
      target: `[..., 4]` target deltas.
      ious: `[...]` IoU of the predicted box with its ground truth.
      lambda_: exponent of the IoU. May be traced.
      w_loc: scalar factor, see `calibrate_w_loc`. May be traced.
      beta: see `smooth_l1_loss`.

    Returns:
      `[..., 4]` for every anchor; multiply it by the mask of positives.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: a shape or a number is invalid.
    """
    check_alike(pred=pred, target=target)
    check_of_each("pred", np.broadcast_shapes(np.shape(pred), np.shape(target)), ious=ious)
    pred, target, ious = at_least_float32(pred, target, ious)
    loss = smooth_l1_loss(pred, target, beta=beta)
    weights = iou_balanced_localization_weights(ious, lambda_=lambda_, w_loc=w_loc)
    return loss * jnp.broadcast_to(weights[..., None], loss.shape)


def iou_balanced_iou_loss(
    boxes: ArrayLike,
    target_boxes: ArrayLike,
    *,
    lambda_: ArrayLike = 1.5,
    w_loc: ArrayLike = 1.0,
    kind: str = "giou",
    **options: Any,
) -> jax.Array:
    """IoU-balanced localization loss (arXiv 1908.05641, equations 3-4) for any loss on boxes.

    The loss is `w_loc IoU^lambda iou_loss`. Multiply losses that are not a kind of `iou_loss` by
    `iou_balanced_localization_weights`.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels.
      target_boxes: `[..., 4]` xyxy, pixels.
      lambda_: exponent of the IoU. May be traced.
      w_loc: scalar factor, see `calibrate_w_loc`. May be traced.
      kind: as for `iou_loss`.
      **options: other arguments of `iou_loss`.

    Returns:
      `[...]` for every anchor; multiply it by the mask of positives.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: a shape or a number is invalid.
    """
    loss = iou_loss(boxes, target_boxes, kind=kind, **options)
    pairs = pairs_of(*jax.lax.stop_gradient(at_least_float32(boxes, target_boxes)))
    ious = aligned_iou(pairs.boxes, pairs.targets)
    return loss * iou_balanced_localization_weights(ious, lambda_=lambda_, w_loc=w_loc)
