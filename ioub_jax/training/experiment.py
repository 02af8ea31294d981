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
    """Length and batch sizes of a training, and what else it does.

    All numbers of images are totals over all devices.

    Attributes:
      images: the images seen in the whole run.
      batch_size: the images of a step.
      seed: fixes the initial parameters, the order of the data and its augmentation.
      evaluation_batch_size: the images that are evaluated at once.
      evaluate_every_images: the images between two evaluations.
      checkpoint_every_images: the images between two checkpoints.
      log_every_steps: the steps between two records of the metrics.
      calibration_batches: the number of batches on which `w_loc` is measured.
      gradient_accumulation: as for `steps.make_train_step`.
      rematerialize: as for `steps.make_train_step`.
      ema_decay: as for `steps.make_train_step`.
      check_compilations: whether training stops with an error if the step is compiled more than
        once for a canvas.
      wandb_project: the project of Weights & Biases that also gets the records; None: none.
      evaluate_losses: whether the losses on the validation images are computed too.
      pictures: the number of validation images on which detections are drawn at every evaluation.
      patience: the number of evaluations without improvement after which training ends; None: it
        does not end early.
      min_delta: the amount by which a headline must exceed the best one to count as an improvement.
      bit_depth: the number of significant bits of 16-bit images; None: as measured when the run
        began.
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
        """The number of steps of the whole run."""
        return optimization.steps_of(self.images, self.batch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """The parts of a training: the result of `ioub_jax.build` and the input of `ioub_jax.train`.

    Attributes:
      detector: the detector to train, on its devices.
      source: the training data.
      validation: the validation data.
      optimizer: the optimizer of the parameters.
      learning_rate: the learning rate of every step, for the records; None: it is unknown.
      loading: how images become batches.
      metrics: the metrics of its evaluations; the headline of the first picks the best checkpoint.
      initial_weights: the weights that a new run starts from.
      options: the length of the training, its batch sizes and so on.
      learned: sentences on how many boxes and images of the training data are trained on.
      class_weights: the weight of each class in the loss by name, recorded in the workdir; None:
        no weights.
      repeats: float64 `[n]`, how often each training image occurs in an epoch; None: once.
      settings: the configuration in a form that JSON can hold, recorded in the workdir.
      given: the qualified name of each part that was not built from the configuration, by the name
        of the part; recorded in the workdir too.
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
        """The compiled step and the initial state, for this loop or your own."""
        return create_trainer(self.detector, self.optimizer, self.learning_rate, self.options)

    def training_batches(self, start_step: int, num_steps: int) -> BatchIterator:
        """This process's part of the batches of steps `start_step` to `start_step + num_steps - 1`.

        Raises:
          DataError: raised by the iteration, if an image cannot be read and is not skipped.
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
        """The images and the canvas of every step's batch."""
        options = self.options
        return self.loading.training_plan(
            self.source.sizes, options.batch_size, options.seed, self.repeats
        )


class Trainer(NamedTuple):
    """The compiled step of a detector's training, and its initial state.

    Attributes:
      create_state: makes the state before the first step, on every device.
      abstract_state: the shapes and dtypes of that state.
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
    """The initial state and the compiled step; the arguments are parts of an `Experiment`."""
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
    """A function that makes the state before the first step, and that state without values.

    The function is a compiled program, so that the values do not depend on the number of devices.
    Whatever differs between the runs of a comparison is an argument of the program, so that all of
    them share it.
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

    # The state is placed where the steps leave it; otherwise the second step would compile again.
    program = jax.jit(create_state, out_shardings=placement.replicated(detector.mesh))

    def compiled() -> train_state.TrainState:
        # This program runs once, but its kernels for every array take as long to compile as the
        # train step. On a CPU a lower optimization level halves that and changes no bit. (Tests
        # already ask for an even lower one.)
        compiler: dict[str, str | bool] = {}
        on_cpu = detector.mesh.devices.flat[0].platform == "cpu"
        if on_cpu and not jax.config.values["jax_disable_most_optimizations"]:
            compiler["xla_backend_optimization_level"] = "1"
        executable = program.lower(*arguments).compile(compiler_options=compiler)
        host_memory.give_back()
        state: train_state.TrainState = executable(*arguments)
        return state

    return compiled, jax.eval_shape(program, *arguments)
