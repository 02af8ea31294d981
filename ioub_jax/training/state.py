"""What a training run carries from step to step."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from ioub_jax.models import layers
from ioub_jax.training.configuration import ConfigError

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


def with_backbone(state: TrainState, trained: dict[str, Any]) -> TrainState:
    """The state with another model's backbone in it.

    Args:
      state: a new state.
      trained: the other model's variables: `params` and `batch_stats`.

    Raises:
      ConfigError: they are not of the same architecture; the sentence names the first difference.
    """
    ours = {"params": state.params, "batch_stats": state.batch_stats}
    merged = {}
    for kind, tree in ours.items():
        expected, found = (
            _shapes(tree.get("backbone", {})),
            _shapes(trained[kind].get("backbone", {})),
        )
        differing = [key for key in expected | found if expected.get(key) != found.get(key)]
        if differing:
            raise ConfigError(
                f"model.pretrained is of another architecture: {kind} {differing[0]} has shape "
                f"{found.get(differing[0])} there and {expected.get(differing[0])} here; give the "
                "same model.backbone, model.width and model.norm."
            )
        merged[kind] = {**tree, "backbone": trained[kind]["backbone"]} if expected else tree
    return state.replace(**merged)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf.shape for path, leaf in leaves}
