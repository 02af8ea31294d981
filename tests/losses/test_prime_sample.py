import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses

isr_p_weights = jax.jit(losses.isr_p_weights)


def ranked_weights(loss, ious, labels, gt_index, k, bias):
    """ISR-P by its definition, with loops."""
    positives = [tuple(index) for index in np.argwhere(labels >= 0)]

    def local_rank(index):
        same_object = (
            other
            for other in positives
            if other[0] == index[0] and gt_index[other] == gt_index[index]
        )
        return sum(ious[other] > ious[index] for other in same_object)

    def class_rank(index):
        def key(other):
            return local_rank(other), -ious[other]

        same_class = (other for other in positives if labels[other] == labels[index])
        return sum(key(other) < key(index) for other in same_class)

    most = max(np.sum(labels == label) for label in set(labels[labels >= 0]))
    values = {
        index: (bias + (1 - bias) * (most - class_rank(index)) / most) ** k for index in positives
    }
    ratio = sum(loss[index] for index in positives) / sum(
        values[index] * loss[index] for index in positives
    )
    weights = np.ones_like(loss)
    for index in positives:
        weights[index] = values[index] * ratio
    return weights


def test_carl_weights():
    scores = jnp.array([0.5, 1.0, 0.9])
    positive = jnp.array([True, True, False])
    weights = losses.carl_weights(scores, positive)
    # Bases 0.2 + 0.8 * 0.5 = 0.6 and 1.0, of mean 0.8.
    np.testing.assert_allclose(weights, [0.75, 1.25, 1.0], rtol=1e-6)


def test_carl_weights_have_mean_1_in_each_scope():
    random = np.random.default_rng(0)
    scores = random.uniform(size=(3, 20)).astype(np.float32)
    positive = random.uniform(size=(3, 20)) < 0.5
    weights = np.asarray(losses.carl_weights(scores, positive, k=2.0, axis=-1))
    for row, mask in zip(weights, positive, strict=True):
        np.testing.assert_allclose(row[mask].mean(), 1.0, rtol=1e-5)


def test_carl_weights_teach_the_scores():
    positive = jnp.array([True, True, False])

    def loss(scores):
        # The first box fits badly, the second well.
        return jnp.sum(losses.carl_weights(scores, positive) * jnp.array([1.0, 0.1, 5.0]))

    gradient = jax.grad(loss)(jnp.array([0.5, 0.5, 0.5]))
    # w = 2 v / (v1 + v2): dw1/dv1 = 2 v2 / (v1 + v2)^2 = 1 / (2 * 0.6), dv/dscore = 0.8.
    slope = 0.8 / 1.2
    np.testing.assert_allclose(gradient, [0.9 * slope, -0.9 * slope, 0.0], rtol=1e-5)


@jax.jit
def carl_value_and_gradient(scores, positive, k, bias):
    def loss(scores):
        weights = losses.carl_weights(scores, positive, k=k, bias=bias)
        return jnp.sum(weights * jnp.array([1.0, 2.0, 3.0]))

    return jax.value_and_grad(loss)(scores)


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("bias", [0.0, 0.2])
@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        ([0.0, 0.0, 0.0], [True, True, False]),
        ([0.0, 1.0, 0.5], [True, True, False]),
        ([1e-30, 1e-38, 0.5], [True, True, False]),
        ([0.3, 0.4, 0.5], [False, False, False]),
    ],
)
def test_carl_weights_are_finite_with_finite_gradients(k, bias, scores, positive):
    value, gradient = carl_value_and_gradient(jnp.array(scores), jnp.array(positive), k, bias)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_isr_p_weights_by_hand():
    # Two objects of class 0 with anchors of IoU .9 .5 and .6, one of class 1 with IoU .1.
    labels = jnp.array([[0, 0, 0, 1, -1]])
    gt_index = jnp.array([[0, 0, 1, 2, 0]])
    ious = jnp.array([[0.9, 0.5, 0.6, 0.1, 1.0]])
    weights = isr_p_weights(jnp.ones((1, 5)), ious, labels, gt_index, k=1.0)
    # The best of each object come first: ranks 0, 2, 1 and 0 of 3, so u = 1, 1/3, 2/3, 1, whose
    # mean is 3/4.
    np.testing.assert_allclose(weights, [[4 / 3, 4 / 9, 8 / 9, 4 / 3, 1.0]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_isr_p_weights_follow_their_definition(seed):
    random = np.random.default_rng(seed)
    shape = (3, 16)
    gt_index = random.integers(0, 4, shape).astype(np.int32)
    # An object has one class; some anchors are background or ignored.
    object_labels = random.integers(0, 3, (3, 4))
    labels = np.take_along_axis(object_labels, gt_index, axis=1)
    labels = np.where(random.uniform(size=shape) < 0.4, random.integers(-2, 0, shape), labels)
    labels = labels.astype(np.int32)
    loss = random.uniform(size=shape).astype(np.float32)
    ious = random.permutation(np.linspace(0, 1, 48)).reshape(shape).astype(np.float32)
    weights = isr_p_weights(loss, ious, labels, gt_index, k=2.0, bias=0.1)
    expected = ranked_weights(loss, ious, labels, gt_index, 2.0, 0.1)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    positive = labels >= 0
    np.testing.assert_allclose(
        np.sum(np.asarray(weights) * loss, where=positive), loss[positive].sum(), rtol=1e-5
    )


@pytest.mark.parametrize("labels", [[[-1, -2, -1]], [[0, 0, 1]]])
def test_isr_p_weights_are_1_without_a_positive_or_without_loss(labels):
    zeros = jnp.zeros((1, 3))
    weights = isr_p_weights(zeros, zeros, jnp.array(labels), jnp.zeros((1, 3), jnp.int32))
    np.testing.assert_array_equal(weights, 1.0)


def test_isr_p_weights_do_not_hide_what_is_not_a_number():
    loss, ious = np.array([[0.5, np.nan, 0.5]], np.float32), np.full((1, 3), 0.5, np.float32)
    weights = isr_p_weights(loss, ious, np.array([[0, 0, -1]]), np.zeros((1, 3), np.int32))
    np.testing.assert_array_equal(weights, [[np.nan, np.nan, 1.0]])
