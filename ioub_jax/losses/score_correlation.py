"""Correlation loss: scores that follow the IoUs of their boxes (arXiv 2301.01019)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import at_least_float32
from ioub_jax.losses.argument_checks import check_mask, check_number, check_real
from ioub_jax.losses.classification_arguments import check_shape
from ioub_jax.losses.soft_ranks import soft_ranks

KINDS = ("concordance", "pearson", "spearman")

# Scores are divided by the strength, and many of the quotients added.
_LEAST_STRENGTH = 1e-30


def correlation_loss(
    scores: ArrayLike,
    ious: ArrayLike,
    *,
    kind: str = "concordance",
    where: ArrayLike | None = None,
    regularization_strength: float = 0.01,
) -> jax.Array:
    """Correlation loss, 1 minus the correlation of scores and IoUs (arXiv 2301.01019).

    Let m be the means, s the standard deviations and c the covariance, with the divisor n - 1 as in
    the authors' code:

    - 'concordance': `1 - 2 c / (s_x^2 + s_y^2 + (m_x - m_y)^2)`, which also rewards equal values;
    - 'pearson': `1 - c / (s_x s_y)`;
    - 'spearman': 'pearson' for the soft ranks of the scores and of the IoUs.

    As `regularization_strength` goes to 0, a soft rank approaches the rank, which has no gradient.
    If the strength exceeds the differences of the scores, a soft rank is a multiple of the score
    plus a constant. The authors use 1.0, with which **their Spearman is Pearson** for scores in
    0..1, to the last bit.

    Args:
      scores: `[...]`, the scores of the matched classes of positives, in 0..1.
      ious: `[...]` in 0..1; no gradient flows to them.
      kind: one of `KINDS`.
      where: `[...]` bool, whether each score counts, usually those of positives; None: all.
      regularization_strength: strength of the soft ranks of 'spearman', at least 1e-30.

    Returns:
      `[]` in 0..2, float32, or float64 if an input is. It is 0, with gradient 0, if fewer than two
      scores count, or if all scores or all IoUs are equal and the kind divides by their deviation.
      It is NaN if a score or IoU that counts is NaN.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: the shapes differ, there is no such kind, or the strength is below 1e-30.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    check_real(scores=scores, ious=ious)
    check_shape("ious", ious, np.shape(scores), "one for each of scores")
    check_number("regularization_strength", regularization_strength, at_least=_LEAST_STRENGTH)
    x, y = (values.ravel() for values in at_least_float32(scores, jax.lax.stop_gradient(ious)))
    counted = jnp.ones(x.shape, jnp.bool_)
    if where is not None:
        check_mask(where=where)
        check_shape("where", where, np.shape(scores), "a flag for each of scores")
        counted = jnp.asarray(where, bool).ravel()
    x, y = jnp.where(counted, x, 0.0), jnp.where(counted, y, 0.0)
    if kind == "spearman":
        x, y = (soft_ranks(v, counted, strength=regularization_strength) for v in (x, y))
    loss = _concordance_loss(x, y, counted) if kind == "concordance" else _pearson(x, y, counted)
    return jnp.where(jnp.sum(counted) > 1, loss, 0.0)


def _concordance_loss(x: jax.Array, y: jax.Array, counted: jax.Array) -> jax.Array:
    # A common factor does not change the result, and with it no square overflows.
    largest = jax.lax.stop_gradient(jnp.max(jnp.maximum(jnp.abs(x), jnp.abs(y)), initial=0.0))
    scale = jnp.where(largest > 0.0, largest, 1.0)
    (x, mean_x), (y, mean_y) = (_centered(values / scale, counted) for values in (x, y))
    freedoms = jnp.maximum(jnp.sum(counted) - 1, 1).astype(x.dtype)
    spread = (jnp.sum(jnp.square(x)) + jnp.sum(jnp.square(y))) / freedoms
    spread = spread + jnp.square(mean_x - mean_y)
    # The divisor is 0 if scores and IoUs are all equal to the same number.
    defined = ~(spread <= jnp.finfo(x.dtype).tiny)
    covariance = jnp.sum(x * y) / freedoms
    concordance = 2.0 * covariance / jnp.where(defined, spread, 1.0)
    return jnp.where(defined, 1.0 - concordance, 0.0)


def _pearson(x: jax.Array, y: jax.Array, counted: jax.Array) -> jax.Array:
    (x, varies_x), (y, varies_y) = (_relative(v, _centered(v, counted)[0]) for v in (x, y))
    defined = varies_x & varies_y
    squares = jnp.where(defined, jnp.sum(jnp.square(x)) * jnp.sum(jnp.square(y)), 1.0)
    return jnp.where(defined, 1.0 - jnp.sum(x * y) / jnp.sqrt(squares), 0.0)


def _centered(values: jax.Array, counted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The counted values minus their mean (0 for other values), and the mean."""
    number = jnp.maximum(jnp.sum(counted), 1).astype(values.dtype)
    mean = jnp.sum(values) / number
    return jnp.where(counted, values - mean, 0.0), mean


def _relative(values: jax.Array, centered: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centered values divided by the largest absolute value, and whether the values differ.

    The divisor cancels in the correlation. Equal values differ from their mean by its rounding.
    """
    largest, of_values = (
        jax.lax.stop_gradient(jnp.max(jnp.abs(x), initial=0.0)) for x in (centered, values)
    )
    limits = jnp.finfo(values.dtype)
    varies = ~(largest <= jnp.maximum(8 * limits.eps * of_values, limits.tiny))
    return centered / jnp.where(varies, largest, 1.0), varies
