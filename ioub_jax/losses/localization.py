"""Localization losses: on box deltas, coordinate by coordinate, and on boxes, by their IoU.

Losses are unreduced, know nothing of positives (multiply by the mask), are computed in float32
(float64 when an input is float64) and have finite gradients for every finite input. They are finite
too, if the dtype can represent the distance of two numbers.

Arrays that are not real, shapes that do not go together and hyper-parameters out of range are
refused while a program is traced, in a sentence that names the argument.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import wasserstein
from ioub_jax.losses import box_kinds, box_pairs
from ioub_jax.losses.argument_checks import check_alike, check_boxes, check_number


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

    Raises:
      TypeError: an argument is not of real numbers.
      ValueError: two shapes do not go together, or beta is below 0.
    """
    check_alike(pred=pred, target=target)
    check_number("beta", beta, at_least=0, may_be_traced=True)
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
    with any other value the two pieces do not meet at beta, as in the authors' code.

    Args:
      pred: `[..., 4]` predicted deltas.
      target: `[..., 4]` target deltas.
      alpha: gradient of inliers: smaller raises it. Above 0.
      gamma: upper bound of the gradient.
      beta: distance, above 0, that separates inliers from outliers.

    Returns:
      `[..., 4]`.

    Raises:
      TypeError: an argument is not of real numbers.
      ValueError: two shapes do not go together, or a number is out of its range.
    """
    check_alike(pred=pred, target=target)
    check_number("alpha", alpha, above=0)
    check_number("gamma", gamma, above=0)
    check_number("beta", beta, above=0, may_be_traced=True)
    distance = _distance(pred, target)
    b = float(np.expm1(gamma / alpha))
    near = jnp.minimum(distance, beta)
    inlier = alpha / b * (b * near + 1.0) * jnp.log1p(b * near / beta) - alpha * near
    return jnp.where(distance < beta, inlier, gamma * distance + gamma / b - alpha * beta)


def iou_loss(
    boxes: ArrayLike,
    target_boxes: ArrayLike,
    *,
    kind: str = "iou",
    power: float = 1.0,
    inner: float | None = None,
    focaler: tuple[float, float] | None = None,
    gamma: float = 0.5,
    theta: float = 4.0,
    scale: float = 0.0,
    piou_lambda: float = 1.3,
    image_size: ArrayLike | Sequence[float] | None = None,
) -> jax.Array:
    """Losses on boxes by name: `factor (1 - IoU^power + sum penalty^power)`.

    With I the IoU, d the distance of the centres with its parts dx and dy, (w, h) the sides of the
    box and (w', h') of the target, (cw, ch) those of the smallest box around both, and
    `c^2 = cw^2 + ch^2`:

    - `iou`: 1 - I.
    - `giou` (arXiv 1902.09630): plus the share of the smallest box around both that neither covers.
    - `diou` (arXiv 1911.08287): plus d^2 / c^2.
    - `ciou` (the same): plus d^2 / c^2 and `alpha v`, v = 4 / pi^2 (atan w/h - atan w'/h')^2,
      alpha = v / (1 - I + v) without a gradient.
    - `eiou` (arXiv 2101.08158, eq. 6): plus d^2 / c^2, (w - w')^2 / cw^2 and (h - h')^2 / ch^2.
    - `focal_eiou` (eq. 12 there): I^`gamma` times that; no gradient flows through the factor.
    - `siou` (arXiv 2205.12740): plus half of `sum_xy 1 - exp(-(2 - L) (dx / cw)^2)`, in which
      L = 2 |dx dy| / d^2 is the sine of twice the angle of the line of the centres, and half of
      `sum_wh (1 - exp(-|w - w'| / max(w, w')))^theta`.
    - `mpdiou` (arXiv 2307.07662): plus the squared distances of the upper left and of the lower
      right corners, over the squared diagonal of the image, `image_size`.
    - `wiou_v1` (arXiv 2301.10051, eq. 8): exp(d^2 / c^2) (1 - I), c^2 without a gradient. v2 and v3
      have a running mean: `wise_iou_loss`.
    - `shape_iou` (arXiv 2312.17663): with ww = 2 w'^s / (w'^s + h'^s), hh alike, s = `scale`: plus
      (hh dx^2 + ww dy^2) / c^2, and half of the second sum of `siou` with hh |w - w'| and
      ww |h - h'|.
    - `piou` (Powerful-IoU, Neural Networks 170, 2024): plus 1 - exp(-P^2), P the mean of the
      distances of the four edges, each over w' or h'.
    - `piou2` (the same): that times 3 u exp(-u^2), u = `piou_lambda` exp(-P), with its gradient.

    `inner` and `focaler` replace I by another number, and leave penalties and factors unchanged:
    the IoU of both boxes with `inner` times their sides about their centres (Inner-IoU, arXiv
    2311.02877), and `clip((I - d) / (u - d), 0, 1)` for `focaler=(d, u)` (arXiv 2401.10525).
    `power` is that of alpha-IoU (arXiv 2110.13675).

    `docs/losses.md` lists public code that does something else under one of these names.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels. Clipped to +- 1e8, with gradient 0 beyond it.
      target_boxes: `[..., 4]` xyxy, pixels, clipped alike.
      kind: one of the names above.
      power: a Python number above 0; above 1 it favours boxes that already fit well.
      inner: ratio of Inner-IoU, above 0 and at most 5; .7 to 1.25 in the paper. None: the boxes as
        they are.
      focaler: d and u of Focaler-IoU, 0 <= d < u <= 1. None: I as it is.
      gamma: of `focal_eiou`, at least 0.
      theta: of `siou` and `shape_iou`, at least 1; 2 to 6 in SIoU.
      scale: of `shape_iou`, at least 0; the paper's fits the size of a data set's objects.
      piou_lambda: of `piou2`, above 0.
      image_size: of `mpdiou`, height and width in pixels, two numbers or `[..., 2]`.

    Returns:
      `[...]`.

    Raises:
      TypeError: an argument is not of real numbers.
      ValueError: there is no such kind, a shape is not `[..., 4]` or does not go with the other, a
        number is out of its range, or a hyper-parameter is set that the kind does not have.
    """
    formula = box_kinds.formula_of(
        kind,
        gamma=gamma,
        theta=theta,
        scale=scale,
        piou_lambda=piou_lambda,
        image_size=image_size,
    )
    check_boxes(boxes=boxes, target_boxes=target_boxes)
    check_number("power", power, above=0)
    pairs = box_pairs.pairs_of(boxes, target_boxes)
    loss = 1.0 - box_pairs.power_or_zero(_overlap(pairs, inner, focaler), power)
    for penalty in formula.penalties(pairs):
        loss = loss + box_pairs.power_or_zero(penalty, power)
    factor = formula.factor(pairs)
    return loss if factor is None else factor * loss


def normalized_wasserstein_distance(
    boxes: ArrayLike,
    target_boxes: ArrayLike,
    *,
    constant: float = wasserstein.CONSTANT,
    eps: float = 1e-7,
) -> jax.Array:
    """`1 - exp(-sqrt(W^2 + eps) / constant)` (NWD, arXiv 2110.13389, equations 8-9).

    `W^2 = d^2 + ((w - w')^2 + (h - h')^2) / 4`, of boxes modelled as Gaussians. 1 minus the loss is
    the similarity, `wasserstein.aligned_similarity`. The eps under the root is from the authors'
    code; it makes the loss smooth where a box equals its target, where the loss is then 2e-5
    instead of 0.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels. Clipped to +- 1e8, with gradient 0 beyond it.
      target_boxes: `[..., 4]` xyxy, pixels, clipped alike.
      constant: unit of the distance in pixels, above 0. 12.8 in the paper, the mean size of the
        objects in its data.
      eps: square pixels, at least 0.

    Returns:
      `[...]` in 0..1.

    Raises:
      TypeError: the boxes are not of real numbers.
      ValueError: a shape is not `[..., 4]` or does not go with the other, or a number is out of its
        range.
    """
    check_boxes(boxes=boxes, target_boxes=target_boxes)
    check_number("constant", constant, above=0)
    check_number("eps", eps, at_least=0)
    pairs = box_pairs.pairs_of(boxes, target_boxes)
    return 1.0 - wasserstein.aligned_similarity(
        pairs.boxes, pairs.targets, constant=constant, eps=eps
    )


def _overlap(
    pairs: box_pairs.BoxPairs, inner: float | None, focaler: Sequence[float] | None
) -> jax.Array:
    """The IoU, or the measure that replaces it."""
    boxes, targets = pairs.boxes, pairs.targets
    if inner is not None:
        check_number("inner", inner, above=0, at_most=5)
        boxes, targets = (box_pairs.scaled(each, inner) for each in (boxes, targets))
    overlap = box_ops.aligned_iou(boxes, targets)
    if focaler is None:
        return overlap
    box_kinds.check_focaler(focaler)
    low, high = focaler
    return jnp.clip((overlap - low) / (high - low), 0.0, 1.0)
