"""Which modules of a backbone stand still in a training step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.models import layers


def random_variables(model: Any, x: jax.Array, low: float, high: float) -> Any:
    """Variables with uniform values, none of which stops a gradient by itself."""
    shapes = jax.eval_shape(lambda key: model.init(key, x, train=False), jax.random.key(1))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.float32(rng.uniform(low, high, leaf.shape)), shapes)


def gradient_and_statistics(
    model: Any, variables: Any, x: jax.Array, of_features: Callable[[jax.Array], jax.Array]
) -> tuple[Any, Any]:
    """The gradient of a sum over all features, and by how much the statistics have moved."""

    @jax.jit
    def compute(variables: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            features, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            total = sum(jnp.sum(of_features(feature)) for feature in features)
            return total, updates.get("batch_stats", {})

        gradient, statistics = jax.grad(loss, has_aux=True)(variables["params"])
        before = variables.get("batch_stats", {})
        return gradient, jax.tree.map(lambda a, b: a - b, statistics, before)

    return compute(variables)


def check_still(tree: Any, frozen_stages: int) -> set[str]:
    """The modules of which nothing is left of 0: those that are frozen, and finite all of them."""
    largest = {
        module: max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(leaves))
        for module, leaves in tree.items()
    }
    assert all(np.isfinite(list(largest.values())))
    still = {module for module, value in largest.items() if value == 0.0}
    assert still == {m for m in largest if layers.is_frozen((m,), frozen_stages)}
    return still
