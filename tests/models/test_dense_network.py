import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses
from ioub_jax.configs import defaults
from ioub_jax.detectors import dense_detector
from ioub_jax.models import dense_network

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), np.uint8)


def network_of(box_form, *, bins=1, quality=False, scales=False, outputs=3):
    model = defaults.of_family("fcos", "baseline").model
    defaults.make_small(model, width=8, channels=16)
    return dense_network.DenseNetwork(
        **dense_detector.trunk_of(model),
        classification_head=dense_detector.head_of(model, outputs, 1),
        localization_head=dense_detector.head_of(model, 4 * bins, 1, quality=quality),
        box_form=box_form,
        level_scales=scales,
    )


def apply(network, variables):
    return jax.jit(lambda variables: network.apply(variables, IMAGE, train=False))(variables)


def applied(network):
    variables = jax.jit(lambda: network.init(jax.random.key(0), IMAGE, train=False))()
    return variables, apply(network, variables)


def test_a_quality_and_scales_of_the_levels():
    network = network_of("deltas", quality=True, scales=True)
    variables, found = applied(network)
    assert [level.shape for level in found.others["quality"]][:2] == [(1, 4, 8, 1), (1, 2, 4, 1)]
    assert len(found.logits) == len(found.deltas) == len(found.others["quality"]) == 5
    scales = variables["params"]["level_scales"]
    np.testing.assert_array_equal(scales, np.ones(5))
    variables["params"]["level_scales"] = jnp.array([1.0, 2.0, 1.0, 1.0, 1.0])
    scaled = apply(network, variables)
    np.testing.assert_array_equal(scaled.deltas[0], found.deltas[0])
    np.testing.assert_allclose(scaled.deltas[1], 2 * np.asarray(found.deltas[1]))


def test_forms_of_boxes_are_functions_of_the_same_values():
    variables, plain = applied(network_of("deltas"))
    exponential = apply(network_of("exp_distances"), variables)
    positive = apply(network_of("relu_distances"), variables)
    for values, exp, relu in zip(plain.deltas, exponential.deltas, positive.deltas, strict=True):
        np.testing.assert_allclose(exp, np.exp(np.asarray(values)), rtol=1e-6)
        np.testing.assert_array_equal(relu, np.maximum(np.asarray(values), 0))
    assert not plain.others


def test_a_distribution_is_its_expectation():
    _, found = applied(network_of("distribution", bins=9))
    for distances, bins in zip(found.deltas, found.others["distribution"], strict=True):
        assert bins.shape == (*distances.shape[:-1], 4 * 9)
        expected = losses.decode_distribution(bins.reshape(*distances.shape, 9))
        np.testing.assert_allclose(distances, expected, rtol=1e-6)
    # Nearly alike at first: in the middle of 0 to 8.
    np.testing.assert_allclose(found.deltas[0], 4.0, atol=0.5)


def test_what_is_no_form_is_refused():
    with pytest.raises(ValueError, match="box_form is 'corners'; it must be one of"):
        jax.eval_shape(lambda: applied(network_of("corners")))
