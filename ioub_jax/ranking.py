"""Highest values of arrays, under jit, with the same result on every platform."""

import functools

import jax
import jax.numpy as jnp

from ioub_jax import boxes as box_ops

#: The size of the groups whose maxima `few_highest` computes first: what a TPU holds in a row.
GROUP = 128


def with_nan_last(values: jax.Array, lowest: float) -> jax.Array:
    """Replaces NaN by the lowest value.

    In XLA's order, NaN is the highest value, and whether a maximum ignores NaN depends on the
    platform.
    """
    return jnp.where(jnp.isnan(values), lowest, values)


def highest(values: jax.Array, count: int) -> jax.Array:
    """Indices `[..., min(count, P)]` of the highest of `[..., P]`, descending, ties by lower index.

    On a TPU it sorts, since `top_k` of this many values is compiled to two sorts.
    """
    count = min(count, values.shape[-1])
    indices: jax.Array = jax.lax.platform_dependent(
        values,
        tpu=functools.partial(_highest_by_sort, count=count),
        default=functools.partial(_highest_by_top_k, count=count),
    )
    return indices


def _highest_by_sort(values: jax.Array, count: int) -> jax.Array:
    order = jnp.argsort(values, axis=-1, descending=True)[..., :count].astype(jnp.int32)
    # `shard_map` treats the order as equal on all devices; this makes it vary like the values.
    return jnp.where(values[..., :count] > 0.0, order, order)


def _highest_by_top_k(values: jax.Array, count: int) -> jax.Array:
    # `top_k` orders -0 below 0, and on CPUs it is fast only for float32.
    (values,) = box_ops.at_least_float32(values)
    return jax.lax.top_k(jnp.where(values == 0.0, 0.0, values), count)[1]


def few_highest(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """A few of the highest of many numbers, for arrays that are sharded over devices.

    `top_k` collects such an array on every device; this function only compares numbers. All numbers
    are read once, in groups. Then each of `count` passes reads the maxima of the groups, and each
    of `count` further passes the numbers in the `count` groups with the highest maxima.

    Args:
      values: `[..., P]` floating; NaN and -inf count as the lowest finite number.
      count: the number of highest values to find, at least 1.

    Returns:
      `[..., min(count, P)]` values, descending, and their int32 positions, ties by lower position.
    """
    count = min(count, values.shape[-1])
    lowest = float(jnp.finfo(values.dtype).min)
    values = jnp.maximum(with_nan_last(values, lowest), lowest)
    if values.shape[-1] <= count * GROUP:
        return highest_in_passes(values, _positions(values), count)
    groups = in_groups(values)
    of_groups = jnp.max(groups, axis=-1)
    # The highest numbers are in the groups with the highest maxima.
    _, chosen = highest_in_passes(of_groups, _positions(of_groups), count)
    candidates = jnp.take_along_axis(groups, chosen[..., None], axis=-2)
    positions = positions_in_groups(chosen)
    return highest_in_passes(candidates.reshape(positions.shape), positions, count)


def in_groups(values: jax.Array) -> jax.Array:
    """Reshapes `[..., P]` to `[..., G, GROUP]`, padded with -inf."""
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % GROUP)]
    padded = jnp.pad(values, padding, constant_values=-jnp.inf)
    return padded.reshape(*values.shape[:-1], -1, GROUP)


def positions_in_groups(chosen: jax.Array) -> jax.Array:
    """The positions of all numbers in the chosen groups: `[..., K]` to `[..., K * GROUP]`."""
    within = jax.lax.broadcasted_iota(jnp.int32, (*chosen.shape, GROUP), chosen.ndim)
    positions = chosen[..., None] * GROUP + within
    return positions.reshape(*chosen.shape[:-1], -1)


def highest_in_passes(
    values: jax.Array, positions: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """The highest numbers, one of them in each pass.

    Args:
      values: `[..., P]` floating, at least `count` of them above -inf, none NaN.
      positions: `[..., P]` int32, all different.
      count: the number of highest values to find.

    Returns:
      `[..., count]` values, descending, and positions, ties by lower position.
    """

    def take(left: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        best = jnp.max(left, axis=-1, keepdims=True)
        last = jnp.iinfo(jnp.int32).max
        first = jnp.min(jnp.where(left == best, positions, last), axis=-1, keepdims=True)
        return jnp.where(positions == first, -jnp.inf, left), (best[..., 0], first[..., 0])

    _, found = jax.lax.scan(take, values, None, length=count)
    best, first = (jnp.moveaxis(array, 0, -1) for array in found)
    return best, first


def _positions(values: jax.Array) -> jax.Array:
    return jax.lax.broadcasted_iota(jnp.int32, values.shape, values.ndim - 1)
