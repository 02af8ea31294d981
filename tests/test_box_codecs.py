import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ioub_jax import boxes
from ioub_jax.box_codecs import DELTAS, DeltaCodec, DistanceCodec, centreness

ANCHOR = np.array([8.0, 16.0, 40.0, 48.0])  # 32 pixels, 4 strides of 8 around (24, 32)
BOX = np.array([20.0, 20.0, 30.0, 50.0])


def test_distances_are_in_strides_from_the_center():
    # Left 24 - 20 = 4, top 32 - 20 = 12, right 30 - 24 = 6, bottom 50 - 32 = 18 pixels.
    codec = DistanceCodec(4.0)
    np.testing.assert_allclose(codec.encode(BOX, ANCHOR), np.array([4, 12, 6, 18]) / 8)
    np.testing.assert_allclose(codec.decode([0.5, 1.5, 0.75, 2.25], ANCHOR), BOX)
    # The center is 4 pixels left of this box.
    outside = codec.encode([28.0, 20.0, 30.0, 50.0], ANCHOR)
    np.testing.assert_allclose(outside, np.array([-4, 12, 6, 18]) / 8)


def test_deltas_are_those_of_boxes():
    weights = (10.0, 10.0, 5.0, 5.0)
    codec = DeltaCodec(weights)
    np.testing.assert_array_equal(
        codec.encode(BOX, ANCHOR), boxes.encode(BOX, ANCHOR, weights=weights)
    )
    deltas = np.array([1.0, -2.0, 0.5, 0.25])
    np.testing.assert_array_equal(
        codec.decode(deltas, ANCHOR), boxes.decode(deltas, ANCHOR, weights=weights)
    )
    np.testing.assert_array_equal(DELTAS.encode(BOX, ANCHOR), boxes.encode(BOX, ANCHOR))


@pytest.mark.parametrize("codec", [DELTAS, DeltaCodec((10.0, 10.0, 5.0, 5.0)), DistanceCodec(2.0)])
@settings(deadline=None)  # the first of each compiles
@given(arrays(np.float32, (3, 2, 2), elements=st.floats(-200, 200, width=16)))
def test_what_is_encoded_is_decoded(codec, corners):
    low, high = corners.min(axis=1), corners.max(axis=1) + 1
    found = codec.decode(codec.encode(np.concatenate([low, high], -1), ANCHOR), ANCHOR)
    np.testing.assert_allclose(found, np.concatenate([low, high], -1), rtol=1e-4, atol=1e-3)


def test_centreness():
    # l 4, r 6, t 12, b 18: sqrt(4/6 * 12/18) = 2/3.
    np.testing.assert_allclose(centreness(BOX, ANCHOR), 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(centreness([8.0, 16.0, 40.0, 48.0], ANCHOR), 1.0)
    # Outside, on an edge, and no box at all.
    assert centreness([28.0, 20.0, 30.0, 50.0], ANCHOR) == 0
    assert centreness([24.0, 20.0, 30.0, 50.0], ANCHOR) == 0
    assert centreness([24.0, 32.0, 24.0, 32.0], ANCHOR) == 0


@pytest.mark.parametrize("box", [BOX, [24.0, 20.0, 30.0, 50.0], [24.0, 32.0, 24.0, 32.0]])
def test_the_gradient_of_centreness_is_a_number(box):
    gradient = jax.grad(lambda box: centreness(box, ANCHOR))(jnp.asarray(box))
    assert np.isfinite(gradient).all()
