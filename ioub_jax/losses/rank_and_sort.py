"""Rank & Sort loss (arXiv 2107.11669), and its bucketed form (arXiv 2407.14204).

Both sort a batch as a whole: the loss of each positive measures how many negatives, and how many
positives with a smaller IoU, are ranked above it. Their gradient is not a derivative but an
"identity update": the logit of a positive is raised by its error, and the logits that cause the
error are lowered by shares of it. The gradients of the error of one positive thus add up to 0.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax.boxes import at_least_float32
from ioub_jax.losses.classification_arguments import check_exponents, check_logits
from ioub_jax.losses.pairs import Listed, sums_over
from ioub_jax.losses.positives_first import (
    BLOCK,
    Ranking,
    half_width,
    negatives_above,
    ranked_above,
    shared_among_negatives,
    sort_out,
)
from ioub_jax.losses.sigmoids import one_hot_and_counted, without

# A smaller sum of relations counts as 0, and distributes no gradient.
_SMALLEST_SUM = 1e-10


def rank_and_sort_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    delta: float = 0.5,
    sorting_weight: float = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Rank & Sort loss (arXiv 2107.11669) of each positive.

    With H the step function that is linear within delta of 0, and sums over negatives n and
    positives j, the loss of a positive i is the sum of two errors:

    - ranking error: `r_i = F_i / (P_i + F_i)` with `F_i = sum_n H(z_n - z_i)` and `P_i = sum_j
      H(z_j - z_i)`, which includes j = i as in the authors' code;
    - sorting error: the weighted mean `sum_j H(z_j - z_i) (1 - q_j) / P_i` with q the IoUs, minus
      the same weighted mean over only those j with `q_j >= q_i`.

    **Divide the sum by the number of positives** to obtain the authors' loss. All entries of all
    anchors are ranked together; with `jax.vmap` each image is ranked separately. In the authors'
    code a positive with IoU 0 is a negative, and a weight of the sorting loss is lost in the
    backward pass; neither is the case here.

    Memory is that of a few arrays of the logits' size, since no matrix of all pairs is created.
    Time is proportional to twice the number of positives times the number of entries;
    `bucketed_rank_and_sort_loss` needs less.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` in 0..1; used only at positives, and no gradient flows to them.
      delta: half the width of the step in logits, at least 0; 0 for a hard step, in which equal
        logits count as ranked above.
      sorting_weight: factor of the sorting error; with 0 only the ranking error remains.
      where: `[...]` bool, whether each anchor counts; None: all that are not ignored.

    Returns:
      `[...]`, float32, or float64 if an input is; 0 for anchors that are not positive.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    delta = half_width(delta)
    ranking, shape = _sorted_out(logits, labels, ious, sorting_weight, where)
    qualities = ranking.of_positives(_qualities(ious, ranking.negatives.dtype))
    entries = ranking.negatives.size
    return _loss(ranking, qualities, entries, entries, delta, sorting_weight).reshape(shape)


def bucketed_rank_and_sort_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    *,
    delta: float = 0.5,
    sorting_weight: float = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Bucketed Rank & Sort loss (arXiv 2407.14204) of each positive.

    This is `rank_and_sort_loss` with all negatives between two neighboring positives replaced by
    their mean, which makes no difference for delta 0. As in the authors' code, the negatives more
    than delta below the lowest positive are left out of the last mean, and all negatives of a
    bucket have equal shares of its gradient.

    Time is that of finding the bucket of each entry, plus the square of the number of positives.
    Memory is that of a few arrays of the logits' size.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      ious: `[...]` in 0..1; used only at positives, and no gradient flows to them.
      delta: as in `rank_and_sort_loss`.
      sorting_weight: as in `rank_and_sort_loss`.
      where: `[...]` bool, whether each anchor counts; None: all that are not ignored.

    Returns:
      `[...]`, float32, or float64 if an input is; 0 for anchors that are not positive.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    delta = half_width(delta)
    ranking, shape = _sorted_out(logits, labels, ious, sorting_weight, where)
    qualities = ranking.of_positives(_qualities(ious, ranking.negatives.dtype))
    bucketed = _in_buckets(ranking, delta)
    there = ranking.number + 1
    return _loss(bucketed, qualities, there, BLOCK, delta, sorting_weight).reshape(shape)


def _sorted_out(
    logits: ArrayLike,
    labels: ArrayLike,
    ious: ArrayLike,
    sorting_weight: float,
    where: ArrayLike | None,
) -> tuple[Ranking, tuple[int, ...]]:
    """Checks the arguments; returns the ranking and the shape of the anchors."""
    check_logits(logits, labels, ious=ious, where=where)
    check_exponents(sorting_weight=sorting_weight)
    logits, _ = at_least_float32(logits, ious)
    masks = one_hot_and_counted(without(labels, where), logits.shape[-1])
    return sort_out(logits, *masks), logits.shape[:-1]


def _qualities(ious: ArrayLike, dtype: Any) -> jax.Array:
    return jnp.asarray(jax.lax.stop_gradient(ious)).astype(dtype)


def _in_buckets(ranking: Ranking, delta: float) -> Ranking:
    """The ranking with the negatives between two neighboring positives replaced by their mean."""
    place = jnp.arange(ranking.positives.size, dtype=jnp.int32)
    positives = jax.lax.stop_gradient(ranking.positives)
    ascending = jnp.sort(jnp.where(place < ranking.number, positives, jnp.inf))
    values = ranking.negatives
    near = (ranking.sizes > 0) & ~(values < ascending[0] - delta)
    # A negative that equals a positive counts as ranked above it, so it is in the bucket above. The
    # last bucket in use also holds infinity and NaN, which are sorted after the padding.
    bucket = jnp.searchsorted(ascending, jax.lax.stop_gradient(values), side="right")
    bucket = jnp.minimum(bucket.astype(jnp.int32), ranking.number)
    segments = ranking.positives.size + BLOCK

    def total(of_entries: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(jnp.where(near, of_entries, 0.0), bucket, num_segments=segments)

    # Counted in integers: a sum of ones in float32 would stop at 2^24.
    whole = jax.ops.segment_sum(near.astype(jnp.int32), bucket, num_segments=segments)
    sizes = whole.astype(values.dtype)
    # The mean is computed relative to one logit of the bucket: a sum of many nearly equal logits
    # would be inexact in float32, but a sum of their differences is exact enough.
    one = jax.ops.segment_max(
        jnp.where(near, jax.lax.stop_gradient(values), -jnp.inf), bucket, num_segments=segments
    )
    one = jnp.where(sizes > 0, one, 0.0)
    share = 1.0 / jnp.maximum(sizes, 1.0)[bucket]
    one = one + total((jax.lax.stop_gradient(values) - one[bucket]) * share)
    means = one + total((values - one[bucket]) * share)
    return ranking._replace(negatives=means, sizes=jax.lax.stop_gradient(sizes))


def _loss(
    ranking: Ranking,
    qualities: jax.Array,
    there: jax.Array | int,
    block: int,
    delta: float,
    sorting_weight: float,
) -> jax.Array:
    """The weighted errors of all anchors, computed with `there` negatives in blocks."""
    errors = _errors((delta, block), ranking, qualities, jnp.asarray(there, jnp.int32))
    return ranking.of_anchors(errors[0] + sorting_weight * errors[1])


_Pair = tuple[jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _errors(
    step: tuple[float, int], ranking: Ranking, qualities: jax.Array, there: jax.Array
) -> _Pair:
    """Ranking and sorting errors `[L]` of positives."""
    return _errors_and_shares(step, ranking, qualities, there)[0]


def _errors_and_shares(
    step: tuple[float, int], ranking: Ranking, qualities: jax.Array, there: jax.Array
) -> tuple[_Pair, _Pair]:
    """Both errors `[L]`, and for both the share of a cause whose relation is 1, `[L]`."""
    delta, block = step

    def of_positives(mine: list[jax.Array], theirs: list[jax.Array]) -> tuple[jax.Array, ...]:
        above = ranked_above(theirs[0], mine[0], delta)
        as_good = theirs[1] >= mine[1]
        right, wrong = jnp.where(as_good, above, 0.0), jnp.where(as_good, 0.0, above)
        lost = 1.0 - theirs[1]
        return right, right * lost, wrong, wrong * lost

    positives = Listed((ranking.positives, qualities), ranking.number, BLOCK)
    right, right_lost, wrong, wrong_lost = sums_over(of_positives, positives, positives)
    false = negatives_above(ranking, delta, block, there)
    rank = right + wrong + false
    # Entries that are not in use may have rank 0.
    of_ranking = 1.0 / jnp.where(ranking.is_positive, rank, 1.0)
    # The difference of two quotients as a single quotient, which is exactly 0 if no positive is
    # sorted wrongly.
    both = jnp.where(ranking.is_positive, (right + wrong) * right, 1.0)
    sorting = (wrong_lost * right - right_lost * wrong) / both
    shared = wrong > _SMALLEST_SUM
    of_sorting = jnp.where(shared, sorting / jnp.where(shared, wrong, 1.0), 0.0)
    return (false * of_ranking, sorting), (of_ranking, of_sorting)


def _forward(
    step: tuple[float, int], ranking: Ranking, qualities: jax.Array, there: jax.Array
) -> tuple[_Pair, Any]:
    errors, shares = _errors_and_shares(step, ranking, qualities, there)
    return errors, (ranking, qualities, there, errors, shares)


def _backward(step: tuple[float, int], kept: Any, factors: _Pair) -> tuple[Any, None, None]:
    """The identity update: the gradient that lowers each error at each of its causes."""
    delta, block = step
    ranking, qualities, there, errors, shares = kept
    of_ranking, of_sorting = (
        jnp.where(ranking.is_positive, factor * share, 0.0)
        for factor, share in zip(factors, shares, strict=True)
    )

    def of_worse(mine: list[jax.Array], theirs: list[jax.Array]) -> tuple[jax.Array]:
        above = ranked_above(mine[0], theirs[0], delta)
        return (jnp.where(mine[1] >= theirs[1], 0.0, above * theirs[2]),)

    positives = Listed((ranking.positives, qualities), ranking.number, BLOCK)
    erring = Listed((*positives.arrays, of_sorting), ranking.number, BLOCK)
    (lowered,) = sums_over(of_worse, positives, erring)
    sorting = jnp.where(shares[1] != 0, factors[1] * errors[1], 0.0)
    of_positives = jnp.where(ranking.is_positive, lowered - factors[0] * errors[0] - sorting, 0.0)
    of_negatives = shared_among_negatives(of_ranking, ranking, delta, block, there)
    no_gradient = ranking._replace(
        order=None, positives=of_positives, number=None, negatives=of_negatives, sizes=None
    )
    return no_gradient, None, None


_errors.defvjp(_forward, _backward)
