"""Hard negative mining."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32
from ioub_jax.losses.argument_checks import check_number
from ioub_jax.losses.classification_arguments import check_of_labels


def hard_negative_mask(loss: ArrayLike, labels: ArrayLike, *, ratio: int = 3) -> jax.Array:
    """The negatives with the largest loss, `ratio` for each positive (SSD, arXiv 1512.02325).

    Each leading index (an image) is mined separately. Among equal losses the first anchors are
    chosen. In an image without positives no negative is chosen. A NaN counts as larger than all
    other losses, so that it is chosen and the sum of the chosen losses is NaN, too.

    Args:
      loss: `[..., N]` plain classification loss of each anchor.
      labels: `[..., N]` int: 0..C-1, -1 background, -2 ignored (neither positive nor mined).
      ratio: number of negatives for each positive, at least 0.

    Returns:
      `[..., N]` bool, True only for the chosen negatives; positives are False.

    Raises:
      TypeError: labels are not integers.
      ValueError: the shapes differ, or ratio is below 0.
    """
    check_of_labels(labels, loss=loss)
    if np.ndim(labels) == 0:
        raise ValueError("labels has shape (); it must be [..., N], the anchors of each image.")
    check_number("ratio", ratio, at_least=0, may_be_traced=True)
    labels = as_int32(labels)
    loss = jax.lax.stop_gradient(jnp.asarray(loss))
    negative = labels == -1
    hardness = jnp.where(negative, loss, -jnp.inf)
    order = jnp.argsort(hardness, axis=-1, descending=True, stable=True)
    rank = jnp.argsort(order, axis=-1)
    num_positives = jnp.sum(labels >= 0, axis=-1, keepdims=True)
    # In float32, since a product of integers may overflow; all anchors are enough in any case.
    count = labels.shape[-1]
    is_traced = isinstance(ratio, jax.core.Tracer)
    most = jnp.minimum(ratio, count) if is_traced else min(ratio, count)
    chosen = jnp.asarray(most, jnp.float32) * num_positives.astype(jnp.float32)
    return negative & (rank.astype(jnp.float32) < chosen)
