"""Entries of a head's output, anchor beside anchor; and what TPUs do instead of reshapes."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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


@given(arrays(np.float32, (2, 3), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_any_number_is_repeated_to_the_bit(values):
    # The last part of a smaller one can be subnormal, which processors may take for 0.
    values = np.where(np.abs(values) < 2.0**-100, 0, values)
    repeated = jax.jit(entries._repeat_by_product, static_argnames="entries")(values, entries=4)
    np.testing.assert_array_equal(repeated, np.repeat(values, 4, axis=-1))


def test_one_bfloat16_each_is_summed_and_differentiated_to_the_bit():
    rng = np.random.default_rng(1)
    values = jnp.asarray(rng.normal(size=(4, 45)), jnp.bfloat16)
    factors = jnp.asarray(rng.normal(size=(4, 9)), jnp.float32)
    mask = np.arange(45)[None] % 5 == 2

    def value_and_gradient(sum_of):
        def total(values):
            sums = sum_of(jnp.where(mask, values, 0.0), anchors=9)
            assert sums.dtype == jnp.bfloat16
            return jnp.sum(factors * sums), sums

        gradient, sums = jax.grad(total, has_aux=True)(values)
        return sums, gradient

    sums, gradient = value_and_gradient(entries._sum_by_product)
    np.testing.assert_array_equal(sums, values[:, 2::5])
    expected = np.where(mask, np.repeat(factors, 5, axis=1).astype(jnp.bfloat16), 0)
    np.testing.assert_array_equal(gradient, expected)
    by_reshape = value_and_gradient(entries._sum_by_reshape)
    np.testing.assert_array_equal(by_reshape[0], sums)
    np.testing.assert_array_equal(by_reshape[1], gradient)
