import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses

LABELS = np.array([0, 2, -1, -2], np.int32)
IOUS = np.array([1.0, 0.0, 0.5, 0.9], np.float32)
LOSSES = {
    "mal": losses.matchability_aware_loss,
    "ia_bce": losses.iou_aware_bce_loss,
}


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


@jax.jit
def values_and_gradients(logits, ious):
    def total(formula, logits):
        return jnp.sum(formula(logits, LABELS, ious))

    return {
        name: jax.value_and_grad(lambda z, formula=formula: total(formula, z))(logits)
        for name, formula in LOSSES.items()
    }


def test_matchability_aware_loss():
    logits, labels = jnp.array([[1.0, -2.0]] * 2), jnp.array([0, 0])
    loss = losses.matchability_aware_loss(logits, labels, jnp.array([0.64, 0.0]))
    p, q = sigmoid(1), sigmoid(-2)
    # .64^1.5 = .512; the weight of the other class is q^1.5. With IoU 0 the target is 0, weight 1.
    matched = -(0.512 * math.log(p) + 0.488 * math.log(1 - p))
    other = q**1.5 * -math.log(1 - q)
    np.testing.assert_allclose(loss, [[matched, other], [-math.log(1 - p), other]], rtol=1e-5)
    of_alpha = losses.matchability_aware_loss(logits, labels, jnp.array([0.64, 0.0]), alpha=0.5)
    np.testing.assert_allclose(of_alpha[:, 1], 0.5 * loss[:, 1], rtol=1e-6)


def test_weights_of_negatives_are_detached_or_not():
    def total(logit, detach):
        return jnp.sum(
            losses.matchability_aware_loss(
                logit[None, None], [-1], [0.0], gamma=2.0, detach_weights=detach
            )
        )

    # At 0: p^2 p with the weight constant; and 2 p p (1 - p) softplus besides.
    np.testing.assert_allclose(jax.grad(total)(jnp.float32(0.0), True), 0.125, rtol=1e-6)
    expected = 0.125 + 0.25 * math.log(2)
    np.testing.assert_allclose(jax.grad(total)(jnp.float32(0.0), False), expected, rtol=1e-6)


def test_iou_aware_bce_loss():
    logits, labels = jnp.array([[0.0, -2.0]] * 2), jnp.array([0, 0])
    loss = losses.iou_aware_bce_loss(logits, labels, jnp.array([0.5, 0.0]))
    q = sigmoid(-2)
    # t = .5^.25 .5^.75 = .5, at score .5 the cross entropy is log 2 for any t; the other q^2.
    other = q**2 * -math.log(1 - q)
    np.testing.assert_allclose(loss, [[math.log(2), other]] * 2, rtol=1e-5)
    gradient = jax.grad(lambda z: jnp.sum(losses.iou_aware_bce_loss(z, labels, [0.5, 0.0])))(logits)
    # p - t: 0, and .5 - .01 where the target is at its least.
    np.testing.assert_allclose(gradient[:, 0], [0.0, 0.49], atol=1e-6)
    halved = losses.iou_aware_bce_loss(logits + 1, labels, [0.5, 0.0], target_weights=[0.5, 1.0])
    t = 0.5 * sigmoid(1) ** 0.25 * 0.5**0.75
    expected = -(t * math.log(sigmoid(1)) + (1 - t) * math.log(1 - sigmoid(1)))
    np.testing.assert_allclose(halved[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    st.lists(
        st.one_of(st.floats(-1e4, 1e4, width=32), st.sampled_from([0.0, -1e4, 1e4, 88.0, 1e30])),
        min_size=12,
        max_size=12,
    ),
    st.lists(st.sampled_from([0.0, 1e-30, 0.3, 1.0]), min_size=4, max_size=4),
)
def test_finite_for_any_logits_and_ious(dtype, logits, ious):
    logits = jnp.asarray(logits, dtype).reshape(4, 3)
    for value, gradient in values_and_gradients(logits, jnp.asarray(ious, jnp.float32)).values():
        assert np.isfinite(value)
        assert value.dtype == jnp.float32
        assert np.isfinite(np.asarray(gradient, np.float32)).all()
        np.testing.assert_array_equal(gradient[3], 0.0)  # the ignored anchor


@pytest.mark.parametrize("name", LOSSES)
def test_no_gradient_by_ious_and_leading_dimensions_are_free(name):
    formula = LOSSES[name]
    logits = jnp.linspace(-3, 3, 24).reshape(2, 4, 3)
    labels, ious = jnp.stack([LABELS, LABELS[::-1]]), jnp.stack([IOUS, IOUS[::-1]])
    gradient = jax.grad(lambda ious: jnp.sum(formula(logits, labels, ious)))(ious)
    np.testing.assert_array_equal(gradient, 0.0)
    together = formula(logits, labels, ious)
    np.testing.assert_allclose(jax.vmap(formula)(logits, labels, ious), together, rtol=1e-6)
    weighted = formula(logits, labels, ious, class_weights=jnp.array([2.0, 1.0, 1.0]))
    np.testing.assert_allclose(weighted[0, 0], together[0, 0] * np.float32([2, 1, 1]), rtol=1e-6)
