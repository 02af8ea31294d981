"""What a training run carries from step to step."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from ioub_jax.models import layers

# Detectron2's start of its moving average of positives.
_MOVING_AVERAGE_START = 100.0


class TrainState(flax.struct.PyTreeNode):
    """Everything that a checkpoint must hold to go on bit for bit.

    Attributes:
      step: int32 scalar, steps done; with the seed it fixes data and random keys.
      params: float32 parameters.
      batch_stats: running statistics of the batch norms.
      opt_state: the optimizer's state.
      w_loc: float32 scalar, the constant of the localization loss; not a number until measured.
      moving_average: float32 scalar, moving average of the positives of a global batch.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    w_loc: jax.Array
    moving_average: jax.Array


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    w_loc: float | None,
) -> TrainState:
    """The state before the first step: a pure function of its arguments.

    Args:
      model: the detector.
      optimizer: its optimizer.
      seed: seed of the initial parameters.
      w_loc: the configured constant, None where it is to be measured.
    """
    variables = init_variables(model, seed)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        w_loc=jnp.asarray(jnp.nan if w_loc is None else w_loc, jnp.float32),
        moving_average=jnp.asarray(_MOVING_AVERAGE_START, jnp.float32),
    )


def init_variables(model: nn.Module, seed: int) -> dict[str, Any]:
    """Initial variables; no parameter's shape depends on the size of the image."""
    images = jnp.zeros((1, 64, 64, 3), jnp.float32)
    return dict(model.init(jax.random.key(seed), images, train=False))


def frozen_parameters(params: Any, frozen_stages: int) -> Any:
    """Tree of bool like `params`: True where the configuration freezes the parameter."""

    def frozen(path: tuple[Any, ...], _: Any) -> bool:
        names = tuple(entry.key for entry in path)
        return names[0] == "backbone" and layers.is_frozen(names[1:], frozen_stages)

    return jax.tree_util.tree_map_with_path(frozen, params)
