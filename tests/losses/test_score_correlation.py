import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses
from ioub_jax.losses.score_correlation import KINDS
from ioub_jax.losses.soft_ranks import soft_ranks

SCORES = np.array([0.1, 0.2, 0.6], np.float32)
IOUS = np.array([0.2, 0.4, 0.9], np.float32)


@jax.jit
def values_and_gradients(scores, ious, where):
    return {
        kind: jax.value_and_grad(
            lambda x, kind=kind: losses.correlation_loss(x, ious, kind=kind, where=where)
        )(scores)
        for kind in KINDS
    }


def test_by_hand():
    # Differences from the means .3 and .5: (-.2, -.1, .3) and (-.3, -.1, .4); sums of products
    # .06 + .01 + .12 = .19, of squares .14 and .26.
    pearson = losses.correlation_loss(SCORES, IOUS, kind="pearson")
    np.testing.assert_allclose(pearson, 1 - 0.19 / np.sqrt(0.14 * 0.26), rtol=1e-5)
    # By n - 1 = 2; the means are .2 apart.
    concordance = losses.correlation_loss(SCORES, IOUS)
    np.testing.assert_allclose(concordance, 1 - 0.19 / (0.07 + 0.13 + 0.04), rtol=1e-5)
    # Of equal order, and far apart by a strength of .01.
    found = losses.correlation_loss(SCORES, IOUS, kind="spearman")
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_soft_ranks_by_hand():
    everything = jnp.ones(3, bool)
    hard = soft_ranks(jnp.array([0.3, 0.9, 0.1]), everything, strength=0.01)
    np.testing.assert_allclose(hard, [2.0, 3.0, 1.0], atol=1e-5)
    # With a large strength numbers plus what makes their mean 2: .3 - .4333 + 2.
    soft = soft_ranks(jnp.array([0.3, 0.9, 0.1]), everything, strength=1.0)
    np.testing.assert_allclose(soft, [1.86667, 2.46667, 1.66667], rtol=1e-5)
    masked = soft_ranks(jnp.array([0.3, 7.0, 0.1]), jnp.array([True, False, True]), strength=0.01)
    np.testing.assert_allclose(masked[jnp.array([0, 2])], [2.0, 1.0], atol=1e-5)


def test_the_authors_strength_is_pearson():
    random = np.random.default_rng(0)
    scores, ious = random.uniform(size=(2, 30)).astype(np.float32)
    ours = losses.correlation_loss(scores, ious, kind="spearman", regularization_strength=1.0)
    np.testing.assert_allclose(ours, losses.correlation_loss(scores, ious, kind="pearson"), 1e-5)
    assert abs(losses.correlation_loss(scores, ious, kind="spearman") - ours) > 1e-3


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.lists(st.sampled_from([0.0, 1e-30, 0.5, 0.5, 1.0, 1e4, -1e4]), min_size=5, max_size=5),
    st.lists(st.sampled_from([0.0, 0.3, 0.3, 1.0]), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_always_finite(scores, ious, where):
    arguments = (jnp.asarray(x, jnp.float32) for x in (scores, ious))
    found = values_and_gradients(*arguments, jnp.asarray(where))
    for kind, (value, gradient) in found.items():
        assert -1e-5 <= value <= 2 + 1e-5, kind
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[~np.array(where)], 0.0)
        if sum(where) < 2:
            assert value == 0
            np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_count_does_not_matter_and_order_neither(kind):
    padded = losses.correlation_loss(
        np.array([0.6, 9.0, 0.1, 0.2], np.float32),
        np.array([0.9, 0.0, 0.2, 0.4], np.float32),
        kind=kind,
        where=np.array([True, False, True, True]),
    )
    np.testing.assert_allclose(
        padded, losses.correlation_loss(SCORES, IOUS, kind=kind), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps_make_scores_follow_the_ious(kind):
    random = np.random.default_rng(1)
    ious = jnp.asarray(random.uniform(size=20), jnp.float32)
    start = jnp.asarray(random.normal(size=20), jnp.float32)

    def loss(logits):
        # With a strength of what the scores are apart, or ranks have hardly a gradient.
        return losses.correlation_loss(
            jax.nn.sigmoid(logits), ious, kind=kind, regularization_strength=0.05
        )

    step = jax.jit(lambda logits: logits - jax.grad(loss)(logits))
    end = start
    for _ in range(50):
        end = step(end)
    assert loss(end) < 0.7 * loss(start)


def test_under_vmap_each_row_is_by_itself():
    scores, ious = jnp.stack([SCORES, SCORES[::-1]]), jnp.stack([IOUS, IOUS])
    found = jax.vmap(lambda x, y: losses.correlation_loss(x, y, kind="spearman"))(scores, ious)
    # The second has the order reversed.
    np.testing.assert_allclose(found, [0.0, 2.0], atol=1e-5)


@pytest.mark.parametrize("strength", [1e-3, 1e-8, 1e-30])
def test_soft_ranks_with_a_small_strength_are_ranks(strength):
    # Ranks 3, 1, 2 of both, and 3, 1, 2 and 1, 3, 2, which are opposite.
    scores = jnp.array([0.9, 0.2, 0.5])
    for ious, expected in (([0.8, 0.1, 0.3], 0.0), ([0.1, 0.8, 0.3], 2.0)):
        found = losses.correlation_loss(
            scores, jnp.array(ious), kind="spearman", regularization_strength=strength
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)
