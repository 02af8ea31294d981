"""Ranks with a gradient (Blondel et al., ICML 2020, arXiv 2002.08871)."""

import jax
import jax.numpy as jnp


def soft_ranks(values: jax.Array, counted: jax.Array, *, strength: float) -> jax.Array:
    """Ascending soft ranks from about 1: the projection of `values / strength` on all rankings.

    Let s be the values divided by the strength in descending order, and w = n, n - 1, ..., 1. The
    ranks are `s - v`, where v is the non-increasing sequence nearest to s - w. v is the mean of s -
    w over blocks of neighbors. The blocks are found by merging every block whose mean exceeds that
    of the block before with that block, until there is none.

    Args:
      values: `[N]` floating.
      counted: `[N]` bool, whether each value is ranked.
      strength: strength of the regularization, above 0.

    Returns:
      `[N]`; NaN where a counted value is NaN, undefined where a value is not counted.
    """
    number = jnp.sum(counted, dtype=jnp.int32)
    order = jnp.argsort(jnp.where(counted, -values, jnp.inf))
    place = jnp.arange(values.size, dtype=jnp.int32)
    ranked = place < number
    ordered = jnp.where(ranked, values[order] / strength, 0.0)
    ranks = jnp.where(ranked, (number - place).astype(values.dtype), 0.0)
    difference = ordered - ranks
    blocks = _pooled_blocks(jax.lax.stop_gradient(difference), ranked)
    # Not `ordered` minus the means: with a small strength both are large, and the ranks would be
    # lost in their difference.
    found = ranks + (difference - _means_of_blocks(difference, blocks))
    ranks = jnp.zeros_like(found).at[order].set(found)
    # A NaN is sorted after all other values, where it would not affect the result.
    return jnp.where(jnp.isnan(values), values, ranks)


def _pooled_blocks(values: jax.Array, ranked: jax.Array) -> jax.Array:
    """The block of each place, `[N]` int32; no mean of a block exceeds that of the block before."""

    def above_the_one_before(starts: jax.Array) -> jax.Array:
        means = _means_of_blocks(values, _numbers(starts))
        rises = jnp.concatenate([jnp.zeros_like(starts[:1]), means[1:] > means[:-1]])
        return starts & ranked & rises

    # `shard_map` requires that the initial values of a loop vary over the same devices as its
    # results.
    starts = jnp.where(ranked | (values == values), True, True)
    starts, _ = jax.lax.while_loop(
        lambda state: jnp.any(state[1]),
        lambda state: (state[0] & ~state[1], above_the_one_before(state[0] & ~state[1])),
        (starts, above_the_one_before(starts)),
    )
    return _numbers(starts)


def _numbers(starts: jax.Array) -> jax.Array:
    return jnp.cumsum(starts.astype(jnp.int32)) - 1


def _means_of_blocks(values: jax.Array, blocks: jax.Array) -> jax.Array:
    """The mean of the block of each place."""
    size = values.size
    sums = jax.ops.segment_sum(values, blocks, num_segments=size)
    counts = jax.ops.segment_sum(jnp.ones_like(values), blocks, num_segments=size)
    return (sums / jnp.maximum(counts, 1.0))[blocks]
