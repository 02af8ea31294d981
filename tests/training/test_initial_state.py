import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax import detectors
from ioub_jax.detectors import PlacedDetector, placed
from ioub_jax.devices import placement
from ioub_jax.from_config import training_parts
from ioub_jax.models import layers
from tests import tiny


def shapes_of(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


class TwoLayers(nn.Module):
    """Kernels of two distributions, and what no random number is needed for."""

    @nn.compact
    def __call__(self, x, *, train):
        x = layers.convolution(8, 3, use_bias=True, dtype=jnp.float32)(x)
        return layers.convolution(
            8, 3, use_bias=True, dtype=jnp.float32, kernel_init=nn.initializers.xavier_uniform()
        )(x)


def test_the_model_is_traced_once(monkeypatch):
    traced = []
    init_variables = placed.init_variables

    def counted(*arguments, **options):
        traced.append(arguments)
        return init_variables(*arguments, **options)

    monkeypatch.setattr(placed, "init_variables", counted)
    config = tiny.get_config()
    detector = training_parts.detector_of(config, 8)
    trainer = training_parts.trainer_of(config, detector)
    assert shapes_of(trainer.abstract_state.variables) == shapes_of(detector.abstract_variables)
    assert len(traced) == 1


def test_a_seed_has_the_values_that_the_model_itself_gives_it():
    """To the bit, although they come from a program that is compiled in another way."""
    jax.config.update("jax_disable_most_optimizations", False)  # until the next test
    config = tiny.get_config("loc")
    config.seed = 7
    detector = dataclasses.replace(detectors.create(config, 8), network=TwoLayers())
    detector = PlacedDetector(detector, placement.create_mesh(4))
    trainer = training_parts.trainer_of(config, detector)
    state = trainer.create_state()
    expected = jax.jit(functools.partial(placed.init_variables, detector.network, 7))()
    jax.tree.map(np.testing.assert_array_equal, state.variables, {"batch_stats": {}} | expected)
    assert np.isnan(state.w_loc)  # that arm measures it
    assert shapes_of(state) == shapes_of(trainer.abstract_state)
    everywhere = placement.replicated(detector.mesh)
    assert all(leaf.sharding == everywhere for leaf in jax.tree.leaves(state))
