"""The compiled steps of a training: one for training, one that measures w_loc.

They use `jax.jit` over a mesh with the single axis `data`. The batch is split over this axis, the
state is replicated on every device, and XLA inserts the all-reduce. Sums over the batch are written
as for one device.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ioub_jax.detectors import Anchors, Batch, Detector
from ioub_jax.devices import placement
from ioub_jax.models import Predictions, convolutions, layers
from ioub_jax.objective import Objective
from ioub_jax.training import gradients, train_state
from ioub_jax.training.train_state import TrainState

#: The values of `rematerialize`.
REMATERIALIZED = ("nothing", "activations", "blocks")


def _forward(network: nn.Module, rematerialize: str = "nothing") -> gradients.Forward:
    """The network in training mode, with recomputation in its backward pass as configured."""
    kept = {
        "activations": jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_saveable,
            # That policy does not see the convolutions whose gradients are custom.
            jax.checkpoint_policies.save_only_these_names(convolutions.ACTIVATION),
        ),
        "blocks": jax.checkpoint_policies.save_only_these_names(layers.BLOCK),
    }

    def forward(params: Any, batch_stats: Any, images: jax.Array) -> tuple[Predictions, Any]:
        predictions: Predictions
        variables = {"params": params, "batch_stats": batch_stats}
        predictions, updates = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return predictions, updates.get("batch_stats", batch_stats)

    if rematerialize == "nothing":
        return forward
    rematerialized: gradients.Forward = jax.checkpoint(forward, policy=kept[rematerialize])
    return rematerialized


def _objective_of(
    detector: Detector, state: TrainState, batch: Batch, anchors: Anchors
) -> gradients.ObjectiveOf:
    """The objective as a function of the predictions of a batch."""

    def objective_of(predictions: Predictions) -> Objective:
        return detector.objective(predictions, batch, anchors, state.carried)

    return objective_of


def make_train_step(
    detector: Detector,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule | None,
    mesh: Mesh,
    *,
    rematerialize: str = "nothing",
    gradient_accumulation: int = 1,
    ema_decay: float | None = None,
) -> jax.stages.Wrapped:
    """Builds `train_step(state, batch, anchors) -> (state, metrics)`; the old state is donated.

    Args:
      detector: the detector.
      optimizer: the optimizer.
      learning_rate: the learning rate of every step, for the metrics; None: it is unknown.
      mesh: the devices.
      rematerialize: what the backward pass recomputes instead of keeping it in memory: 'nothing';
        'activations', everything between convolutions; 'blocks', everything inside of blocks.
      gradient_accumulation: the number of parts of a batch that pass through the network one after
        another.
      ema_decay: the decay of the moving average of the variables; None: no average.
    """
    forward = _forward(detector.network, rematerialize)
    gradient_of = gradients.gradient_at_once
    if gradient_accumulation > 1:
        gradient_of = functools.partial(
            gradients.accumulated_gradient, parts=gradient_accumulation, mesh=mesh
        )

    def train_step(
        state: TrainState, batch: Batch, anchors: Anchors
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        objective_of = _objective_of(detector, state, batch, anchors)
        gradient = gradient_of(
            forward, objective_of, state.params, state.batch_stats, batch["image"]
        )
        updates, opt_state = optimizer.update(gradient.params, state.opt_state, state.params)
        metrics = gradient.objective.metrics | {"gradient_norm": optax.tree.norm(gradient.params)}
        if learning_rate is not None:
            metrics["learning_rate"] = jnp.asarray(learning_rate(state.step), jnp.float32)
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=gradient.batch_stats,
            opt_state=opt_state,
            moving_average=gradient.objective.moving_average,
            loss_state=dict(gradient.objective.loss_state),
        )
        if ema_decay is not None:
            new_state = train_state.with_average(new_state, ema_decay)
        return new_state, metrics

    everywhere = placement.replicated(mesh)
    return jax.jit(train_step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def make_calibration_step(
    detector: Detector,
) -> Callable[[TrainState, Batch, Anchors], tuple[jax.Array, jax.Array]]:
    """Builds the step for the two sums whose ratio is w_loc (arXiv 1908.05641, eq. 4)."""
    forward = _forward(detector.network)

    @jax.jit
    def calibration_step(
        state: TrainState, batch: Batch, anchors: Anchors
    ) -> tuple[jax.Array, jax.Array]:
        predictions, _ = forward(state.params, state.batch_stats, batch["image"])
        metrics = _objective_of(detector, state, batch, anchors)(predictions).metrics
        return metrics["calibration_plain"], metrics["calibration_balanced"]

    return calibration_step
