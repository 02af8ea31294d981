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

# The initial value of Detectron2's moving average of positives.
_MOVING_AVERAGE_START = 100.0


class TrainState(flax.struct.PyTreeNode):
    """Everything that a checkpoint needs to resume a run bit for bit.

    Attributes:
      step: int32 scalar, the number of steps done; with the seed it fixes data and random keys.
      params: float32 parameters.
      batch_stats: running statistics of the batch norms.
      opt_state: the optimizer's state.
      w_loc: float32 scalar, the constant of the localization loss; NaN until it is measured.
      moving_average: float32 scalar, moving average of the positives of a global batch.
      loss_state: float32 scalars that a loss carries from step to step, by name; `{}` for most
        losses.
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
      variables: the initial variables of the model.
      optimizer: the optimizer.
      w_loc: the configured constant; NaN if it is to be measured.
      has_ema: whether a moving average of the variables is kept.
      loss_state: the initial loss state of the objective.
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
    # The average starts from zeros, which the first step discards: pretrained weights may still
    # replace these variables.
    return state.replace(ema=jax.tree.map(jnp.zeros_like, state.variables))


def with_average(state: TrainState, decay: float) -> TrainState:
    """The state after a step, with its variables added to the moving average.

    `ema = d ema + (1 - d) variables` with `d = min(decay, t / (t + 9))` after step t + 1. The first
    step replaces the average, and the initial weights do not hold back the first hundreds of steps.
    TensorFlow's `ExponentialMovingAverage` with `num_updates` is similar, with a d of
    (1 + t) / (10 + t).

    Args:
      state: the state after a step, whose moving average is not updated yet.
      decay: d in the long run, such as .999.
    """
    done = jnp.asarray(state.step - 1, jnp.float32)
    share = 1.0 - jnp.minimum(decay, done / (done + 9.0))
    # In this form a value that does not change, such as a frozen parameter, equals its average
    # exactly.
    ema = jax.tree.map(
        lambda average, value: average + share * (value - average), state.ema, state.variables
    )
    return state.replace(ema=ema)


def last_stage(params: Any) -> int | None:
    """The number of the last stage of a network's backbone; None if it has no stages."""
    found = [layers.stage_of((name,)) for name in params.get("backbone", {})]
    return max((stage for stage in found if stage is not None), default=None)


def frozen_parameters(params: Any, frozen_stages: int) -> Any:
    """Tree of bool like `params`: True where a parameter of the backbone is frozen.

    Args:
      params: a tree like the parameters.
      frozen_stages: as for `models.layers.is_frozen`.
    """

    def frozen(path: tuple[Any, ...], _: Any) -> bool:
        names = tuple(entry.key for entry in path)
        return names[0] == "backbone" and layers.is_frozen(names[1:], frozen_stages)

    return jax.tree_util.tree_map_with_path(frozen, params)
