"""Average localization recall precision loss, aLRP (arXiv 2009.13592)."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax.boxes import at_least_float32
from ioub_jax.losses.classification_arguments import check_logits
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

# A positive with fewer negatives above it distributes no gradient, as in the authors' code.
_FEWEST_NEGATIVES = 1e-5


class AverageLRPLoss(NamedTuple):
    """The two parts of the loss of each positive, `[...]`; 0 for other anchors.

    Attributes:
      classification: `F_i / rank_i`, 1 minus the precision at this positive. It carries the whole
        gradient with respect to the logits.
      localization: `(e_i + sum_j H(z_j - z_i) e_j) / rank_i`, with a gradient with respect to the
        localization losses only.
    """

    classification: jax.Array
    localization: jax.Array


def average_lrp_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    localization_losses: ArrayLike,
    *,
    delta: float = 1.0,
    where: ArrayLike | None = None,
) -> AverageLRPLoss:
    """Average localization recall precision loss, aLRP (arXiv 2009.13592).

    The loss of a positive i is `(F_i + e_i + sum_j H(z_j - z_i) e_j) / rank_i`, with sums over
    negatives n and the other positives j, `F_i = sum_n H(z_n - z_i)`, `rank_i = 1 + sum_j H(z_j -
    z_i) + F_i`, and H the step function that is linear within delta of 0. The gradient with respect
    to the logits is the identity update: `(F_i + sum_j H e_j) / rank_i` raises `z_i` and is
    distributed over the negatives above it. With localization losses of 0 it is the AP loss.

    **Divide the sums by the number of positives** to obtain the loss of the paper. The authors'
    code returns only the classification part as the loss. It orders the positives of the
    localization part with a hard step, and divides that part by the same rank.

    Memory is that of a few arrays of the logits' size. Time is proportional to twice the number of
    positives times the number of entries.

    Args:
      logits: `[..., C]`; all entries of all anchors are ranked together.
      labels: `[...]` int: 0..C-1, -1 background, -2 ignored.
      localization_losses: `[...]`, the `e` above, in 0..1, such as `1 - IoU`; used only at
        positives.
      delta: half the width of the step in logits, at least 0; 0 for a hard step.
      where: `[...]` bool, whether each anchor counts; None: all that are not ignored.

    Returns:
      An `AverageLRPLoss`: `classification` and `localization`, each `[...]`, float32,
      or float64 if an input is.

    Raises:
      TypeError: labels are not integers, or another argument is not numeric.
      ValueError: a shape does not fit the logits', or a hyperparameter is out of range.
    """
    check_logits(logits, labels, localization_losses=localization_losses, where=where)
    delta = half_width(delta)
    logits, losses = at_least_float32(logits, localization_losses)
    labels = without(labels, where)
    ranking = sort_out(logits, *one_hot_and_counted(labels, logits.shape[-1]))
    losses = ranking.of_positives(jnp.where(labels >= 0, losses, 0.0))
    both = _errors(delta, ranking, losses)
    return AverageLRPLoss(*(ranking.of_anchors(part).reshape(labels.shape) for part in both))


_Pair = tuple[jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _errors(delta: float, ranking: Ranking, losses: jax.Array) -> _Pair:
    """Both parts of the loss of the positives, each `[L]`."""
    return _forward(delta, ranking, losses)[0]


def _forward(delta: float, ranking: Ranking, losses: jax.Array) -> tuple[_Pair, Any]:
    def of_positives(mine: list[jax.Array], theirs: list[jax.Array]) -> tuple[jax.Array, ...]:
        above = jnp.where(mine[1] == theirs[2], 0.0, ranked_above(theirs[0], mine[0], delta))
        return above, above * theirs[1]

    own, others = _lists(ranking, losses)
    ahead, their_losses = sums_over(of_positives, own, others)
    entries = ranking.negatives.size
    false = negatives_above(ranking, delta, entries, jnp.int32(entries))
    rank = 1.0 + ahead + false
    parts = (false / rank, (losses + their_losses) / rank)
    shared = false > _FEWEST_NEGATIVES
    update = jnp.where(shared, (false + their_losses) / rank, 0.0)
    share = jnp.where(shared, update / jnp.where(shared, false, 1.0), 0.0)
    return parts, (ranking, rank, update, share)


def _backward(delta: float, kept: Any, factors: _Pair) -> tuple[Any, jax.Array]:
    ranking, rank, update, share = kept
    of_logits, of_losses = (jnp.where(ranking.is_positive, factor, 0.0) for factor in factors)
    entries = ranking.negatives.size
    of_negatives = shared_among_negatives(
        of_logits * share, ranking, delta, entries, jnp.int32(entries)
    )

    def of_better(mine: list[jax.Array], theirs: list[jax.Array]) -> tuple[jax.Array]:
        above = jnp.where(mine[1] == theirs[2], 0.0, ranked_above(mine[0], theirs[0], delta))
        return (above * theirs[1],)

    of_losses = of_losses / rank
    (by_losses,) = sums_over(of_better, *_lists(ranking, of_losses))
    by_losses = jnp.where(ranking.is_positive, by_losses + of_losses, 0.0)
    of_ranking = ranking._replace(
        order=None, positives=-of_logits * update, number=None, negatives=of_negatives, sizes=None
    )
    return of_ranking, by_losses


def _lists(ranking: Ranking, values: jax.Array) -> tuple[Listed, Listed]:
    """Two lists of the positives with their places, to be paired; the second also has values."""
    place = jnp.arange(ranking.positives.size, dtype=jnp.int32)
    own = Listed((ranking.positives, place), ranking.number, BLOCK)
    return own, Listed((ranking.positives, values, place), ranking.number, BLOCK)


_errors.defvjp(_forward, _backward)
