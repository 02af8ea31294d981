"""A score that is NaN is seen in the loss: nothing that sorts or compares may pass it over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses

LABELS = np.array([0, 1, -1, -1, 1, -2])
IOUS = np.array([0.9, 0.6, 0.0, 0.0, 0.7, 0.0], np.float32)
LOGITS = np.array([[2, 0], [1, 3], [0, 1], [1, 1], [0, 2], [5, 5]], np.float32)

RANKING = {
    f"{name}, delta {delta}": lambda logits, function=function, delta=delta: jnp.sum(
        jnp.stack(jax.tree.leaves(function(logits, LABELS, IOUS, delta=delta)))
    )
    for name, function in {
        "rank_and_sort_loss": losses.rank_and_sort_loss,
        "bucketed_rank_and_sort_loss": losses.bucketed_rank_and_sort_loss,
        "average_lrp_loss": losses.average_lrp_loss,
    }.items()
    for delta in (0.5, 0.0)
}


@pytest.mark.parametrize("name", RANKING)
def test_a_ranking_loss_of_a_nan_is_nan(name):
    loss = jax.jit(RANKING[name])
    assert np.isfinite(loss(LOGITS))
    for anchor, entry in ((0, 0), (2, 1)):  # the matched entry of a positive, and a negative
        logits = LOGITS.copy()
        logits[anchor, entry] = np.nan
        assert np.isnan(loss(logits)), (anchor, entry)
    ignored = LOGITS.copy()
    ignored[5] = np.nan
    np.testing.assert_array_equal(loss(ignored), loss(LOGITS))


@pytest.mark.parametrize("kind", ["concordance", "pearson", "spearman"])
def test_a_correlation_with_a_nan_is_nan(kind):
    positive = LABELS >= 0
    scores = np.array([0.9, 0.2, 0.1, 0.3, 0.5, 0.4], np.float32)
    loss = jax.jit(lambda s: losses.correlation_loss(s, IOUS, kind=kind, where=positive))
    assert np.isfinite(loss(scores))
    assert np.isnan(loss(np.where(np.arange(6) == 1, np.nan, scores)))
    np.testing.assert_array_equal(loss(np.where(positive, scores, np.nan)), loss(scores))


def test_a_nan_is_the_first_that_is_mined():
    """One negative is kept for the positive: the NaN, beside a loss of 9."""
    labels = np.array([[0, -1, -1, -1, -2]])
    loss = np.array([[1.0, 9.0, np.nan, 0.1, np.nan]], np.float32)
    mask = losses.hard_negative_mask(loss, labels, ratio=1)
    assert mask.tolist() == [[False, False, True, False, False]]
