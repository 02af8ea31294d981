import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses


def test_hard_negative_mask():
    loss = jnp.array([[9.0, 1.0, 5.0, 3.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    labels = jnp.array([[0, -1, -1, -1, -2, -1], [-1, -1, -1, -1, -1, -1]])
    # One positive at ratio 2: the negatives of loss 8 and 5. No positive: no negative.
    expected = [[False, False, True, False, False, True], [False] * 6]
    np.testing.assert_array_equal(losses.hard_negative_mask(loss, labels, ratio=2), expected)


def test_hard_negative_mask_takes_all_where_there_are_few():
    loss, labels = jnp.array([1.0, 2.0, 3.0]), jnp.array([0, -1, -2])
    mask = losses.hard_negative_mask(loss, labels)
    np.testing.assert_array_equal(mask, [False, True, False])


@pytest.mark.parametrize("ratio", [7 * 10**8, 2**30, 10**10, 1e300, jnp.int32(2**30)])
def test_hard_negative_mask_takes_all_for_any_large_ratio(ratio):
    labels = np.array([0, 0, 0, -1, -1, -1, -2])
    expected = labels == -1
    np.testing.assert_array_equal(
        losses.hard_negative_mask(np.ones(7), labels, ratio=ratio), expected
    )
    if isinstance(ratio, jax.Array):
        mask = jax.jit(lambda ratio: losses.hard_negative_mask(np.ones(7), labels, ratio=ratio))(
            ratio
        )
        np.testing.assert_array_equal(mask, expected)


def test_hard_negative_mask_breaks_ties_by_position():
    loss, labels = jnp.ones(6), jnp.array([-1, -1, 3, -1, -1, -1])
    mask = losses.hard_negative_mask(loss, labels, ratio=3)
    np.testing.assert_array_equal(mask, [True, True, False, True, False, False])


def test_hard_negative_mask_is_not_changed_by_the_weights():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 40, 4)).astype(np.float32)
    labels = random.integers(-2, 3, (2, 40)).astype(np.int32)
    ious = random.uniform(size=(2, 40)).astype(np.float32)
    plain = losses.softmax_cross_entropy(logits, labels)
    weighted = losses.iou_balanced_softmax_cross_entropy(logits, labels, ious, axis=-1)
    mine = jax.jit(losses.hard_negative_mask)
    np.testing.assert_array_equal(mine(plain, labels), mine(weighted, labels))
    np.testing.assert_array_equal(jax.vmap(mine)(plain, labels), mine(plain, labels))
