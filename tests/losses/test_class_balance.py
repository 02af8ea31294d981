"""Weights of classes: the effective number by hand, and what the losses do with weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioub_jax import losses

WEIGHTS = np.array([0.5, 2.0, 3.0], np.float32)
#: Two positives, background, ignored.
LABELS = np.array([1, 0, -1, -2], np.int32)
LOGITS = np.array(
    [[0.3, -1.0, 2.0], [1.5, 0.2, -0.4], [0.1, 0.2, 0.3], [5.0, 5.0, 5.0]], np.float32
)
IOUS = np.array([0.9, 0.4, 0.0, 0.0], np.float32)


def test_the_effective_number_by_hand():
    # beta .9: E of 1, 2 and 10 boxes is 1, 1.9 and (1 - .9^10) / .1 = 6.513216.
    # 1 / E is 1, .526316 and .153534; their mean is .559950.
    found = losses.effective_number_weights([1, 2, 10], beta=0.9)
    np.testing.assert_allclose(found, [1.785874, 0.939934, 0.274193], rtol=1e-5)
    # They add up to the number of classes, as in the paper.
    assert found.sum() == pytest.approx(3.0)


def test_the_limits_of_beta():
    np.testing.assert_allclose(losses.effective_number_weights([3, 5], beta=0.0), [1.0, 1.0])
    # Inverse to the counts: 1/2 and 1/6, whose mean is 1/3.
    found = losses.effective_number_weights([2, 6], beta=1 - 1e-9)
    np.testing.assert_allclose(found, [1.5, 0.5], rtol=1e-6)
    for beta in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"^beta is {beta}; it must be at least 0 and below 1"):
            losses.effective_number_weights([1], beta=beta)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([], r"counts has shape \(0,\); it must be \[C\]"),
        ([[3, 5]], r"counts has shape \(1, 2\); it must be \[C\]"),
        ([3, -1], "counts has a number below 0"),
        ([3, float("nan")], "or one that is not finite"),
    ],
)
def test_counts_that_are_none_are_refused(counts, words):
    with pytest.raises(ValueError, match=words):
        losses.effective_number_weights(counts)


def test_counts_that_are_texts_are_refused():
    with pytest.raises(TypeError, match="counts is of "):
        losses.effective_number_weights(["3", "5"])


def test_a_class_without_boxes_has_weight_1_and_is_not_in_the_mean():
    found = losses.effective_number_weights([0, 1, 2], beta=0.9)
    # 1 and .526316, mean .763158.
    np.testing.assert_allclose(found, [1.0, 1.310345, 0.689655], rtol=1e-5)
    assert losses.effective_number_weights([0, 0]).tolist() == [1.0, 1.0]


@given(
    st.lists(st.integers(1, 10**7), min_size=1, max_size=30), st.sampled_from([0.9, 0.999, 0.9999])
)
def test_rarer_classes_weigh_more_and_all_are_finite(counts, beta):
    found = losses.effective_number_weights(counts, beta=beta)
    assert np.isfinite(found).all() and found.min() > 0
    assert found.sum() == pytest.approx(len(counts))
    by_count = found[np.argsort(counts, kind="stable")]
    assert np.all(np.diff(by_count) <= 1e-12)


LOSSES = {
    "focal": lambda **options: losses.sigmoid_focal_loss(LOGITS, LABELS, **options),
    "quality": lambda **options: losses.quality_focal_loss(LOGITS, LABELS, IOUS, **options),
    "varifocal": lambda **options: losses.varifocal_loss(LOGITS, LABELS, IOUS, **options),
    "balanced": lambda **options: losses.iou_balanced_sigmoid_focal_loss(
        LOGITS, LABELS, IOUS, **options
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_of_sigmoids_the_matched_entries_are_weighted(name):
    plain, weighted = LOSSES[name](), LOSSES[name](class_weights=WEIGHTS)
    factors = np.ones((4, 3), np.float32)
    factors[0, 1], factors[1, 0] = 2.0, 0.5
    np.testing.assert_allclose(weighted, plain * factors, rtol=1e-6)
    assert np.asarray(plain)[0, 1] > 0 and np.asarray(plain)[1, 0] > 0


def test_of_a_softmax_whole_positives_are_weighted():
    logits = np.concatenate([np.zeros((4, 1), np.float32), LOGITS], axis=1)
    factors = np.array([2.0, 0.5, 1.0, 1.0], np.float32)
    plain = losses.softmax_cross_entropy(logits, LABELS)
    weighted = losses.softmax_cross_entropy(logits, LABELS, class_weights=WEIGHTS)
    np.testing.assert_allclose(weighted, plain * factors, rtol=1e-6)
    balanced = losses.iou_balanced_softmax_cross_entropy(logits, LABELS, IOUS)
    weighted = losses.iou_balanced_softmax_cross_entropy(
        logits, LABELS, IOUS, class_weights=WEIGHTS
    )
    np.testing.assert_allclose(weighted, balanced * factors, rtol=1e-6)


def test_no_gradient_flows_to_the_weights():
    def loss(weights):
        return jnp.sum(losses.sigmoid_focal_loss(LOGITS, LABELS, class_weights=weights))

    assert jax.grad(loss)(jnp.asarray(WEIGHTS)).tolist() == [0.0, 0.0, 0.0]
    found = losses.weights_of_classes(LABELS, WEIGHTS)
    assert found.tolist() == [2.0, 0.5, 1.0, 1.0]


def test_a_label_beyond_the_classes_has_weight_1():
    labels, weights = jnp.array([2, 3, 127], jnp.int8), jnp.array([2.0, 3.0, 5.0])
    found = losses.weights_of_classes(labels, weights)
    np.testing.assert_array_equal(found, [5.0, 1.0, 1.0])
