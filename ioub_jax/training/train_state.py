"""State of a training run, carried from step to step."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ioub_jax.detectors import Carried
from ioub_jax.models import layers

# Detectron2's start of its moving average of positives.
_MOVING_AVERAGE_START = 100.0


class TrainState(flax.struct.PyTreeNode):
    """Everything that a checkpoint needs to resume bit for bit.

    Attributes:
      step: int32 scalar, steps done; with the seed it fixes data and random keys.
      params: float32 parameters.
      batch_stats: running statistics of the batch norms.
      opt_state: the optimizer's state.
      w_loc: float32 scalar, the constant of the localization loss; not a number until measured.
      moving_average: float32 scalar, moving average of the positives of a global batch.
      loss_state: float32 scalars that a loss carries, by name; `{}` for most.
      ema: exponential moving average of `variables`; `{}` without one.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    w_loc: jax.Array
    moving_average: jax.Array
    loss_state: dict[str, Any] = flax.struct.field(default_factory=dict)
    ema: dict[str, Any] = flax.struct.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the model: `params` and `batch_stats`."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def carried(self) -> Carried:
        """State of the objective from earlier steps."""
        return Carried(self.w_loc, self.moving_average, self.loss_state)


def create_state(
    variables: dict[str, Any],
    optimizer: optax.GradientTransformation,
    w_loc: jax.typing.ArrayLike,
    *,
    has_ema: bool,
    loss_state: Mapping[str, float] = MappingProxyType({}),
) -> TrainState:
    """The state before the first step: a pure function of its arguments.

    Args:
      variables: the initial ones of the model.
      optimizer: what trains them.
      w_loc: the configured constant, not a number where it is to be measured.
      has_ema: whether an average of the variables is kept.
      loss_state: the initial one of the objective.
    """
    params = variables["params"]
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        w_loc=jnp.asarray(w_loc, jnp.float32),
        moving_average=jnp.asarray(_MOVING_AVERAGE_START, jnp.float32),
        loss_state={name: jnp.asarray(x, jnp.float32) for name, x in loss_state.items()},
    )
    if not has_ema:
        return state
    # Zeros, which the first step forgets: what it starts from may be replaced by trained weights.
    return state.replace(ema=jax.tree.map(jnp.zeros_like, state.variables))


def with_average(state: TrainState, decay: float) -> TrainState:
    """The state after a step, with its variables added to the moving average.

    `ema = d ema + (1 - d) variables` with `d = min(decay, t / (t + 9))` after step t + 1: the first
    step replaces the average, and the first hundreds are not held back by the initial weights, as
    in TensorFlow's `ExponentialMovingAverage` with `num_updates`, whose d is (1 + t) / (10 + t).

    Args:
      state: after a step.
      decay: d in the long run, such as .999.
    """
    done = jnp.asarray(state.step - 1, jnp.float32)
    share = 1.0 - jnp.minimum(decay, done / (done + 9.0))
    # In this form what does not change, as frozen parameters, is its own average to the bit.
    ema = jax.tree.map(
        lambda average, value: average + share * (value - average), state.ema, state.variables
    )
    return state.replace(ema=ema)


def frozen_parameters(params: Any, frozen_stages: int) -> Any:
    """Tree of bool like `params`: True where a parameter of the backbone is frozen.

    Args:
      params: a tree like the parameters.
      frozen_stages: as `models.layers.is_frozen`.
    """

    def frozen(path: tuple[Any, ...], _: Any) -> bool:
        names = tuple(entry.key for entry in path)
        return names[0] == "backbone" and layers.is_frozen(names[1:], frozen_stages)

    return jax.tree_util.tree_map_with_path(frozen, params)
