"""Start of a run: its newest checkpoint, or initial weights and a measured w_loc."""

import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.devices import placement
from ioub_jax.training import initial_weights, steps
from ioub_jax.training.experiment import Experiment
from ioub_jax.training.train_state import TrainState
from ioub_jax.workdirs import checkpoints, class_list

logger = logging.getLogger("ioub_jax")


def start_state(experiment: Experiment, workdir: pathlib.Path) -> TrainState:
    """The state from which a run resumes: its newest intact checkpoint, or a new one.

    Args:
      experiment: the training.
      workdir: the run's folder.

    Raises:
      ConfigError: every checkpoint is damaged, or the initial weights are of another architecture.
      WeightsError: a file of weights cannot be used.
    """
    everywhere = placement.replicated(experiment.detector.mesh)
    state = checkpoints.resume(workdir, experiment.trainer.abstract_state, everywhere)
    return new_state(experiment) if state is None else with_w_loc(experiment, state)


def new_state(experiment: Experiment) -> TrainState:
    """The state of a new run, with its initial weights and, unless it is configured, its w_loc.

    Args:
      experiment: the training.

    Raises:
      ConfigError: the initial weights are of another architecture.
      WeightsError: a file of weights cannot be used.
    """
    state = initial_weights.with_initial_weights(
        experiment.trainer.create_state(),
        experiment.initial_weights,
        class_list.categories_of(experiment.source),
        placement.replicated(experiment.detector.mesh),
    )
    return with_w_loc(experiment, state)


def with_w_loc(experiment: Experiment, state: TrainState) -> TrainState:
    """Sets an unset `w_loc` so that the localization loss keeps its sum over the first batches.

    `w_loc = sum SL1 / sum iou^lambda SL1` (arXiv 1908.05641, section 3.2) over the first
    `calibration_batches` batches, with the initial parameters.
    """
    if np.isfinite(float(state.w_loc)):
        return state
    detector, options = experiment.detector, experiment.options
    measure = steps.make_calibration_step(detector.detector)
    plain, balanced = 0.0, 0.0
    with experiment.training_batches(0, options.calibration_batches) as batches:
        for batch in batches:
            sums = measure(state, *detector.on_devices(batch, options.batch_size))
            plain, balanced = plain + float(sums[0]), balanced + float(sums[1])
    # Without positives, or if no box overlaps its target yet, there is no sum to keep.
    w_loc = plain / balanced if balanced > 0 else 1.0
    logger.info("Measured w_loc = %.4f on the first batches.", w_loc)
    value = jax.device_put(jnp.asarray(w_loc, jnp.float32), placement.replicated(detector.mesh))
    return state.replace(w_loc=value)
