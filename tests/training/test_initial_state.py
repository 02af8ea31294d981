import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.devices import placement
from ioub_jax.models import layers
from ioub_jax.training import train_state
from ioub_jax.training.detector import Detector, create_detector, create_trainer
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
    init_variables = train_state.init_variables

    def counted(*arguments):
        traced.append(arguments)
        return init_variables(*arguments)

    monkeypatch.setattr(train_state, "init_variables", counted)
    detector = create_detector(tiny.get_config(), 8)
    trainer = create_trainer(detector)
    assert shapes_of(trainer.abstract_state.variables) == shapes_of(detector.abstract_variables)
    assert len(traced) == 1


def test_a_seed_has_the_values_that_the_model_itself_gives_it():
    """To the bit, although they come from a program that is compiled in another way."""
    jax.config.update("jax_disable_most_optimizations", False)  # until the next test
    config = tiny.get_config("loc")
    config.seed = 7
    detector = Detector(config, TwoLayers(), placement.create_mesh(4))
    trainer = create_trainer(detector)
    state = trainer.create_state()
    expected = jax.jit(functools.partial(train_state.init_variables, detector.model, 7))()
    jax.tree.map(np.testing.assert_array_equal, state.variables, {"batch_stats": {}} | expected)
    assert np.isnan(state.w_loc)  # that arm measures it
    assert shapes_of(state) == shapes_of(trainer.abstract_state)
    everywhere = placement.replicated(detector.mesh)
    assert all(leaf.sharding == everywhere for leaf in jax.tree.leaves(state))
