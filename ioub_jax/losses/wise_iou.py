"""Wise-IoU v2 and v3 (Tong et al., arXiv 2301.10051): weights by 1 - IoU relative to its mean.

The caller keeps the running mean of 1 - IoU over the batches: each call takes it and returns the
next one.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import align, aligned_iou, at_least_float32, divide_or_zero
from ioub_jax.losses.argument_checks import (
    check_boxes,
    check_broadcasts,
    check_mask,
    check_number,
    check_of_each,
    check_real,
)
from ioub_jax.losses.box_pairs import pairs_of, power_or_zero
from ioub_jax.losses.localization import iou_loss

#: The authors' initial value of the mean.
INITIAL_MEAN = 1.0
VERSIONS = (1, 2, 3)


def wise_iou_weights(
    ious: ArrayLike,
    mean: ArrayLike,
    *,
    version: int = 3,
    momentum: float = 0.01,
    gamma: float = 0.5,
    alpha: float = 1.7,
    delta: float = 2.7,
    where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Factors of `iou_loss(kind='wiou_v1')` in Wise-IoU v2 and v3, and the next mean.

    The next mean is `M' = (1 - momentum) M + momentum mean(1 - IoU)`. With `b = (1 - IoU) / M'`,
    the weights are `b^gamma` in v2 (equation 10) and `b / (delta alpha^(b - delta))` in v3
    (equations 11-12). The latter are 1 at `b = delta` and fall on both sides of `b = 1 / ln alpha`,
    so the loss favors neither the boxes that fit well nor those that are far off. v1 has weight 1.
    The defaults of alpha and delta are those of the authors' current code; copies of its first
    version have 1.9 and 3.

    Args:
      ious: `[...]` IoU of the predicted box with its target.
      mean: `[]`, M, the running mean of 1 - IoU; `INITIAL_MEAN`, 1, before the first batch.
      version: 1, 2 or 3.
      momentum: share of this batch in the next mean, 0..1; 0 keeps the mean.
      gamma: exponent of v2, at least 0.
      alpha: base of v3, above 1.
      delta: the b at which the weight of v3 is 1, above 0.
      where: `[...]` bool, whether each box counts; None: all.

    Returns:
      Weights `[...]`, 1 for boxes that do not count, and the next mean `[]`, which is M if no box
      counts; float32, or float64 if an input is, under `stop_gradient`.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: a shape or a number is invalid.
    """
    _check_numbers(version, momentum, gamma, alpha, delta)
    check_real(ious=ious, mean=mean)
    if np.shape(mean) != ():
        raise ValueError(f"mean has shape {np.shape(mean)}; it must be (), one number.")
    ious, mean = at_least_float32(*jax.lax.stop_gradient((jnp.asarray(ious), jnp.asarray(mean))))
    if where is not None:
        check_mask(where=where)
    if not isinstance(mean, jax.core.Tracer):
        check_number("mean", mean, at_least=0)
    counted = jnp.ones(ious.shape, bool) if where is None else jnp.asarray(where, bool)
    check_broadcasts(ious.shape, "one for each of ious", where=counted)
    counted = jnp.broadcast_to(counted, ious.shape)
    losses = jnp.where(counted, 1.0 - ious, 0.0)
    number = jnp.sum(counted, dtype=ious.dtype)
    of_batch = jnp.where(number > 0, jnp.sum(losses) / jnp.maximum(number, 1.0), mean)
    mean = (1.0 - momentum) * mean + momentum * of_batch
    outlier = divide_or_zero(losses, jnp.broadcast_to(mean, losses.shape))
    if version == 1:
        weights = jnp.ones_like(losses)
    elif version == 2:
        weights = power_or_zero(outlier, gamma)
    else:
        # An exponent above 80 would overflow, and an outlier of 0 times infinity is NaN.
        exponent = jnp.minimum((delta - outlier) * math.log(alpha), 80.0)
        weights = outlier / delta * jnp.exp(exponent)
    return jnp.where(counted, weights, 1.0), mean


def wise_iou_loss(
    boxes: ArrayLike,
    target_boxes: ArrayLike,
    mean: ArrayLike,
    *,
    version: int = 3,
    momentum: float = 0.01,
    gamma: float = 0.5,
    alpha: float = 1.7,
    delta: float = 2.7,
    inner: float | None = None,
    focaler: tuple[float, float] | None = None,
    where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Wise-IoU, `w exp(d^2 / c^2) (1 - IoU)` (arXiv 2301.10051, equations 8-12), and the next mean.

    w is the weight of `wise_iou_weights`; the rest is `iou_loss(kind='wiou_v1')`. No gradient flows
    through w, c^2 and the mean. As in the authors' code, the mean already includes this batch when
    it is used.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels.
      target_boxes: `[..., 4]` xyxy, pixels.
      mean: as in `wise_iou_weights`.
      version: as in `wise_iou_weights`.
      momentum: as in `wise_iou_weights`.
      gamma: as in `wise_iou_weights`.
      alpha: as in `wise_iou_weights`.
      delta: as in `wise_iou_weights`.
      inner: as in `iou_loss`, for the IoU in the loss; weights and mean use the plain IoU.
      focaler: as in `iou_loss`, for the IoU in the loss; weights and mean use the plain IoU.
      where: `[...]` bool, whether each box counts in the loss and the mean; None: all.

    Returns:
      `[...]`, 0 for boxes that do not count, and the next mean `[]`; float32, or float64 if
      an input is.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: a shape or a number is invalid.
    """
    check_boxes(boxes=boxes, target_boxes=target_boxes)
    if where is not None:
        check_mask(where=where)
        boxes, target_boxes = align(boxes, target_boxes)
        check_of_each("boxes", boxes.shape, where=where)
        where = jnp.broadcast_to(jnp.asarray(where, bool), boxes.shape[:-1])
        # A gradient multiplied by 0 would be NaN for a box that is NaN.
        counted = jnp.broadcast_to(where[..., None], boxes.shape)
        boxes, target_boxes = (jnp.where(counted, x, 0.0) for x in (boxes, target_boxes))
    pairs = pairs_of(boxes, target_boxes)
    weights, mean = wise_iou_weights(
        aligned_iou(*jax.lax.stop_gradient((pairs.boxes, pairs.targets))),
        mean,
        version=version,
        momentum=momentum,
        gamma=gamma,
        alpha=alpha,
        delta=delta,
        where=where,
    )
    loss = weights * iou_loss(boxes, target_boxes, kind="wiou_v1", inner=inner, focaler=focaler)
    if where is None:
        return loss, mean
    return jnp.where(where, loss, 0.0), mean


def _check_numbers(version: int, momentum: float, gamma: float, alpha: float, delta: float) -> None:
    if not isinstance(version, int | np.integer) or version is True or version not in VERSIONS:
        raise ValueError(f"version is {version!r}; it must be 1, 2 or 3.")
    check_number("momentum", momentum, at_least=0, at_most=1)
    check_number("gamma", gamma, at_least=0)
    check_number("alpha", alpha, above=1)
    check_number("delta", delta, above=0)
