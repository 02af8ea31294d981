import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.objective import PerAnchor, histograms


def scalars_of(labels, ious):
    labels, ious = jnp.array(labels), jnp.array(ious)
    nothing = jnp.zeros_like(ious)
    return PerAnchor(labels, labels, ious, nothing, nothing)


def test_every_positive_is_in_its_bin():
    scalars = scalars_of([[0, 3, -1], [-2, 5, 1]], [[0.0, 0.49, 0.9], [0.9, 0.51, 1.0]])
    weights = jnp.array([[0.05, 0.25, 1.0], [1.0, 3.75, 17.0]])
    found = jax.jit(histograms.positive_histograms)(scalars, weights, jnp.ones((2, 3)))
    # Bins of .05: IoU 0 is in bin 0, .49 in 9 (.45 to .5), .51 in 10, and 1 in the last.
    expected = np.zeros(20, int)
    expected[[0, 9, 10, 19]] = 1
    np.testing.assert_array_equal(found["histogram_positive_iou"], expected)
    # Bins around 0, .2, ... 3.8: .05 is nearest to 0, .25 to .2, 3.75 and what is above to 3.8.
    expected = np.zeros(20, int)
    expected[[0, 1, 19]] = 1, 1, 2
    np.testing.assert_array_equal(found["histogram_classification_weight"], expected)
    # Four positives of weight 1, which is 5 * .2.
    expected = np.zeros(20, int)
    expected[5] = 4
    np.testing.assert_array_equal(found["histogram_localization_weight"], expected)


def test_without_a_positive_all_bins_are_empty():
    scalars = scalars_of([[-1, -2]], [[0.0, 0.0]])
    found = histograms.positive_histograms(scalars, jnp.ones((1, 2)), jnp.ones((1, 2)))
    assert found.keys() == histograms.RANGES.keys()
    for counts in found.values():
        assert counts.tolist() == [0] * histograms.BINS
