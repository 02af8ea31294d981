"""Resolution of conflicts between boxes over the few anchors that each has chosen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Claims(NamedTuple):
    """The anchors that boxes have chosen, K for each ground-truth slot.

    Attributes:
      anchor: `[B, M, K]` int32, the indices of the anchors; those of a slot are different.
      made: `[B, M, K]` bool; False for entries without a claim.
    """

    anchor: jax.Array
    made: jax.Array


def highest_of_anchors(claims: Claims, values: jax.Array, count: int) -> jax.Array:
    """The highest value claimed for each anchor.

    Args:
      claims: the anchors that boxes have chosen.
      values: `[B, M, K]`, at least 0.
      count: N, the number of anchors.

    Returns:
      `[B, N]`; -1 for an anchor that no box has chosen.
    """
    nothing = jnp.full((count,), -1, values.dtype)
    return jax.vmap(lambda where, of_image: nothing.at[where].max(of_image, mode="drop"))(
        _places(claims, count), values.reshape(values.shape[0], -1)
    )


def first_of_anchors(claims: Claims, count: int) -> jax.Array:
    """The lowest slot that has chosen each anchor.

    Args:
      claims: the anchors that boxes have chosen.
      count: N, the number of anchors.

    Returns:
      `[B, N]` int32; M for an anchor that no box has chosen.
    """
    _, slots, candidates = claims.anchor.shape
    nothing = jnp.full((count,), slots, jnp.int32)
    slot = jnp.repeat(jnp.arange(slots, dtype=jnp.int32), candidates)
    return jax.vmap(lambda where: nothing.at[where].min(slot, mode="drop"))(_places(claims, count))


def number_of_anchors(claims: Claims, count: int) -> jax.Array:
    """Number of slots that have chosen each of `count` anchors: `[B, N]` int32."""
    nothing = jnp.zeros((count,), jnp.int32)
    return jax.vmap(lambda where: nothing.at[where].add(1, mode="drop"))(_places(claims, count))


def strongest(claims: Claims, values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Gives every anchor to the box with the highest value, or the first one of equals.

    Args:
      claims: the anchors that boxes have chosen.
      values: `[B, M, K]`, at least 0.
      count: N, the number of anchors.

    Returns:
      The slot, `[B, N]` int32, M for an anchor that no box has chosen; and its value, `[B, N]`, -1
      for such an anchor.
    """
    best = highest_of_anchors(claims, values, count)
    of_claims = jnp.take_along_axis(best, claims.anchor.reshape(best.shape[0], -1), axis=1).reshape(
        values.shape
    )
    # The same numbers are compared, not recomputed ones, which could be rounded differently.
    won = claims._replace(made=claims.made & (values >= of_claims))
    return first_of_anchors(won, count), best


def _places(claims: Claims, count: int) -> jax.Array:
    """Returns the anchors of the claims, `[B, M * K]`, or `count` where no claim is made."""
    where = jnp.where(claims.made, claims.anchor, count)
    return where.reshape(where.shape[0], -1)
