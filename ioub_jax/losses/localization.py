"""Localization losses on box deltas, coordinate by coordinate, and on boxes, by their IoU.

Losses are unreduced and computed for all anchors; multiply them by the mask of positives. They are
computed in float32, or float64 if an input is float64. Gradients are finite for every finite input.
Values are finite, too, if the dtype can represent the differences of the inputs. With a `power`
above 1, both hold as far as the dtype can represent the powers.

Arrays that are not real, incompatible shapes and hyperparameters out of range are refused while a
program is traced, with a message that names the argument.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import wasserstein
from ioub_jax.losses import box_kinds, box_pairs
from ioub_jax.losses.argument_checks import check_alike, check_boxes, check_broadcasts, check_number


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
      beta: the distance d at which the parabola ends, at least 0; 0 gives the L1 loss.

    Returns:
      `[..., 4]`, float32, or float64 if an input is.

    Raises:
      TypeError: an argument is not of real numbers.
      ValueError: two shapes are incompatible, or beta is below 0.
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

    The loss at distance d is `alpha / b (b d + 1) ln(b d / beta + 1) - alpha d` if `d < beta`, else
    `gamma d + gamma / b - alpha beta`, with `b = exp(gamma / alpha) - 1`. The paper has beta = 1;
    with any other value the two pieces do not meet at beta, as in the authors' code.

    Args:
      pred: `[..., 4]` predicted deltas.
      target: `[..., 4]` target deltas.
      alpha: controls the gradient of inliers, which is larger for smaller values; above 0.
      gamma: upper bound of the gradient, at least alpha / 100 and at most 80 times alpha, because b
        would be lost in rounding, or not be representable in float32.
      beta: distance that separates inliers from outliers, above 0.

    Returns:
      `[..., 4]`, float32, or float64 if an input is.

    Raises:
      TypeError: an argument is not of real numbers.
      ValueError: two shapes are incompatible, or a number is out of its range.
    """
    check_alike(pred=pred, target=target)
    check_number("alpha", alpha, above=0)
    check_number("gamma", gamma, at_least=0.01 * float(alpha), at_most=80.0 * float(alpha))
    check_number("beta", beta, above=0, may_be_traced=True)
    distance = _distance(pred, target)
    b = float(np.expm1(gamma / alpha))
    near = jnp.minimum(distance, beta)
    inlier = (alpha * near + alpha / b) * jnp.log1p(b * (near / beta)) - alpha * near
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

    Let I be the IoU, d the distance of the centers with its components dx and dy, (w, h) the sides
    of the box, (w', h') those of the target, (cw, ch) those of the smallest box around both, and
    `c^2 = cw^2 + ch^2`. "Plus" means: added to 1 - I. The kinds are:

    - `iou`: 1 - I.
    - `giou` (arXiv 1902.09630): plus the share of the smallest box around both that neither covers.
    - `diou` (arXiv 1911.08287): plus d^2 / c^2.
    - `ciou` (same paper): plus d^2 / c^2 and `alpha v`, with v = 4 / pi^2 (atan w/h - atan
      w'/h')^2 and alpha = v / (1 - I + v) without a gradient.
    - `eiou` (arXiv 2101.08158, eq. 6): plus d^2 / c^2, (w - w')^2 / cw^2 and (h - h')^2 / ch^2.
    - `focal_eiou` (same paper, eq. 12): `eiou` times I^`gamma`; no gradient flows through the
      factor.
    - `siou` (arXiv 2205.12740): plus half of `sum_xy 1 - exp(-(2 - L) (dx / cw)^2)`, where
      L = 2 |dx dy| / d^2 is the sine of twice the angle of the line of the centers, and plus half
      of `sum_wh (1 - exp(-|w - w'| / max(w, w')))^theta`.
    - `mpdiou` (arXiv 2307.07662): plus the squared distances of the upper left and of the lower
      right corners, both divided by the squared diagonal of the image of size `image_size`.
    - `wiou_v1` (arXiv 2301.10051, eq. 8): exp(d^2 / c^2) (1 - I), with c^2 without a gradient. v2
      and v3 need a running mean; see `wise_iou_loss`.
    - `shape_iou` (arXiv 2312.17663): plus (hh dx^2 + ww dy^2) / c^2, with
      ww = 2 w'^s / (w'^s + h'^s), hh likewise and s = `scale`, and plus half of the second sum of
      `siou` with hh |w - w'| and ww |h - h'|.
    - `piou` (Powerful-IoU, Neural Networks 170, 2024): plus 1 - exp(-P^2), with P the mean of the
      distances of the four edges, each divided by w' or h'.
    - `piou2` (same paper): `piou` times 3 u exp(-u^2), with u = `piou_lambda` exp(-P); the gradient
      flows through the factor.

    `inner` and `focaler` replace I by another number, and leave penalties and factors unchanged.
    `inner` uses the IoU of both boxes with their sides scaled by `inner` about their centers
    (Inner-IoU, arXiv 2311.02877). `focaler=(d, u)` uses `clip((I - d) / (u - d), 0, 1)` (arXiv
    2401.10525). `power` is that of alpha-IoU (arXiv 2110.13675).

    Public code computes something else under some of these names: in `ciou`, the authors' own code
    and mmdetection 3 set alpha to 0 for IoUs up to 0.5; mmdetection's `eiou` is the Extended IoU,
    and its `siou` rewards distant centers by default; some let the gradient through the factor of
    `focal_eiou`. `docs/losses.md` has the whole list.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels. Clipped to +- 1e8, with gradient 0 beyond it.
      target_boxes: `[..., 4]` xyxy, pixels, clipped likewise.
      kind: one of the names above.
      power: a Python number above 0; above 1 it favors boxes that already fit well.
      inner: ratio of Inner-IoU, above 0 and at most 5; .7 to 1.25 in the paper. None: the boxes are
        not scaled.
      focaler: d and u of Focaler-IoU, 0 <= d < u <= 1. None: I is not replaced.
      gamma: exponent of `focal_eiou`, at least 0.
      theta: exponent of `siou` and `shape_iou`, at least 1; 2 to 6 in SIoU.
      scale: exponent of `shape_iou`, at least 0; in the paper it depends on the size of the objects
        in the data set.
      piou_lambda: factor of `piou2`, above 0.
      image_size: height and width of the image for `mpdiou` in pixels, two numbers or `[..., 2]`.

    Returns:
      `[...]`, float32, or float64 if an input is.

    Raises:
      TypeError: an argument is not of real numbers.
      ValueError: there is no such kind, a shape is not `[..., 4]`, the shapes are incompatible, a
        number is out of its range, or a hyperparameter is set that the kind does not have.
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
    if image_size is not None:
        shape = np.broadcast_shapes(np.shape(boxes), np.shape(target_boxes))
        why = f"height and width for each box of boxes, which has shape {shape}"
        check_broadcasts((*shape[:-1], 2), why, image_size=image_size)
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

    `W^2 = d^2 + ((w - w')^2 + (h - h')^2) / 4` is the squared 2-Wasserstein distance of the boxes,
    modeled as Gaussians. 1 minus the loss is the similarity, `wasserstein.aligned_similarity`. The
    eps under the root is from the authors' code. It makes the loss smooth where a box equals its
    target; the loss there is 2e-5 instead of 0.

    Args:
      boxes: `[..., 4]` predicted boxes, xyxy, pixels. Clipped to +- 1e8, with gradient 0 beyond it.
      target_boxes: `[..., 4]` xyxy, pixels, clipped likewise.
      constant: unit of the distance in pixels, above 0. It is 12.8 in the paper, the mean size of
        the objects in its data.
      eps: added to the squared distance, in square pixels; at least 0.

    Returns:
      `[...]` in 0..1.

    Raises:
      TypeError: the boxes are not of real numbers.
      ValueError: a shape is not `[..., 4]`, the shapes are incompatible, or a number is out of its
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
    # float32 could not represent a smaller width.
    return jnp.clip((overlap - low) / max(high - low, 1e-30), 0.0, 1.0)
