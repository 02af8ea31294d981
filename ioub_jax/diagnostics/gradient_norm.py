"""Gradient of the localization loss as a function of the box's error (arXiv 1908.05641).

The module computes the norm of the gradient of equations 3-4 with respect to the predicted deltas.
The IoU in the weight is a function of all four deltas, so a curve over one number needs an
assumption: **one delta is wrong and the others are right**. The IoU then has a closed form, and so
does the gradient, in which the weight is a constant (`stop_gradient`). With |delta| = d:

- `shift`, the center is off by d widths: `IoU = (1 - d) / (1 + d)`, 0 from d = 1 on;
- `stretch`, the width is off by the factor exp(d): `IoU = exp(-d)`;
- `gradient norm = w_loc * IoU^lambda * min(d / beta, 1)`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax import boxes, losses

#: The index of the wrong delta in (dx, dy, dw, dh).
KINDS = {"shift": 0, "stretch": 2}
#: The exponents that the paper compares.
LAMBDAS = (0.0, 0.5, 1.0, 1.5, 1.8)
#: The beta of smooth L1, from which it is linear, in the paper's RetinaNet.
BETA = 0.11


def iou_of(delta: np.ndarray, kind: str) -> np.ndarray:
    """IoU `[n]` between a box with an error `delta` `[n]`, at least 0, and its target."""
    if kind == "stretch":
        return np.exp(-delta)
    return np.maximum(1 - delta, 0) / (1 + delta)


def closed_form(
    delta: np.ndarray, *, kind: str, lambda_: float, w_loc: float = 1.0, beta: float = BETA
) -> np.ndarray:
    """The norm of the gradient `[n]` in closed form (see the module's docstring)."""
    norm: np.ndarray = w_loc * iou_of(delta, kind) ** lambda_ * np.minimum(delta / beta, 1.0)
    return norm


def by_autodiff(
    delta: np.ndarray, *, kind: str, lambda_: float, w_loc: float = 1.0, beta: float = BETA
) -> np.ndarray:
    """The same from `losses.iou_balanced_smooth_l1_loss`, for decoded boxes and their IoU."""
    wrong = np.asarray(delta, np.float32)[:, None] * np.eye(4, dtype=np.float32)[KINDS[kind]][None]
    numbers = (np.float32(number) for number in (lambda_, w_loc, beta))
    return np.asarray(jnp.linalg.norm(_gradients(wrong, *numbers), axis=1))


# The target equals the anchor, so its deltas are 0.
_ANCHOR = np.array([40.0, 60.0, 140.0, 110.0], np.float32)


def _loss(pred: jax.Array, lambda_: jax.Array, w_loc: jax.Array, beta: Any) -> jax.Array:
    ious = boxes.aligned_iou(boxes.decode(pred, _ANCHOR), _ANCHOR)
    target = jnp.zeros_like(pred)
    return jnp.sum(
        losses.iou_balanced_smooth_l1_loss(
            pred, target, ious, lambda_=lambda_, w_loc=w_loc, beta=beta
        )
    )


_gradients = jax.jit(jax.vmap(jax.grad(_loss), in_axes=(0, None, None, None)))


def calibrated_w_loc(*, kind: str, lambda_: float, beta: float = BETA) -> float:
    """The w_loc for boxes with uniformly distributed errors, from none to an IoU of .5.

    Before the first training step, the predicted boxes equal the anchors, and positive anchors have
    an IoU of at least .5. With this constant, the sum of their losses is the same as without
    weights.
    """
    worst = np.log(2) if kind == "stretch" else 1 / 3
    delta = np.linspace(0, worst, 1001)
    loss = losses.smooth_l1_loss(delta, np.zeros_like(delta), beta=beta)
    ious = iou_of(delta, kind)
    every = np.ones(len(delta), bool)
    return float(losses.calibrate_w_loc(loss, ious, every, lambda_=lambda_))


def gradient_norms(points: int = 101) -> list[dict[str, Any]]:
    """The curves of every kind and exponent over |delta| in [0, 1], in closed form and by autodiff.

    Returns:
      A dict for each curve, in types that JSON has: `kind`, `lambda`, `w_loc` (`calibrated_w_loc`),
      `beta`, and the lists `delta`, `iou`, `closed_form` and `autodiff` of `points` numbers.
    """
    delta = np.linspace(0, 1, points)
    curves = []
    for kind in KINDS:
        for lambda_ in LAMBDAS:
            w_loc = calibrated_w_loc(kind=kind, lambda_=lambda_)
            options: Any = {"kind": kind, "lambda_": lambda_, "w_loc": w_loc, "beta": BETA}
            curves.append(
                {
                    "kind": kind,
                    "lambda": lambda_,
                    "w_loc": w_loc,
                    "beta": BETA,
                    "delta": delta.tolist(),
                    "iou": iou_of(delta, kind).tolist(),
                    "closed_form": closed_form(delta, **options).tolist(),
                    "autodiff": by_autodiff(delta, **options).tolist(),
                }
            )
    return curves
