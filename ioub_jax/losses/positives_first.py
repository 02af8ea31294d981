"""Logits of a batch, separated into positives and negatives for losses that rank them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax.losses.pairs import Listed, sums_over

# Positives that are looked at together, and what the room for them is a multiple of.
BLOCK = 256
# Pairs that are looked at together, unless there are more logits than that.
_LARGEST_TILE = 2**22


class Ranking(NamedTuple):
    """The logits of a batch, separated into positives and negatives.

    Attributes:
      order: `[M]` int32, the anchors with the positives in front.
      positives: `[L]`, their logits of the matched classes; L is M or more, a multiple of `BLOCK`.
      number: `[]` int32, the number of positives.
      negatives: `[N]`, the logits of all entries, or of those that stand for several.
      sizes: `[N]`, number of negatives that each stands for, which may be 0.
    """

    order: jax.Array
    positives: jax.Array
    number: jax.Array
    negatives: jax.Array
    sizes: jax.Array

    def of_positives(self, values: jax.Array) -> jax.Array:
        """`[...]` values of anchors as `[L]` values of positives."""
        return _with_room(values.ravel()[self.order])

    def of_anchors(self, values: jax.Array) -> jax.Array:
        """`[L]` values of positives as `[M]` values of anchors, 0 where not positive."""
        values = jnp.where(self.is_positive, values, 0.0)[: self.order.size]
        return jnp.zeros_like(values).at[self.order].set(values, unique_indices=True)

    @property
    def is_positive(self) -> jax.Array:
        """`[L]` bool."""
        return jnp.arange(self.positives.size, dtype=jnp.int32) < self.number


def sort_out(logits: jax.Array, one_hot: jax.Array, counted: jax.Array) -> Ranking:
    """Separates `[..., C]` logits by the masks of `sigmoids.one_hot_and_counted`."""
    # A masked sum rather than a gather, whose gradient would be a scatter.
    matched = jnp.sum(jnp.where(one_hot, logits, 0.0), axis=-1).ravel()
    positive = jnp.any(one_hot & counted, axis=-1).ravel()
    order = jnp.argsort(~positive, stable=True).astype(jnp.int32)
    sizes = (counted & ~one_hot).ravel().astype(logits.dtype)
    number = jnp.sum(positive, dtype=jnp.int32)
    return Ranking(order, _with_room(matched[order]), number, logits.ravel(), sizes)


def _with_room(values: jax.Array) -> jax.Array:
    room = max(BLOCK, -(-values.size // BLOCK) * BLOCK)
    return jnp.pad(values, (0, room - values.size))


def ranked_above(others: jax.Array, own: jax.Array, delta: float) -> jax.Array:
    """Step function of the difference of logits: linear within delta of 0, where it is 1/2.

    With delta 0 it is 1 from 0 on. Of NaN it is NaN, which no comparison would tell.
    """
    difference = others - own
    if delta == 0:
        above = (others >= own).astype(difference.dtype)
        return jnp.where(jnp.isnan(others) | jnp.isnan(own), jnp.nan, above)
    return jnp.clip(difference / (2.0 * delta) + 0.5, 0.0, 1.0)


def negatives_above(ranking: Ranking, delta: float, block: int, there: jax.Array) -> jax.Array:
    """Number of negatives above each positive, `[L]`: the first `there`, a block at a time."""

    def count(mine: list[jax.Array], theirs: list[jax.Array]) -> tuple[jax.Array]:
        above = ranked_above(theirs[0], mine[0], delta)
        return (jnp.where(theirs[1] > 0, theirs[1] * above, 0.0),)

    own = Listed((ranking.positives,), ranking.number, _beside(block))
    others = Listed((ranking.negatives, ranking.sizes), there, block)
    (counts,) = sums_over(count, own, others)
    return counts


def shared_among_negatives(
    shares: jax.Array, ranking: Ranking, delta: float, block: int, there: jax.Array
) -> jax.Array:
    """Sum of the shares `[L]` that the positives give to each negative above them, `[N]`."""

    def given(mine: list[jax.Array], theirs: list[jax.Array]) -> tuple[jax.Array]:
        return (ranked_above(mine[0], theirs[0], delta) * theirs[1],)

    own = Listed((ranking.negatives,), there, block)
    others = Listed((ranking.positives, shares), ranking.number, _beside(block))
    (sums,) = sums_over(given, own, others)
    return jnp.where(ranking.sizes > 0, ranking.sizes * sums, 0.0)


def _beside(block: int) -> int:
    """Number of positives processed together with a block of negatives: a divisor of `BLOCK`."""
    side = BLOCK
    while side > 1 and side * block > _LARGEST_TILE:
        side //= 2
    return side
