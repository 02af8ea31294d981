"""The gradient harmonizing mechanism (Li et al., AAAI 2019, arXiv 1811.05181).

Each example is weighted by the inverse of the number of examples with a similar gradient norm, so
that neither the many easy examples nor the outliers dominate. The state holds the running count of
each bin; pass it to the call for the next batch.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import at_least_float32
from ioub_jax.losses.argument_checks import check_mask, check_number, check_real
from ioub_jax.losses.classification_arguments import check_logits, check_shape
from ioub_jax.losses.sigmoids import one_hot_and_counted, softplus_of_both_signs

# The gradient of a quotient squares its denominator: float32 can represent the square of 1e-18.
_SMALLEST_MU = 1e-18


def ghm_c_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    state: ArrayLike | None = None,
    *,
    bins: int = 10,
    momentum: float = 0.0,
    where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """GHM-C: binary cross entropy, harmonized (arXiv 1811.05181).

    The loss of an entry is `BCE(p, y) / (n_b M)`. Here n_b is the number of entries whose gradient
    norm `|p - y|` is in the same bin as that of the entry, as a running mean with `momentum`; all
    bins have the same width. M is the number of bins that are not empty. Therefore **the sum over
    the entries is the loss**: do not divide it by anything. As in the authors' code, M does not
    count empty bins (in the paper it is `bins`). No gradient flows through the weights.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      state: `[bins]` running counts, as returned by the previous call; None at the first call.
      bins: number of bins, at least 1.
      momentum: share of the running counts that is kept, at least 0 and below 1; 0 uses the counts
        of this batch only. A bin that is empty in a batch keeps its count.
      where: `[..., C]` bool, whether each entry counts; None: all that are not ignored.

    Returns:
      The loss `[..., C]`, and the new state `[bins]`; float32, or float64 if the logits are.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit, or a hyperparameter is out of range.
    """
    check_logits(logits, labels)
    _check(logits, state, bins, momentum, where)
    (logits,) = at_least_float32(logits)
    one_hot, counted = one_hot_and_counted(labels, logits.shape[-1])
    counted = counted if where is None else counted & jnp.asarray(where, bool)
    # A gradient multiplied by 0 would be NaN for a logit that is NaN.
    logits = jnp.where(counted, logits, 0.0)
    wrong = jnp.where(one_hot, -logits, logits)
    cross_entropy, _ = softplus_of_both_signs(wrong)
    weights, state = _harmonized(jax.nn.sigmoid(wrong), counted, state, bins, momentum)
    return jnp.where(counted, weights * cross_entropy, 0.0), state


def ghm_r_loss(
    pred: ArrayLike,
    target: ArrayLike,
    state: ArrayLike | None = None,
    *,
    mu: float = 0.02,
    bins: int = 10,
    momentum: float = 0.0,
    where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """GHM-R: authentic smooth L1, harmonized (arXiv 1811.05181).

    The loss of an entry with difference d is `(sqrt(d^2 + mu^2) - mu) / (n_b M)`, and its gradient
    norm is `|d| / sqrt(d^2 + mu^2)`. Everything else is as in `ghm_c_loss`: **the sum over the
    entries is the loss**.

    Args:
      pred: `[...]`, such as deltas `[..., 4]`.
      target: `[...]`, of the same shape.
      state: as in `ghm_c_loss`.
      mu: difference at which the loss becomes linear, above 0.
      bins: as in `ghm_c_loss`.
      momentum: as in `ghm_c_loss`.
      where: `[...]` bool, whether each entry counts, usually those of positives; None: all.

    Returns:
      The loss `[...]`, and the new state `[bins]`; float32, or float64 if `pred` or `target` is.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: a shape does not fit, or a hyperparameter is out of range.
    """
    check_real(pred=pred, target=target)
    check_shape("target", target, np.shape(pred), "as pred")
    check_number("mu", mu, above=0.0, may_be_traced=True)
    _check(pred, state, bins, momentum, where)
    pred, target = at_least_float32(pred, target)
    counted = jnp.ones(pred.shape, jnp.bool_) if where is None else jnp.asarray(where, bool)
    # The difference of two finite numbers may overflow.
    size = jnp.abs(jnp.where(counted, pred - target, 0.0))
    size = jnp.minimum(size, jnp.finfo(size.dtype).max)
    # Neither squares a large number, which could overflow. The loss is a quotient rather than a
    # difference of nearly equal numbers, which would be rounded.
    least = jnp.maximum(mu, _SMALLEST_MU).astype(size.dtype)
    larger = jax.lax.stop_gradient(jnp.maximum(size, least))
    hypotenuse = larger * jnp.sqrt(jnp.square(size / larger) + jnp.square(least / larger))
    norm = size / hypotenuse
    loss = norm * (size / (1.0 + least / hypotenuse))
    weights, state = _harmonized(norm, counted, state, bins, momentum)
    return jnp.where(counted, weights * loss, 0.0), state


def _check(
    entries: ArrayLike,
    state: ArrayLike | None,
    bins: int,
    momentum: float,
    where: ArrayLike | None,
) -> None:
    check_number("bins", bins, at_least=1)
    if bins != int(bins):
        raise ValueError(f"bins is {bins}; it must be a whole number.")
    check_number("momentum", momentum, at_least=0.0, below=1.0)
    if state is not None:
        check_real(state=state)
        check_shape("state", state, (int(bins),), "a count of each bin")
    if where is not None:
        check_mask(where=where)
        check_shape("where", where, np.shape(entries), "a flag for each entry")


def counts_of_bins(norms: jax.Array, counted: jax.Array, bins: int) -> jax.Array:
    """Number of counted entries whose gradient norm falls into each bin, `[bins]`, floating."""
    # A single reduction counts the norms above every edge, so that the norms are read once and no
    # mask is stored.
    beyond = [counted & (norms >= edge) for edge in _edges(bins)]
    # The sums are integers, because a sum of ones in float32 would stop at 2^24.
    whole = jax.lax.reduce(
        [counted.astype(jnp.int32), *(mask.astype(jnp.int32) for mask in beyond)],
        [jnp.int32(0)] * bins,
        lambda sums, values: [sum_ + value for sum_, value in zip(sums, values, strict=True)],
        range(norms.ndim),
    )
    from_each = jnp.stack([*whole, jnp.zeros_like(whole[0])])
    return (from_each[:-1] - from_each[1:]).astype(norms.dtype)


def weights_of_bins(
    counts: jax.Array, state: ArrayLike | None, momentum: float
) -> tuple[jax.Array, jax.Array]:
    """Weights and running counts of the bins, each `[bins]`.

    A weight is 1 divided by the running count and the number of bins in use, and 0 for a bin that
    is empty in this batch.
    """
    old = jnp.zeros_like(counts) if state is None else jnp.asarray(state).astype(counts.dtype)
    there = counts > 0
    state = jnp.where(there, momentum * old + (1.0 - momentum) * counts, old)
    nonempty = jnp.sum(there, dtype=jnp.int32).astype(counts.dtype)
    divisors = jnp.where(there, state, 1.0) * jnp.maximum(nonempty, 1.0)
    return jnp.where(there, 1.0 / divisors, 0.0), state


def weights_of_entries(norms: jax.Array, of_bins: jax.Array) -> jax.Array:
    """The weight `[...]` of the bin of each entry."""
    # A gather would be slow on TPUs.
    weights = jnp.broadcast_to(of_bins[0], norms.shape)
    for number, edge in enumerate(_edges(of_bins.size), start=1):
        weights = jnp.where(norms >= edge, of_bins[number], weights)
    return weights


def _edges(bins: int) -> list[float]:
    """Lower edges of all bins except the first."""
    return [number / bins for number in range(1, bins)]


def _harmonized(
    norms: jax.Array, counted: jax.Array, state: ArrayLike | None, bins: int, momentum: float
) -> tuple[jax.Array, jax.Array]:
    """Weights of entries by their gradient norms in 0..1, and the new running counts."""
    norms = jax.lax.stop_gradient(norms)
    counts = counts_of_bins(norms, counted, int(bins))
    of_bins, state = weights_of_bins(counts, jax.lax.stop_gradient(state), momentum)
    return weights_of_entries(norms, of_bins), state
