"""Weights of classes, for data in which some classes have far fewer objects than others."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32, at_least_float32
from ioub_jax.losses.argument_checks import check_number, check_real
from ioub_jax.losses.classification_arguments import check_class_weights


def effective_number_weights(counts: Sequence[int], *, beta: float = 0.999) -> np.ndarray:
    """Weights by the effective number of objects (Cui et al., CVPR 2019, arXiv 1901.05555).

    The weights are `w_c = 1 / E_c` with `E_c = (1 - beta^n_c) / (1 - beta)`, divided by their mean,
    so that they add up to the number of classes as in the paper. With beta 0 every weight is 1;
    with beta near 1 the weights are inversely proportional to the counts.

    Args:
      counts: `[C]`, number of objects of each class, known before tracing.
      beta: at least 0 and below 1; .9 to .9999 in the paper.

    Returns:
      float64 `[C]`; a class without objects has weight 1 and does not count in the mean.

    Raises:
      TypeError: the counts are not numbers.
      ValueError: beta or a count is out of range, or the counts are not a vector.
    """
    check_number("beta", beta, at_least=0, below=1)
    given = np.asarray(counts)
    check_real(counts=given)
    numbers = given.astype(np.float64)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(f"counts has shape {numbers.shape}; it must be [C].")
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError("counts has a number below 0 or one that is not finite.")
    has_objects = numbers > 0
    if not has_objects.any():
        return np.ones(len(numbers))
    # `expm1` keeps 1 - beta^n exact for small counts, where the plain difference would be rounded.
    log_beta = np.log(beta) if beta > 0 else -np.inf
    share = -np.expm1(np.where(has_objects, numbers, 1.0) * log_beta)
    weights = (1.0 - beta) / share
    return np.where(has_objects, weights / weights[has_objects].mean(), 1.0)


def weights_of_classes(labels: ArrayLike, class_weights: ArrayLike) -> jax.Array:
    """Weight of the class of each positive.

    Args:
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      class_weights: `[C]`.

    Returns:
      `[...]`, float32, or float64 if the weights are; 1 where the label is not a class; under
      `stop_gradient`.

    Raises:
      TypeError: labels are not integers, or weights are not numeric.
      ValueError: the weights are not a vector.
    """
    check_class_weights(class_weights)
    labels = as_int32(labels)
    (weights,) = at_least_float32(jax.lax.stop_gradient(class_weights))
    # An index beyond the end would take the last weight.
    is_class = (labels >= 0) & (labels < len(weights))
    return jnp.where(is_class, weights[jnp.where(is_class, labels, 0)], 1.0)


def weigh_matched(loss: jax.Array, labels: ArrayLike, class_weights: ArrayLike | None) -> jax.Array:
    """Multiplies the matched entry of each positive by the weight of its class.

    Args:
      loss: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      class_weights: `[C]`; None: 1.

    Returns:
      `[..., C]`, float32, or float64 if an input is.
    """
    if class_weights is None:
        return loss
    one_hot = jax.nn.one_hot(as_int32(labels), loss.shape[-1], dtype=jnp.bool_)
    weights = jnp.asarray(jax.lax.stop_gradient(class_weights)).astype(loss.dtype)
    return loss * jnp.where(one_hot, jnp.broadcast_to(weights, loss.shape), 1.0)
