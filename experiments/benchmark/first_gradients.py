"""Weights with which localization losses have the gradient of smooth L1 at the first step.

The scales of the plain losses differ by a factor of ten, and so do their effects in a training.
With these weights, an arm differs from the baseline only in the form of the loss.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmark import exported, loss_arms, timing
from ioub_jax import building
from ioub_jax.detectors import Carried
from ioub_jax.detectors.anchor_objective import AnchorObjective
from ioub_jax.models import Predictions
from ioub_jax.objective import LocalizationOptions
from ioub_jax.training import start
from ioub_jax.training.experiment import Experiment

_BATCHES = 8


def first_gradients() -> dict[str, Any]:
    """The weights, and the flags of the league's arms with the published weights and with these.

    The weights equalize the norm of the localization loss's gradient with respect to the predicted
    deltas, averaged over the first batches, for the network before its first step. The norm of the
    baseline is that of the configuration, which must be that of the arm `baseline`.
    """
    exported.check_configuration()
    experiment = building.build(exported.CONFIG.value)
    objective = experiment.detector.detector.objective
    if not isinstance(objective, AnchorObjective):
        raise TypeError("This can be measured only for detectors with anchors.")
    own = objective.losses.localization
    options = {loss_arms.BASELINE: own} | {
        arm: dataclasses.replace(own, **keys | {"weight": 1.0})
        for arm, keys in loss_arms.LOCALIZATION.items()
    }
    measure = {arm: _norm_of(objective, of_arm) for arm, of_arm in options.items()}
    norms = dict.fromkeys(options, 0.0)
    for given in _first_predictions(experiment):
        for arm, norm in measure.items():
            norms[arm] += float(norm(*given))
    weights = {
        arm: timing.rounded(norms[loss_arms.BASELINE] / norm)
        for arm, norm in norms.items()
        if arm != loss_arms.BASELINE
    }
    return {
        "batches": _BATCHES,
        "batch size": experiment.options.batch_size,
        "weights": weights,
        "markdown": _flags(weights),
    }


def _first_predictions(experiment: Experiment) -> Iterator[tuple[Any, Any, Predictions]]:
    """Yields the first batches, their anchors, and the predictions before the first step."""
    detector = experiment.detector
    variables = start.new_state(experiment).variables

    @jax.jit
    def predict(variables: Any, images: jax.Array) -> Predictions:
        predictions, _ = detector.network.apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
        return predictions

    with experiment.training_batches(0, _BATCHES) as batches:
        for batch in batches:
            on_devices, anchors = detector.on_devices(batch)
            yield on_devices, anchors, predict(variables, on_devices["image"])


def _norm_of(
    objective: AnchorObjective, options: LocalizationOptions
) -> Callable[[Any, Any, Predictions], jax.Array]:
    """Returns the norm of the gradient in the deltas, as a function of batch and predictions."""
    losses = dataclasses.replace(objective.losses, localization=options)
    chosen = dataclasses.replace(objective, losses=losses)
    state = {name: jnp.float32(value) for name, value in options.initial_state.items()}
    carried = Carried(jnp.float32(1.0), jnp.float32(1.0), state)

    @jax.jit
    def norm_of(batch: Any, anchors: Any, predictions: Predictions) -> jax.Array:
        def loss_of(deltas: Any) -> jax.Array:
            of_deltas = predictions._replace(deltas=deltas)
            return chosen(of_deltas, batch, anchors, carried).metrics["loss_localization"]

        norm: jax.Array = optax.tree.norm(jax.grad(loss_of)(predictions.deltas))
        return norm

    return norm_of


def _flags(weights: dict[str, float]) -> list[str]:
    """Returns the lines of a flag file with the league's arms."""
    lines = [loss_arms.flag(loss_arms.BASELINE, {})]
    for arm, keys in loss_arms.LOCALIZATION.items():
        of_loss = loss_arms.ALL[arm]
        kept = of_loss | {"localization.weight": weights[arm]}
        lines.append(loss_arms.flag(arm, of_loss))
        if weights[arm] != keys.get("weight", 1.0):
            lines.append(loss_arms.flag(f"{arm}.kept", kept))
    return lines + [loss_arms.flag(arm, keys) for arm, keys in loss_arms.OTHERS.items()]
