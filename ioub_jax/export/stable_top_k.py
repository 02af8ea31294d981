"""The highest of several numbers, for a runtime that may order equal numbers in any way.

By the definition of ONNX, TopK returns equal numbers in the order of their indices, but OpenVINO
(2026.4) does not. This order determines which boxes are kept, and which box suppresses which.
"""

import jax
import jax.numpy as jnp

# The squares of larger counts exceed int32; their order of equal numbers is left to the runtime.
_MOST = 46340


def stable_top_k(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """As `jax.lax.top_k`, built from operations that do not depend on the order of equal numbers.

    Args:
      values: `[..., P]`, without NaN.
      count: the number of highest values, at most P.

    Returns:
      The highest values `[..., count]`, descending, and their int32 indices, with the lower index
      first for equal numbers.
    """
    if count > _MOST:
        highest, indices = jax.lax.top_k(values, count)
        return highest, indices
    positions = None if count == values.shape[-1] else _positions(values, count)
    some = values if positions is None else jnp.take_along_axis(values, positions, axis=-1)
    highest, order = jax.lax.top_k(some, count)
    # Runs of equal numbers are numbered, and within each of them the indices are sorted.
    changes = (highest[..., 1:] != highest[..., :-1]).astype(jnp.int32)
    begins = jnp.zeros_like(order[..., :1])
    runs = jnp.cumsum(jnp.concatenate([begins, changes], axis=-1), axis=-1) * count
    order = -jax.lax.top_k(-(runs + order), count)[0] - runs
    return highest, order if positions is None else jnp.take_along_axis(positions, order, axis=-1)


def _positions(values: jax.Array, count: int) -> jax.Array:
    """Returns the positions of the `count` highest in ascending order; of ties, the first ones."""
    last = jax.lax.top_k(values, count)[0][..., -1:]
    above, equal = values > last, values == last
    room = count - jnp.sum(above, axis=-1, keepdims=True, dtype=jnp.int32)
    rank = jnp.cumsum(equal.astype(jnp.int32), axis=-1)
    number = values.shape[-1]
    from_the_end = jnp.broadcast_to(number - jnp.arange(number, dtype=jnp.int32), values.shape)
    chosen = jnp.where(above | (equal & (rank <= room)), from_the_end, 0)
    positions: jax.Array = number - jax.lax.top_k(chosen, count)[0]
    return positions
