"""Logits of a batch, separated into positives and negatives for losses that rank them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ioub_jax.losses.argument_checks import check_number
from ioub_jax.losses.pairs import Listed, sums_over

# Number of positives that are processed together; the arrays of positives are padded to multiples.
BLOCK = 256
# A narrower step has this width, which float32 can represent.
_SMALLEST_WIDTH = 1e-37
# Largest number of pairs that are processed together, unless a single positive has more.
_LARGEST_TILE = 2**22


class Ranking(NamedTuple):
    """The logits of a batch, separated into positives and negatives.

    Attributes:
      order: `[M]` int32, the positions of the anchors, positives first.
      positives: `[L]`, the logits of the matched classes in that order; L is the smallest multiple
        of `BLOCK` that is at least M.
      number: `[]` int32, the number of positives.
      negatives: `[N]`, the logits of all entries, or of entries that represent several negatives.
      sizes: `[N]`, the number of negatives that each entry represents, which may be 0.
    """

    order: jax.Array
    positives: jax.Array
    number: jax.Array
    negatives: jax.Array
    sizes: jax.Array

    def of_positives(self, values: jax.Array) -> jax.Array:
        """Converts values `[...]` of anchors to values `[L]` of positives."""
        return _with_room(values.ravel()[self.order])

    def of_anchors(self, values: jax.Array) -> jax.Array:
        """Converts values `[L]` of positives to values `[M]` of anchors, 0 if not positive."""
        values = jnp.where(self.is_positive, values, 0.0)[: self.order.size]
        return jnp.zeros_like(values).at[self.order].set(values, unique_indices=True)

    @property
    def is_positive(self) -> jax.Array:
        """Mask of the entries of `positives` that are in use, bool `[L]`."""
        return jnp.arange(self.positives.size, dtype=jnp.int32) < self.number


def sort_out(logits: jax.Array, one_hot: jax.Array, counted: jax.Array) -> Ranking:
    """Separates logits `[..., C]` by the masks of `sigmoids.one_hot_and_counted`."""
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


def half_width(delta: float) -> float:
    """The checked `delta` of a ranking loss; as a number, because an array would be traced.

    Raises:
      TypeError: it is not a number that is known before compilation.
      ValueError: it is below 0 or not finite.
    """
    check_number("delta", delta, at_least=0.0)
    return float(delta)


def ranked_above(others: jax.Array, own: jax.Array, delta: float) -> jax.Array:
    """Step function of the difference of logits, linear within delta of 0, with 1/2 at 0.

    With delta 0 it is 1 for differences of at least 0. For NaN it is NaN, which a comparison alone
    would hide.
    """
    difference = others - own
    if delta == 0:
        above = (others >= own).astype(difference.dtype)
        return jnp.where(jnp.isnan(others) | jnp.isnan(own), jnp.nan, above)
    return jnp.clip(difference / max(2.0 * delta, _SMALLEST_WIDTH) + 0.5, 0.0, 1.0)


def negatives_above(ranking: Ranking, delta: float, block: int, there: jax.Array) -> jax.Array:
    """Number of negatives above each positive, `[L]`.

    Args:
      ranking: the separated logits.
      delta: half the width of the step.
      block: number of negatives that are processed together.
      there: `[]` int32, the number of entries of `negatives` in use.
    """

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
    """Sum of the shares that the positives give to each negative above them, `[N]`.

    Args:
      shares: `[L]`, the share of each positive.
      ranking: the separated logits.
      delta: half the width of the step.
      block: number of negatives that are processed together.
      there: `[]` int32, the number of entries of `negatives` in use.
    """

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
