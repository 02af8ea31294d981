"""Localization losses: on box deltas, coordinate by coordinate, and on boxes, by their IoU.

Losses are unreduced, know nothing of positives (multiply by the mask), are computed in float32
(float64 when an input is float64) and have finite gradients for every finite input. They are finite
too, where the distance of two numbers is one that the dtype can say.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops


def _distance(pred: ArrayLike, target: ArrayLike) -> jax.Array:
    """`|pred - target|`, with gradient 0 where they are equal (`jnp.abs` has 1 there)."""
    pred, target = box_ops.at_least_float32(pred, target)
    difference = pred - target
    return difference * jnp.sign(difference)


def smooth_l1_loss(pred: ArrayLike, target: ArrayLike, *, beta: float) -> jax.Array:
    """Smooth L1, `0.5 d^2 / beta` where `d < beta`, else `d - 0.5 beta` (arXiv 1504.08083).

    Args:
      pred: `[..., 4]` predicted deltas.
      target: `[..., 4]` target deltas.
      beta: where the parabola ends, at least 0; 0 gives the L1 loss.

    Returns:
      `[..., 4]`.
    """
    distance = _distance(pred, target)
    parabola = 0.5 * jnp.square(jnp.minimum(distance, beta)) / jnp.where(beta > 0, beta, 1.0)
    return jnp.where(distance < beta, parabola, distance - 0.5 * beta)


def balanced_l1_loss(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    alpha: float = 0.5,
    gamma: float = 1.5,
    beta: float = 1.0,
) -> jax.Array:
    """Balanced L1 loss of Libra R-CNN (arXiv 1904.02701).

    `alpha / b (b d + 1) ln(b d / beta + 1) - alpha d` where `d < beta`, else
    `gamma d + gamma / b - alpha beta`, with `b = exp(gamma / alpha) - 1`. The paper has beta = 1;
    with any other the two pieces do not meet at beta, here as in its authors' code.

    Args:
      pred: `[..., 4]` predicted deltas.
      target: `[..., 4]` target deltas.
      alpha: gradient of inliers: smaller raises it. Above 0.
      gamma: upper bound of the gradient.
      beta: distance, above 0, that separates inliers from outliers.

    Returns:
      `[..., 4]`.
    """
    distance = _distance(pred, target)
    b = float(np.expm1(gamma / alpha))
    near = jnp.minimum(distance, beta)
    inlier = alpha / b * (b * near + 1.0) * jnp.log1p(b * near / beta) - alpha * near
    return jnp.where(distance < beta, inlier, gamma * distance + gamma / b - alpha * beta)


# Squares of the squares of larger coordinates have gradients that float32 cannot hold.
_LARGEST_COORDINATE = 1e8

_Penalty = Callable[[ArrayLike, ArrayLike], jax.Array]
_PENALTIES: Mapping[str, tuple[_Penalty, ...]] = {
    "iou": (),
    "giou": (box_ops.hull_penalty,),
    "diou": (box_ops.centre_distance_penalty,),
    "ciou": (box_ops.centre_distance_penalty, box_ops.aspect_ratio_penalty),
}


def iou_loss(
    boxes: ArrayLike, target_boxes: ArrayLike, *, kind: str = "iou", power: float = 1.0
) -> jax.Array:
    """`1 - IoU^power + sum penalty^power` (alpha-IoU, arXiv 2110.13675).

    The penalties are none (`iou`), the empty share of the hull (`giou`, arXiv 1902.09630), the
    distance of the centres (`diou`), and that and the difference in shape (`ciou`, both arXiv
    1911.08287). With `power` 1 these are the published losses, `1 - GIoU` and so on.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels. Clipped to +- 1e8, with gradient 0 beyond it.
      target_boxes: `[..., 4]` xyxy, pixels, clipped alike.
      kind: `'iou'`, `'giou'`, `'diou'` or `'ciou'`.
      power: a Python number above 0; above 1 it favours boxes that already fit well.

    Returns:
      `[...]`.

    Raises:
      ValueError: if `kind` is none of the four.
    """
    if kind not in _PENALTIES:
        raise ValueError(f"iou_loss knows the kinds {', '.join(_PENALTIES)}, not {kind!r}.")
    boxes, target_boxes = (
        jnp.clip(each, -_LARGEST_COORDINATE, _LARGEST_COORDINATE)
        for each in box_ops.at_least_float32(boxes, target_boxes)
    )
    loss = 1.0 - _safe_power(box_ops.aligned_iou(boxes, target_boxes), power)
    for penalty in _PENALTIES[kind]:
        loss = loss + _safe_power(penalty(boxes, target_boxes), power)
    return loss


def _safe_power(base: jax.Array, power: float) -> jax.Array:
    """`base ** power` for a base of at least 0, with gradient 0 where a power meets a base of 0."""
    if power == 1:
        return base
    above_zero = base > 0.0
    return jnp.where(above_zero, jnp.where(above_zero, base, 1.0) ** power, 0.0)
