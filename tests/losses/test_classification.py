import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses

LABELS = np.array([0, 2, -1, -2], np.int32)
IOUS = np.array([0.8, 0.0, 0.5, 0.9], np.float32)
DENSE = {
    "focal": lambda z: losses.sigmoid_focal_loss(z, LABELS),
    "focal, gamma 0": lambda z: losses.sigmoid_focal_loss(z, LABELS, gamma=0.0),
    "focal, gamma 0.5": lambda z: losses.sigmoid_focal_loss(z, LABELS, gamma=0.5),
    "quality focal": lambda z: losses.quality_focal_loss(z, LABELS, IOUS),
    "quality focal, beta 0.5": lambda z: losses.quality_focal_loss(z, LABELS, IOUS, beta=0.5),
    "varifocal": lambda z: losses.varifocal_loss(z, LABELS, IOUS),
    "varifocal, gamma 0.5": lambda z: losses.varifocal_loss(z, LABELS, IOUS, gamma=0.5),
    "softmax": lambda z: losses.softmax_cross_entropy(z, LABELS)[:, None],
}


def _value_and_gradient(loss):
    return jax.jit(jax.value_and_grad(lambda z: jnp.sum(loss(z))))


# Compiled once for all the logits they are tried on.
VALUE_AND_GRADIENT = {name: _value_and_gradient(loss) for name, loss in DENSE.items()}
FOCAL = jax.jit(losses.sigmoid_focal_loss)
MATCHED_FOCAL = jax.jit(losses.sigmoid_focal_loss_of_matched_class)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def test_sigmoid_focal_loss():
    loss = losses.sigmoid_focal_loss(jnp.array([[1.0, -2.0]]), jnp.array([0]))
    # The matched class: p_t = sigmoid(1), weight alpha; the other: p_t = 1 - sigmoid(-2).
    matched = -0.25 * (1 - sigmoid(1)) ** 2 * math.log(sigmoid(1))
    other = -0.75 * sigmoid(-2) ** 2 * math.log(1 - sigmoid(-2))
    np.testing.assert_allclose(loss, [[matched, other]], rtol=1e-6)


def test_sigmoid_focal_loss_with_gamma_0_is_weighted_cross_entropy():
    loss = losses.sigmoid_focal_loss(jnp.array([[3.0]]), jnp.array([0]), gamma=0.0, alpha=0.5)
    np.testing.assert_allclose(loss, [[-0.5 * math.log(sigmoid(3))]], rtol=1e-6)


def test_sigmoid_focal_loss_of_background_and_ignored():
    loss = losses.sigmoid_focal_loss(jnp.zeros((2, 1)), jnp.array([-1, -2]))
    # At logit 0: 0.75 * 0.5^2 * ln 2 for background, nothing for what is ignored.
    np.testing.assert_allclose(loss, [[0.1875 * math.log(2)], [0.0]], rtol=1e-6)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.lists(st.floats(-30, 30, width=32), min_size=12, max_size=12),
    st.lists(st.integers(-2, 2), min_size=4, max_size=4),
)
def test_matched_class_loss_is_an_entry_of_the_focal_loss(logits, labels):
    logits = np.array(logits, np.float32).reshape(4, 3)
    labels = np.array(labels, np.int32)
    loss = np.asarray(FOCAL(logits, labels, alpha=0.3, gamma=1.5))
    entries = [row[label] if label >= 0 else 0.0 for row, label in zip(loss, labels, strict=True)]
    matched = MATCHED_FOCAL(logits, labels, alpha=0.3, gamma=1.5)
    np.testing.assert_allclose(matched, entries, rtol=1e-5, atol=1e-30)


def test_matched_class_loss_has_no_gradient():
    def total(logits):
        return jnp.sum(losses.sigmoid_focal_loss_of_matched_class(logits, LABELS))

    np.testing.assert_array_equal(jax.grad(total)(jnp.ones((4, 3))), 0.0)


def test_softmax_cross_entropy():
    logits = jnp.array([[1.0, 2.0, 3.0]] * 4)
    loss = losses.softmax_cross_entropy(logits, jnp.array([-1, 0, 1, -2]))
    # Background is column 0, class 0 column 1, class 1 column 2; ignored has no loss.
    total = math.log(math.exp(1) + math.exp(2) + math.exp(3))
    np.testing.assert_allclose(loss, [total - 1, total - 2, total - 3, 0.0], rtol=1e-6)


def test_quality_focal_loss():
    logits, labels = jnp.array([[1.0, -2.0]]), jnp.array([0])
    loss = losses.quality_focal_loss(logits, labels, jnp.array([0.6]))
    # Target 0.6 at the matched class and 0 at the other.
    p, q = sigmoid(1), sigmoid(-2)
    matched = (0.6 - p) ** 2 * -(0.6 * math.log(p) + 0.4 * math.log(1 - p))
    np.testing.assert_allclose(loss, [[matched, q**2 * -math.log(1 - q)]], rtol=1e-5)


def test_quality_focal_loss_at_its_target():
    logits = jnp.zeros((1, 1))
    for beta, expected in ((2.0, 0.0), (0.5, 0.0), (0.0, math.log(2))):
        value, gradient = _value_and_gradient(
            lambda z, beta=beta: losses.quality_focal_loss(
                z, jnp.array([0]), jnp.array([0.5]), beta=beta
            )
        )(logits)
        np.testing.assert_allclose(value, expected, atol=1e-7)
        assert np.isfinite(gradient).all()


def test_varifocal_loss():
    logits, labels = jnp.array([[1.0, -2.0]] * 2), jnp.array([0, 0])
    loss = losses.varifocal_loss(logits, labels, jnp.array([0.6, 0.0]))
    p, q = sigmoid(1), sigmoid(-2)
    matched = 0.6 * -(0.6 * math.log(p) + 0.4 * math.log(1 - p))
    other = 0.75 * q**2 * -math.log(1 - q)
    # A positive with IoU 0 has target 0, like a negative.
    missed = 0.75 * p**2 * -math.log(1 - p)
    np.testing.assert_allclose(loss, [[matched, other], [missed, other]], rtol=1e-5)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("scale", [0.0, 1.0, 90.0, 1e4, 1e8, 1e37])
def test_extreme_logits_are_finite_with_finite_gradients(name, scale):
    signs = jnp.array([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    value, gradient = VALUE_AND_GRADIENT[name](scale * signs)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[3], 0.0)  # the ignored anchor


@pytest.mark.parametrize("name", DENSE)
def test_the_largest_logits_have_finite_gradients(name):
    signs = jnp.array([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    _, gradient = VALUE_AND_GRADIENT[name](np.finfo(np.float32).max * signs)
    assert np.isfinite(gradient).all()


def focal_in_float64(logits, matched, gamma, alpha=0.25):
    """Values and gradients of the focal loss, none of whose terms is a difference."""
    wrong = np.float64(-logits if matched else logits)
    curve = np.log1p(np.exp(-np.abs(wrong)))
    cross_entropy = np.maximum(wrong, 0) + curve
    # sigmoid(z) = exp(-softplus(-z)) of the wrong answer, and 1 less that.
    p, q = (np.exp(-np.maximum(-z, 0) - curve) for z in (wrong, -wrong))
    factor = (alpha if matched else 1 - alpha) * np.exp(gamma * np.log(np.maximum(p, 1e-300)))
    gradient = factor * (p + gamma * q * cross_entropy)
    return factor * cross_entropy, -gradient if matched else gradient


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("label", [0, -1])
def test_focal_loss_and_gradient_at_every_magnitude(label, gamma):
    sizes = np.append(np.geomspace(1e-3, np.finfo(np.float32).max, 500), [0.0, 2**24, 1e7])
    logits = np.concatenate([sizes, -sizes]).astype(np.float32)[:, None]

    def losses_of(logits):
        return FOCAL(logits, np.full(len(logits), label, np.int32), gamma=gamma)

    value, backward = jax.vjp(losses_of, logits)
    (gradient,) = backward(jnp.ones_like(value))
    expected, expected_gradient = focal_in_float64(logits, label == 0, gamma)
    # An exponent of up to 85 is rounded by 4e-6; below 1e-36 float32 loses digits.
    np.testing.assert_allclose(value, expected, rtol=8e-6, atol=1e-36)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=8e-6, atol=1e-36)


def test_gradient_of_a_confident_mistake():
    # alpha for what is missed, 1 - alpha for what is imagined, however large the logit.
    def total(logits):
        return jnp.sum(losses.sigmoid_focal_loss(logits, jnp.array([0])))

    for size in (1e3, 1e7, 1e20, 3e38):
        gradient = jax.grad(total)(jnp.array([[-size, size]]))
        np.testing.assert_allclose(gradient, [[-0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 2.0, 5.0])
def test_quality_focal_and_varifocal_gradients_of_large_logits(beta):
    logits, labels, ious = jnp.array([[-1e38, 1e38]]), jnp.array([0]), jnp.array([0.6])

    def quality(logits):
        return jnp.sum(losses.quality_focal_loss(logits, labels, ious, beta=beta))

    def varifocal(logits):
        return jnp.sum(losses.varifocal_loss(logits, labels, ious, gamma=beta))

    # |.6 - 0|^beta -.6 z for the matched class, 1^beta z for the other.
    np.testing.assert_allclose(jax.grad(quality)(logits), [[-(0.6 ** (beta + 1)), 1.0]], rtol=1e-5)
    # .6 times -.6 z, and .75 z.
    np.testing.assert_allclose(jax.grad(varifocal)(logits), [[-0.36, 0.75]], rtol=1e-5)


def test_a_confident_mistake_costs_what_it_should():
    loss = losses.sigmoid_focal_loss(jnp.array([[-1e4, 1e4]]), jnp.array([0]))
    np.testing.assert_allclose(loss, [[0.25 * 1e4, 0.75 * 1e4]])


@pytest.mark.parametrize("name", DENSE)
def test_bfloat16_logits_are_computed_in_float32(name):
    logits = jnp.linspace(-3, 3, 12).reshape(4, 3).astype(jnp.bfloat16)
    value, gradient = VALUE_AND_GRADIENT[name](logits)
    assert jax.eval_shape(DENSE[name], logits).dtype == jnp.float32
    assert gradient.dtype == jnp.bfloat16
    expected, _ = VALUE_AND_GRADIENT[name](logits.astype(jnp.float32))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.quality_focal_loss, losses.varifocal_loss])
def test_ious_are_targets_without_a_gradient(loss):
    gradient = jax.grad(lambda ious: jnp.sum(loss(jnp.ones((4, 3)), LABELS, ious)))(IOUS)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("name", ["focal", "varifocal", "softmax"])
def test_jit_agrees_with_the_plain_call(name):
    logits = jnp.linspace(-3, 3, 12).reshape(4, 3)
    value, _ = VALUE_AND_GRADIENT[name](logits)
    np.testing.assert_allclose(value, jnp.sum(DENSE[name](logits)), rtol=1e-5)


def test_leading_dimensions_are_free():
    logits = jnp.linspace(-3, 3, 24).reshape(2, 4, 3)
    labels = jnp.stack([LABELS, LABELS[::-1]])
    batched = FOCAL(logits, labels)
    np.testing.assert_allclose(jax.vmap(FOCAL)(logits, labels), batched, rtol=1e-6)
    np.testing.assert_allclose(FOCAL(logits[1, 2], labels[1, 2]), batched[1, 2], rtol=1e-6)
