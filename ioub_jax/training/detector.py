"""A model of a configuration, its anchors and its devices."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from ioub_jax import anchors as anchor_grids
from ioub_jax.data import augmentation, batching
from ioub_jax.models import create_model
from ioub_jax.training import configuration, schedules
from ioub_jax.training import state as states
from ioub_jax.training import step as steps


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """A model of a configuration, its anchors and its devices.

    Attributes:
      config: the configuration.
      model: the Flax module.
      mesh: the devices.
    """

    config: ml_collections.ConfigDict
    model: nn.Module
    mesh: Mesh

    @functools.cache  # noqa: B019  (a detector lives as long as its process)
    def anchors_of(self, canvas: tuple[int, int]) -> steps.Anchors:
        """Anchors of every level, on the devices, for a canvas (height, width)."""
        return jax.device_put(
            canvas_anchors(self.config.anchors, canvas), steps.replicated(self.mesh)
        )

    def on_devices(
        self, batch: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, jax.Array], steps.Anchors]:
        """A batch of the host and the anchors of its canvas, as the compiled steps take them."""
        return steps.put_batch(self.mesh, batch), self.anchors_of(batch["image"].shape[1:3])


def anchor_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What `config.anchors` gives `retinanet_anchors` and `best_anchor_iou`."""
    return {
        "base_scale": config.base_scale,
        "scales_per_octave": config.scales_per_octave,
        "ratios": tuple(config.ratios),
        "center_offset": config.center_offset,
        "rounded": config.rounded,
    }


def canvas_anchors(config: ml_collections.ConfigDict, canvas: tuple[int, int]) -> Any:
    """Anchors of every level (numpy) that `config.anchors` describes for a canvas."""
    return anchor_grids.retinanet_anchors(canvas, **anchor_options(config))


def create_detector(config: ml_collections.ConfigDict, num_classes: int) -> Detector:
    """Builds the detector of a configuration on the devices it asks for.

    Raises:
      ConfigError: the configuration cannot be run.
    """
    levels = len(canvas_anchors(config.anchors, (64, 64)))
    anchors_per_location = levels * (config.anchors.scales_per_octave * len(config.anchors.ratios),)
    try:
        mesh = steps.create_mesh(config.runtime.devices)
        configuration.check_config(config, mesh.size)
        model = create_model(
            config.model, num_classes=num_classes, anchors_per_location=anchors_per_location
        )
        # Nothing is computed: the choices in the configuration are looked at before anything is.
        jax.eval_shape(lambda: states.init_variables(model, config.seed))
        steps.objective_options(config)
        schedules.learning_rate_schedule(config.schedule, config.batch_size)
        batching.create_plan(config, np.ones((1, 2)))
        augmentation.create_augmentation(config)
    except ValueError as error:
        raise configuration.ConfigError(str(error)) from error
    return Detector(config, model, mesh)


class Trainer(NamedTuple):
    """What trains a detector.

    Attributes:
      create_state: makes the state before the first step; a pure function.
      train_step: `train_step(state, batch, anchors) -> (state, metrics)`; the old state is donated.
    """

    create_state: Callable[[], states.TrainState]
    train_step: jax.stages.Wrapped


def create_trainer(detector: Detector) -> Trainer:
    """The optimizer, the state and the compiled step that a detector's configuration describes."""
    config, model = detector.config, detector.model
    schedule = schedules.learning_rate_schedule(config.schedule, config.batch_size)
    template = jax.eval_shape(lambda: states.init_variables(model, config.seed))
    frozen = states.frozen_parameters(template["params"], config.model.frozen_stages)
    optimizer = schedules.create_optimizer(config.optimizer, schedule, frozen)
    create_state = functools.partial(
        states.create_state,
        model,
        optimizer,
        seed=config.seed,
        w_loc=config.loss.localization.w_loc,
    )
    train_step = steps.make_train_step(model, optimizer, schedule, config, detector.mesh)
    return Trainer(create_state, train_step)
