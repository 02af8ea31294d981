import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax import losses


def logit(p):
    return math.log(p / (1 - p))


def test_by_hand():
    # Gradient norms .05, .05 and .55 of negatives, .55 of the positive with score .45.
    logits = jnp.array([[logit(0.05)], [logit(0.05)], [logit(0.55)], [logit(0.45)], [9.0]])
    labels = np.array([-1, -1, -1, 0, -2])
    loss, state = losses.ghm_c_loss(logits, labels)
    # Two in each of two bins: weights 1 / (2 * 2).
    expected = [-math.log(0.95) / 4] * 2 + [-math.log(0.45) / 4] * 2 + [0.0]
    np.testing.assert_allclose(loss[:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(state, [2, 0, 0, 0, 0, 2, 0, 0, 0, 0])


def test_momentum_keeps_the_counts_of_empty_bins():
    logits, labels = jnp.array([[logit(0.05)], [logit(0.55)]]), np.array([-1, -1])
    _, state = losses.ghm_c_loss(logits, labels, momentum=0.75)
    np.testing.assert_allclose(state, np.array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0]) * 0.25)
    where = np.array([[True], [False]])
    loss, state = losses.ghm_c_loss(logits, labels, state, momentum=0.75, where=where)
    # .75 * .25 + .25 in the first; one bin that is not empty.
    np.testing.assert_allclose(loss[:, 0], [-math.log(0.95) / 0.4375, 0.0], rtol=1e-5)
    np.testing.assert_allclose(state[jnp.array([0, 5])], [0.4375, 0.25])


def test_box_loss_by_hand():
    # d = .3, mu = .4: sqrt(.09 + .16) - .4 = .1, gradient norm .6; d = 0: 0, 0.
    loss, state = losses.ghm_r_loss(jnp.array([1.3, 2.0]), jnp.array([1.0, 2.0]), mu=0.4, bins=5)
    np.testing.assert_allclose(loss, [0.1 / 2, 0.0], rtol=1e-5)
    assert jnp.sum(state) == 2
    np.testing.assert_allclose(
        jax.grad(lambda x: jnp.sum(losses.ghm_r_loss(x, jnp.array([1.0]), mu=0.4)[0]))(
            jnp.array([1.3])
        ),
        [0.6],
        rtol=1e-5,
    )


@jax.jit
def values_and_gradients(x, labels, where):
    def classified(x):
        return jnp.sum(losses.ghm_c_loss(x, labels, where=where)[0])

    def located(x):
        return jnp.sum(losses.ghm_r_loss(x, jnp.zeros_like(x), where=where)[0])

    return [jax.value_and_grad(loss)(x) for loss in (classified, located)]


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
    st.lists(
        st.one_of(st.floats(-1e4, 1e4, width=32), st.sampled_from([0.0, 1e4, -1e4, 1e30])),
        min_size=6,
        max_size=6,
    ),
    st.lists(st.integers(-2, 1), min_size=3, max_size=3),
    st.booleans(),
)
def test_always_finite(x, labels, some):
    for dtype in (jnp.float32, jnp.bfloat16):
        where = np.full((3, 2), some)
        where[0] = False
        found = values_and_gradients(
            jnp.asarray(x, dtype).reshape(3, 2), np.array(labels, np.int32), where
        )
        for value, gradient in found:
            assert np.isfinite(value)
            assert value.dtype == jnp.float32
            assert np.isfinite(np.asarray(gradient, np.float32)).all()
            if not some:
                assert value == 0


def test_fifty_steps_lower_it():
    random = np.random.default_rng(0)
    labels = random.integers(-1, 2, 20)
    start = jnp.asarray(random.normal(size=(20, 2)), jnp.float32)
    plain = jax.jit(lambda z: jnp.sum(losses.ghm_c_loss(z, labels)[0]))
    step = jax.jit(
        lambda z: z - 2.0 * jax.grad(lambda z: jnp.sum(losses.ghm_c_loss(z, labels)[0]))(z)
    )
    end = start
    for _ in range(50):
        end = step(end)
    matched = np.flatnonzero(labels >= 0), labels[labels >= 0]
    assert plain(end) < plain(start)
    assert (end[matched] > start[matched]).all()
