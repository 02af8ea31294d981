"""Classification losses of DETR-like detectors whose target depends on the IoU.

Labels and numerical properties are those of `losses.classification`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import at_least_float32
from ioub_jax.losses.argument_checks import check_flag
from ioub_jax.losses.class_balance import weigh_matched
from ioub_jax.losses.classification_arguments import (
    check_class_weights,
    check_exponents,
    check_logits,
    check_of_labels,
    check_shares,
)
from ioub_jax.losses.sigmoids import (
    logits_and_iou_targets,
    power_of_sigmoid,
    softplus_of_both_signs,
)


def matchability_aware_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    alpha: float | None = None,
    gamma: float = 1.5,
    detach_weights: bool = True,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """Matchability-aware loss, MAL (DEIM, arXiv 2412.04234).

    The loss is `-q^gamma log p - (1 - q^gamma) log(1 - p)` for the matched class of a positive with
    IoU q, and `-p^gamma log(1 - p)` for every other entry. Unlike in `varifocal_loss`, a positive
    with a small IoU keeps its weight of 1: with IoU 0 it learns the score 0.

    The paper's equation does not specify whether the gradient flows through the weight `p^gamma`.
    In the code of the authors and of others it does not.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` in 0..1; used only at positives, and no gradient flows to them.
      alpha: factor of the negative entries, at least 0; None: 1, as in the paper.
      gamma: exponent of the IoU and of the negatives' weights, at least 0.
      detach_weights: False lets the gradient flow through `p^gamma`.
      class_weights: `[C]`, factors of the matched entries of positives; None: 1.

    Returns:
      `[..., C]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels, ious=ious)
    check_exponents(alpha=1.0 if alpha is None else alpha, gamma=gamma)
    check_flag("detach_weights", detach_weights)
    check_class_weights(class_weights, np.shape(logits)[-1])
    logits, ious, matched, counted = logits_and_iou_targets(logits, labels, ious)
    of_zero, of_one = softplus_of_both_signs(logits)
    weights = power_of_sigmoid(logits, of_one, gamma)
    weights = jax.lax.stop_gradient(weights) if detach_weights else weights
    weights = weights if alpha is None else alpha * weights
    targets = jnp.where(matched, ious, 1.0) ** gamma
    of_matched = targets * of_one + (1.0 - targets) * of_zero
    loss = jnp.where(counted, jnp.where(matched, of_matched, weights * of_zero), 0.0)
    return weigh_matched(loss, labels, class_weights)


def iou_aware_bce_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    least_target: float = 0.01,
    target_weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """IoU-aware binary cross entropy, IA-BCE (Align-DETR, arXiv 2304.07527; RF-DETR).

    The loss is `-t log p - (1 - t) log(1 - p)` for the matched class of a positive. Its target is
    `t = max(p^alpha q^(1 - alpha), least_target)` for score p and IoU q; no gradient flows through
    it. The loss is `-p^gamma log(1 - p)` for every other entry, and the gradient flows through the
    weight `p^gamma`. The lower bound of t is in the code of Align-DETR and RF-DETR, but not in the
    paper.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` in 0..1; used only at positives, and no gradient flows to them.
      alpha: share of the score in the target, in 0..1.
      gamma: exponent of the negative entries' weights, at least 0.
      least_target: lower bound of t, in 0..1.
      target_weights: `[...]` in 0..1, factors of t; used only at positives; None: 1. In layers of
        Align-DETR in which an object has many anchors, they are `exp(-rank / tau)`, with the rank
        of t among the anchors of the object, from 0.
      class_weights: `[C]`, factors of the matched entries of positives; None: 1.

    Returns:
      `[..., C]`, float32, or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels, ious=ious)
    if target_weights is not None:
        check_of_labels(labels, target_weights=target_weights)
    check_shares(alpha=alpha, least_target=least_target)
    check_exponents(gamma=gamma)
    check_class_weights(class_weights, np.shape(logits)[-1])
    logits, ious, matched, counted = logits_and_iou_targets(logits, labels, ious)
    of_zero, of_one = softplus_of_both_signs(logits)
    targets = power_of_sigmoid(logits, of_one, alpha)
    targets = targets * jnp.where(matched, ious, 1.0) ** (1.0 - alpha)
    targets = jnp.maximum(targets, least_target)
    if target_weights is not None:
        (of_anchors,) = at_least_float32(target_weights)
        of_entries = jnp.broadcast_to(of_anchors[..., None], targets.shape)
        targets = targets * jnp.where(matched, of_entries, 1.0)
    targets = jax.lax.stop_gradient(targets)
    of_matched = targets * of_one + (1.0 - targets) * of_zero
    of_others = power_of_sigmoid(logits, of_one, gamma) * of_zero
    loss = jnp.where(counted, jnp.where(matched, of_matched, of_others), 0.0)
    return weigh_matched(loss, labels, class_weights)
