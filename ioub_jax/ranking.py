"""Which numbers are the highest, under jit, the same on every platform."""

import functools

import jax
import jax.numpy as jnp

from ioub_jax import boxes as box_ops


def with_nan_last(values: jax.Array, lowest: float) -> jax.Array:
    """Gives NaN the lowest value.

    In the order of XLA it is the highest, and for a maximum either that or nothing at all, as the
    platform has it.
    """
    return jnp.where(jnp.isnan(values), lowest, values)


def highest(values: jax.Array, count: int) -> jax.Array:
    """Indices `[..., min(count, P)]` of the highest of `[..., P]`, descending, of equals the lower.

    On a TPU `top_k` of as many as these is two sorts.
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
    # `shard_map` takes the order for the same on all devices; so it is one of their values.
    return jnp.where(values[..., :count] > 0.0, order, order)


def _highest_by_top_k(values: jax.Array, count: int) -> jax.Array:
    # It takes -0 for less than 0, and on CPUs it is fast for float32 and nothing else.
    (values,) = box_ops.at_least_float32(values)
    return jax.lax.top_k(jnp.where(values == 0.0, 0.0, values), count)[1]
