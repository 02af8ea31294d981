"""Distances to the sides of a box as distributions over bins (Generalized Focal Loss)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import at_least_float32
from ioub_jax.losses.argument_checks import check_real
from ioub_jax.losses.classification_arguments import check_shape


def distribution_focal_loss(logits: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Distribution focal loss, DFL (arXiv 2006.04388, equation 6).

    The loss is `-(k + 1 - t) log S_k - (t - k) log S_{k+1}`, with S the softmax over bins `0..K-1`,
    and k and k + 1 the two bins between which the target t lies.

    In GFL, `reg_max = n` means K = n + 1 bins, targets are at most n - .1, and the loss is the sum
    over the four sides times the weight of the anchor. In YOLO, `reg_max` is K, targets are at most
    K - 1.01, and the loss is the mean over the sides. To reproduce them, clip targets to that bound
    beforehand.

    Args:
      logits: `[..., K]`, K at least 2; such as `[N, 4, K]` for left, top, right and bottom.
      targets: `[...]`, in bins: a distance in pixels divided by the stride; clipped to 0..K-1. No
        gradient flows to them.

    Returns:
      `[...]`, float32, or float64 if an input is.

    Raises:
      TypeError: an argument is not numeric.
      ValueError: a shape does not fit, or there are fewer than two bins.
    """
    _check_bins(logits)
    check_real(targets=targets)
    shape = np.shape(logits)
    check_shape("targets", targets, shape[:-1], f"one for each row of logits, which has {shape}")
    logits, targets = at_least_float32(logits, jax.lax.stop_gradient(targets))
    bins = logits.shape[-1]
    targets = jnp.clip(targets, 0.0, bins - 1.0)
    left = jnp.minimum(jnp.floor(targets), bins - 2.0)
    beyond = targets - left
    # A masked sum rather than a gather, whose gradient would be a scatter.
    bin_of = jax.lax.broadcasted_iota(logits.dtype, logits.shape, logits.ndim - 1)
    of_left, share = (jnp.broadcast_to(x[..., None], logits.shape) for x in (left, beyond))
    weights = jnp.where(
        bin_of == of_left, 1.0 - share, jnp.where(bin_of == of_left + 1, share, 0.0)
    )
    # The logarithm of a share of 0 is infinite in bins that have no weight, too.
    terms = jnp.where(weights > 0.0, weights * jax.nn.log_softmax(logits, axis=-1), 0.0)
    # A NaN lies between no two bins.
    return jnp.where(jnp.isnan(targets), targets, -jnp.sum(terms, axis=-1))


def decode_distribution(logits: ArrayLike) -> jax.Array:
    """Expected distances of distributions over bins (arXiv 2006.04388, equation 5).

    They are `sum_k k S_k`, with S the softmax over bins `0..K-1`.

    Args:
      logits: `[..., K]`, K at least 2.

    Returns:
      `[...]`, float32, or float64 if an input is; in bins, within 0..K-1: multiply by the
      stride for pixels.

    Raises:
      TypeError: logits are not numbers.
      ValueError: there are fewer than two bins.
    """
    _check_bins(logits)
    (logits,) = at_least_float32(logits)
    bin_of = jax.lax.broadcasted_iota(logits.dtype, logits.shape, logits.ndim - 1)
    return jnp.sum(jax.nn.softmax(logits, axis=-1) * bin_of, axis=-1)


def _check_bins(logits: ArrayLike) -> None:
    check_real(logits=logits)
    shape = np.shape(logits)
    if not shape or shape[-1] < 2:
        raise ValueError(
            f"logits has shape {shape}; it must be [..., K], with K bins, at least two."
        )
