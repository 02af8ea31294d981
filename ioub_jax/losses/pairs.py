"""Sums over pairs of logits, in blocks: the basis of ranking losses, without a matrix of pairs.

The number of computed blocks depends on the number of entries in use, not on the size of the
arrays.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

_Carry = TypeVar("_Carry")


class Listed(NamedTuple):
    """Arrays with a value for each entry, of which the first `number` entries are in use.

    Attributes:
      arrays: the arrays, each `[L]`.
      number: `[]` int32, the number of entries in use; L if all are in use.
      block: number of entries processed together; L is a multiple of it.
    """

    arrays: tuple[jax.Array, ...]
    number: jax.Array | int
    block: int


def sums_over(
    of_pairs: Callable[[list[jax.Array], list[jax.Array]], Sequence[jax.Array]],
    own: Listed,
    others: Listed,
) -> tuple[jax.Array, ...]:
    """Result of `of_pairs` for each entry of `own`, summed over the entries of `others`.

    Args:
      of_pairs: maps the arrays of `own`, `[I, 1]`, and of `others`, `[1, J]`, to arrays `[I, J]`.
      own: the entries that get a sum.
      others: the entries that they are paired with.

    Returns:
      Arrays `[L]` as long as those of `own`; values beyond the entries in use are undefined.
    """
    results = len(jax.eval_shape(of_pairs, *_one_pair(own, others)))
    # `shard_map` requires that the initial values of a loop vary over the same devices as its
    # results.
    firsts = [x[:1] for x in (*own.arrays, *others.arrays)]
    differs = sum((jnp.sum(first != first, dtype=jnp.int32) for first in firsts), start=0)
    differs = differs + jnp.int32(own.number) + jnp.int32(others.number)
    zeros = jnp.where(differs < 0, 1.0, jnp.zeros_like(own.arrays[0]))

    def of_block(start: jax.Array, found: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        mine = [_cut(x, start, own.block)[:, None] for x in own.arrays]

        def add(begin: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            theirs = [_cut(x, begin, others.block)[None, :] for x in others.arrays]
            place = begin + jax.lax.broadcasted_iota(jnp.int32, (1, others.block), 1)
            there = jnp.broadcast_to(place < others.number, (own.block, others.block))
            values = of_pairs(mine, theirs)
            return tuple(
                s + jnp.sum(jnp.where(there, v, 0.0), axis=1)
                for s, v in zip(sums, values, strict=True)
            )

        sums = _fold(others, add, (zeros[: own.block],) * results)
        return tuple(
            jax.lax.dynamic_update_slice(whole, part, (start,))
            for whole, part in zip(found, sums, strict=True)
        )

    return _fold(own, of_block, (zeros,) * results)


def _fold(listed: Listed, body: Callable[[jax.Array, _Carry], _Carry], carry: _Carry) -> _Carry:
    """Calls `body` with the start of every block and the carry, one block after another."""
    if listed.block >= listed.arrays[0].size:
        return body(jnp.int32(0), carry)
    blocks = (listed.number + listed.block - 1) // listed.block
    folded: _Carry = jax.lax.fori_loop(
        jnp.int32(0), jnp.int32(blocks), lambda i, carry: body(i * listed.block, carry), carry
    )
    return folded


def _cut(values: jax.Array, start: jax.Array, size: int) -> jax.Array:
    if size >= values.size:
        return values
    return jax.lax.dynamic_slice(values, (start,), (size,))


def _one_pair(*lists: Listed) -> list[list[jax.ShapeDtypeStruct]]:
    return [[jax.ShapeDtypeStruct((1, 1), x.dtype) for x in each.arrays] for each in lists]
