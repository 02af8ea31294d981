"""A model of a configuration, its anchors and its devices."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh

from ioub_jax import anchors as anchor_grids
from ioub_jax.devices import host_memory, placement
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import data_parts
from ioub_jax.models import create_model
from ioub_jax.training import schedules, steps, train_state
from ioub_jax.workdirs import configuration


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
        return jax.device_put(canvas_anchors(self.config, canvas), placement.replicated(self.mesh))

    def on_devices(
        self, batch: Mapping[str, np.ndarray], batch_size: int | None = None
    ) -> tuple[dict[str, jax.Array], steps.Anchors]:
        """A batch of the host and the anchors of its canvas, as the compiled steps take them.

        Args:
          batch: this process's part of it.
          batch_size: images of the whole; None: this process has all of them.
        """
        anchors = self.anchors_of(batch["image"].shape[1:3])
        return placement.put_batch(self.mesh, batch, batch_size), anchors

    @functools.cached_property
    def init_variables(self) -> jax.stages.Wrapped:
        """`init_variables(seed)`, seed an int32: the model is traced when it is first asked for."""
        return jax.jit(functools.partial(train_state.init_variables, self.model))

    @functools.cached_property
    def abstract_variables(self) -> dict[str, Any]:
        """The variables without values: shapes and dtypes, and nothing is computed."""
        return jax.eval_shape(self.init_variables, jax.ShapeDtypeStruct((), jnp.int32))


def canvas_levels(
    config: ml_collections.ConfigDict, canvas: tuple[int, int]
) -> tuple[anchor_grids.AnchorLevel, ...]:
    """The levels and their cells that a configuration describes for a canvas.

    Args:
      config: the whole configuration; `model.name` and `anchors` are used.
      canvas: (height, width) of the network's input.

    Raises:
      ValueError: `anchors` contradicts itself.
    """
    options = {key: value for key, value in config.anchors.items() if key != "box_weights"}
    if config.model.name == "ssd":
        return anchor_grids.ssd_levels(canvas, **options)
    return anchor_grids.retinanet_levels(canvas, **options)


def canvas_anchors(
    config: ml_collections.ConfigDict, canvas: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    """Anchors `[N_l, 4]` of every level; arguments and errors as `canvas_levels`."""
    return anchor_grids.place(canvas_levels(config, canvas))


def create_detector(
    config: ml_collections.ConfigDict,
    num_classes: int,
    devices: Sequence[jax.Device] | None = None,
) -> Detector:
    """Builds the detector of a configuration on the devices it asks for.

    Args:
      config: the whole configuration.
      num_classes: C.
      devices: of which; None: those of this process and its peers.

    Raises:
      ConfigError: the configuration cannot be run.
    """
    try:
        mesh = placement.create_mesh(config.runtime.devices, devices)
        configuration.check_config(config, mesh.size)
        detector = Detector(config, _create_model(config, num_classes), mesh)
        # Nothing is computed: the choices in the configuration are looked at before anything is.
        _ = detector.abstract_variables
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_choices(config)
    return detector


def check_choices(config: ml_collections.ConfigDict) -> None:
    """Finds what cannot be trained in a configuration, without its data and without devices.

    Raises:
      ConfigError: losses, schedule, canvases or augmentation cannot be had.
    """
    try:
        steps.objective_options(config)
        schedules.learning_rate_schedule(config.schedule, config.batch_size)
        data_parts.training_plan(config, np.ones((1, 2)))
        data_parts.augmentation_of(config.data)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def create_detector_for_inference(config: ml_collections.ConfigDict, num_classes: int) -> Detector:
    """The detector of a configuration on one device, to detect with and not to train.

    Args:
      config: a configuration, or its `model`, `anchors`, `evaluation` and `data` alone.
      num_classes: C.
    """
    return Detector(config, _create_model(config, num_classes), placement.create_mesh(1))


def _create_model(config: ml_collections.ConfigDict, num_classes: int) -> nn.Module:
    levels = canvas_levels(config, config.data.canvases[0])
    return create_model(
        config.model,
        num_classes=num_classes,
        anchors_per_location=tuple(len(level.cell) for level in levels),
    )


class Trainer(NamedTuple):
    """What trains a detector.

    Attributes:
      create_state: makes the state before the first step, on every device.
      abstract_state: the same without values.
      train_step: `train_step(state, batch, anchors) -> (state, metrics)`; the old state is donated.
    """

    create_state: Callable[[], train_state.TrainState]
    abstract_state: train_state.TrainState
    train_step: jax.stages.Wrapped


def create_trainer(detector: Detector) -> Trainer:
    """The optimizer, the state and the compiled step that a detector's configuration describes."""
    config = detector.config
    schedule = schedules.learning_rate_schedule(config.schedule, config.batch_size)
    params = detector.abstract_variables["params"]
    frozen = train_state.frozen_parameters(params, config.model.frozen_stages)
    optimizer = schedules.create_optimizer(config.optimizer, schedule, frozen)
    train_step = steps.make_train_step(detector.model, optimizer, schedule, config, detector.mesh)
    return Trainer(*_initial_state(detector, optimizer), train_step)


def _initial_state(
    detector: Detector, optimizer: optax.GradientTransformation
) -> tuple[Callable[[], train_state.TrainState], train_state.TrainState]:
    """What makes the state before the first step, and that state without values.

    It is a compiled program, so that its values do not depend on the number of devices, and takes
    what differs between the runs of a comparison as arguments: it is the same for all of them.
    """
    config = detector.config
    w_loc = steps.objective_options(config).localization.initial_w_loc
    arguments = np.int64(config.seed), np.float32(np.nan if w_loc is None else w_loc)

    def create_state(seed: jax.Array, w_loc: jax.Array) -> train_state.TrainState:
        has_ema = config.optimizer.ema_decay is not None
        variables = detector.init_variables(seed)
        return train_state.create_state(variables, optimizer, w_loc, has_ema=has_ema)

    # Placed as the steps leave it: anywhere else, the second step would compile once more.
    program = jax.jit(create_state, out_shardings=placement.replicated(detector.mesh))

    def compiled() -> train_state.TrainState:
        # It runs once, and the kernels for every array take as long to compile as the train step:
        # on a CPU half as long with less effort, which changes no bit. (Tests ask for still less.)
        options: dict[str, str | bool] = {}
        on_cpu = detector.mesh.devices.flat[0].platform == "cpu"
        if on_cpu and not jax.config.values["jax_disable_most_optimizations"]:
            options["xla_backend_optimization_level"] = "1"
        executable = program.lower(*arguments).compile(compiler_options=options)
        host_memory.give_back()
        return executable(*arguments)

    return compiled, jax.eval_shape(program, *arguments)
