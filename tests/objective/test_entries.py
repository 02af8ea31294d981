"""Entries of a head's output, anchor beside anchor; and what TPUs do instead of reshapes."""

import jax.numpy as jnp
import numpy as np

from ioub_jax.objective import entries

# Two images, 1 x 2 locations, 2 anchors of 3 classes each: four anchors an image.
SHAPE = (2, 1, 2, 6)


def test_an_anchors_value_is_that_of_all_its_entries():
    values = jnp.float32([[1, 2, 3, 4], [5, 6, 7, 8]])
    expected = [
        [[[1, 1, 1, 2, 2, 2], [3, 3, 3, 4, 4, 4]]],
        [[[5, 5, 5, 6, 6, 6], [7, 7, 7, 8, 8, 8]]],
    ]
    np.testing.assert_array_equal(entries.repeat_for_entries(values, SHAPE), expected)
    # 3 * 1, 3 * 2, ...
    sums = entries.sum_of_entries(jnp.float32(expected), 4)
    np.testing.assert_array_equal(sums, [[3, 6, 9, 12], [15, 18, 21, 24]])


def test_coordinates_are_those_of_an_anchor():
    deltas = np.arange(2 * 3 * 8, dtype=np.float32).reshape(1, 2, 3, 8)
    found = entries.coordinates(jnp.asarray(deltas), 12)
    np.testing.assert_array_equal(found, deltas.reshape(1, 12, 4))


def test_every_entry_is_a_detector_of_one_class():
    logits = (jnp.zeros(SHAPE), jnp.zeros((2, 1, 3)))
    labels = jnp.int32([[0, 2, -1, -2, 1], [-2, 1, 1, -1, -1]])
    first, second = entries.sigmoids_of_levels(logits, labels, [4, 1])
    expected = [
        [[[0, -1, -1, -1, -1, 0], [-1, -1, -1, -2, -2, -2]]],
        [[[-2, -2, -2, -1, 0, -1], [-1, 0, -1, -1, -1, -1]]],
    ]
    np.testing.assert_array_equal(first.labels, expected)
    np.testing.assert_array_equal(second.labels, [[[-1, 0, -1]], [[-1, -1, -1]]])
    assert first.labels.dtype == jnp.int8


def test_products_equal_reshapes_to_the_bit():
    rng = np.random.default_rng(0)
    # Labels of LVIS go to 1202: more than bfloat16 holds.
    values = np.append(rng.normal(size=(4, 8)) * 1e6, [[1202.0]] * 4, axis=1)
    values = jnp.asarray(values, jnp.float32)
    repeated = entries._repeat_by_product(values, entries=5)
    np.testing.assert_array_equal(repeated, jnp.repeat(values, 5, axis=-1))
    one_each = repeated * (np.arange(45)[None] % 5 == 2)
    np.testing.assert_array_equal(entries._sum_by_product(one_each, anchors=9), values)
    several = jnp.asarray(rng.normal(size=(4, 45)), jnp.float32)
    np.testing.assert_allclose(
        entries._sum_by_product(several, anchors=9),
        entries._sum_by_reshape(several, anchors=9),
        rtol=1e-5,
        atol=1e-6,
    )
