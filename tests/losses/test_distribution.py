import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax import losses


def test_by_hand():
    # Softmax of (0, log 2, 0) is (1/4, 1/2, 1/4); a target of .25 is between bins 0 and 1.
    logits = jnp.array([[0.0, math.log(2), 0.0]] * 4)
    loss = losses.distribution_focal_loss(logits, jnp.array([0.25, 2.0, -1.0, 7.0]))
    expected = 0.75 * math.log(4) + 0.25 * math.log(2)
    np.testing.assert_allclose(loss, [expected] + [math.log(4)] * 3, rtol=1e-6)
    # 0/4 + 1/2 + 2/4.
    np.testing.assert_allclose(losses.decode_distribution(logits[0]), 1.0, rtol=1e-6)


def test_the_least_loss_decodes_to_the_target():
    target = jnp.float32(1.3)

    def loss(logits):
        return losses.distribution_focal_loss(logits, target)

    step = jax.jit(lambda logits: logits - jax.grad(loss)(logits))
    logits = jnp.zeros(4)
    for _ in range(50):
        logits = step(logits)
    assert loss(logits) < loss(jnp.zeros(4))
    np.testing.assert_allclose(losses.decode_distribution(logits), 1.3, atol=0.03)
    np.testing.assert_array_equal(
        jax.grad(lambda t: losses.distribution_focal_loss(jnp.zeros(4), t))(target), 0.0
    )


@jax.jit
def value_and_gradient(logits, targets):
    def total(logits):
        loss = jnp.sum(losses.distribution_focal_loss(logits, targets))
        return loss + jnp.sum(losses.decode_distribution(logits))

    return jax.value_and_grad(total)(logits)


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=10, max_size=10),
    st.lists(st.floats(-10, 20, width=32), min_size=2, max_size=2),
)
def test_always_finite(logits, targets):
    for dtype in (jnp.float32, jnp.bfloat16):
        value, gradient = value_and_gradient(
            jnp.asarray(logits, dtype).reshape(2, 5), jnp.asarray(targets, jnp.float32)
        )
        assert np.isfinite(value)
        assert value.dtype == jnp.float32
        assert np.isfinite(np.asarray(gradient, np.float32)).all()
