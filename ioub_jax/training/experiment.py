"""All parts of a training before it begins."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from ioub_jax.data.batching import BatchPlan
from ioub_jax.data.loading import Loading
from ioub_jax.data.pipeline import BatchIterator
from ioub_jax.data.sources.example import Source
from ioub_jax.detectors import PlacedDetector
from ioub_jax.devices import host_memory, placement
from ioub_jax.evaluation.metric import Metric
from ioub_jax.training import optimization, steps, train_state
from ioub_jax.training.initial_weights import InitialWeights


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Length, sizes and further work of a training. Images are those of all devices.

    Attributes:
      images: seen in the whole run.
      batch_size: images of a step.
      seed: fixes initial parameters, the order of the data and its augmentation.
      evaluation_batch_size: images that are evaluated at once.
      evaluate_every_images: how often the run is evaluated.
      checkpoint_every_images: how often it is saved.
      log_every_steps: how often its metrics are recorded.
      calibration_batches: on which `w_loc` is measured.
      gradient_accumulation: as `steps.make_train_step`, as are the next two.
      rematerialize: see there.
      ema_decay: see there.
      check_compilations: whether training ends where the step is compiled more than once for a
        canvas.
      wandb_project: the project of Weights & Biases that gets the records too; None: none.
      evaluate_losses: whether the losses on the validation images are computed, too.
      pictures: of how many of these the detections are drawn at every evaluation.
      patience: after how many evaluations without a better one the training ends; None: it does
        not end early.
      min_delta: by how much more than the best a better one has to be.
      bit_depth: with how many bits 16-bit images are read; None: as measured when the run began.
    """

    images: int
    batch_size: int
    seed: int = 0
    evaluation_batch_size: int = 16
    evaluate_every_images: int = 20_000
    checkpoint_every_images: int = 20_000
    log_every_steps: int = 20
    calibration_batches: int = 8
    gradient_accumulation: int = 1
    rematerialize: str = "nothing"
    ema_decay: float | None = None
    check_compilations: bool = True
    wandb_project: str | None = None
    evaluate_losses: bool = True
    pictures: int = 8
    patience: int | None = None
    min_delta: float = 0.0
    bit_depth: int | None = None

    @property
    def steps(self) -> int:
        """The steps of the whole run."""
        return optimization.steps_of(self.images, self.batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """The parts of a training: the result of `ioub_jax.build` and the input of `ioub_jax.train`.

    Attributes:
      detector: what is trained, on its devices.
      source: the training data.
      validation: the validation data.
      optimizer: what trains the parameters.
      learning_rate: of every step, to be recorded; None: it is not known.
      loading: how images become batches.
      metrics: by which it is evaluated; the headline of the first picks the best checkpoint.
      initial_weights: what a new run starts from.
      options: how long, how much at once.
      learned: how many boxes and images of the training data are trained on, in words.
      class_weights: name -> weight of each class in the loss, which the workdir keeps; None: none.
      repeats: float64 `[n]`, how often each training image comes in an epoch; None: once.
      settings: the configuration as JSON can hold it, which the workdir keeps.
      given: part -> qualified name of each part that was not built from the configuration, which
        the workdir keeps too.
    """

    detector: PlacedDetector
    source: Source
    validation: Source
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule | None
    loading: Loading
    metrics: tuple[Metric, ...]
    initial_weights: InitialWeights
    options: TrainingOptions
    learned: tuple[str, ...] = ()
    class_weights: dict[str, float] | None = None
    repeats: np.ndarray | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    given: dict[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def trainer(self) -> "Trainer":
        """The compiled step and the initial state, for this loop or one of your own."""
        return create_trainer(self.detector, self.optimizer, self.learning_rate, self.options)

    def training_batches(self, start_step: int, num_steps: int) -> BatchIterator:
        """This process's part of the batches of steps `start_step` to `start_step + num_steps - 1`.

        Raises:
          DataError: from the iteration, where `loading` skips nothing.
        """
        return self.loading.training_batches(
            self.source,
            self.plan,
            start_step,
            num_steps,
            seed=self.options.seed,
            total_steps=self.options.steps,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    @functools.cached_property
    def plan(self) -> BatchPlan:
        """The images and the canvas of the batch of every step."""
        options = self.options
        return self.loading.training_plan(
            self.source.sizes, options.batch_size, options.seed, self.repeats
        )


class Trainer(NamedTuple):
    """The compiled step of a detector's training, and its initial state.

    Attributes:
      create_state: makes the state before the first step, on every device.
      abstract_state: the same without values.
      train_step: `train_step(state, batch, anchors) -> (state, metrics)`; the old state is donated.
    """

    create_state: Callable[[], train_state.TrainState]
    abstract_state: train_state.TrainState
    train_step: jax.stages.Wrapped


def create_trainer(
    detector: PlacedDetector,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule | None,
    options: TrainingOptions,
) -> Trainer:
    """The initial state and the compiled step; the arguments are those parts of an `Experiment`."""
    train_step = steps.make_train_step(
        detector.detector,
        optimizer,
        learning_rate,
        detector.mesh,
        rematerialize=options.rematerialize,
        gradient_accumulation=options.gradient_accumulation,
        ema_decay=options.ema_decay,
    )
    return Trainer(*_initial_state(detector, optimizer, options), train_step)


def _initial_state(
    detector: PlacedDetector, optimizer: optax.GradientTransformation, options: TrainingOptions
) -> tuple[Callable[[], train_state.TrainState], train_state.TrainState]:
    """A function for the state before the first step, and that state without values.

    It is a compiled program, so that its values do not depend on the number of devices, and takes
    what differs between the runs of a comparison as arguments: it is the same for all of them.
    """
    w_loc = detector.detector.initial_w_loc
    arguments = np.int64(options.seed), np.float32(np.nan if w_loc is None else w_loc)

    def create_state(seed: jax.Array, w_loc: jax.Array) -> train_state.TrainState:
        variables = detector.init_variables(seed)
        has_ema = options.ema_decay is not None
        return train_state.create_state(
            variables,
            optimizer,
            w_loc,
            has_ema=has_ema,
            loss_state=detector.detector.initial_loss_state,
        )

    # Placed as the steps leave it: anywhere else, the second step would compile once more.
    program = jax.jit(create_state, out_shardings=placement.replicated(detector.mesh))

    def compiled() -> train_state.TrainState:
        # It runs once, and the kernels for every array take as long to compile as the train step:
        # on a CPU half as long with less effort, which changes no bit. (Tests ask for still less.)
        compiler: dict[str, str | bool] = {}
        on_cpu = detector.mesh.devices.flat[0].platform == "cpu"
        if on_cpu and not jax.config.values["jax_disable_most_optimizations"]:
            compiler["xla_backend_optimization_level"] = "1"
        executable = program.lower(*arguments).compile(compiler_options=compiler)
        host_memory.give_back()
        state: train_state.TrainState = executable(*arguments)
        return state

    return compiled, jax.eval_shape(program, *arguments)
