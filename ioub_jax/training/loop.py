"""The training loop: `train_and_evaluate(config, workdir)`.

Read it from top to bottom: where a run starts, how w_loc is measured, and the loop itself. The
order inside the loop matters and is commented where it does.
"""

import contextlib
import functools
import logging
import os
import pathlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from tqdm import auto as tqdm

from ioub_jax import files
from ioub_jax.data import batching, pipeline, sources
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.fingerprint import Fingerprint
from ioub_jax.devices import hosts, placement
from ioub_jax.training import (
    compilations,
    evaluator,
    initial_weights,
    profiling,
    resumption,
    schedules,
    steps,
    train_state,
)
from ioub_jax.training.detector import Detector, Trainer, create_trainer
from ioub_jax.training.setup import create_setup
from ioub_jax.training.stopping import StopSignals
from ioub_jax.workdirs import (
    bit_depth,
    checkpoints,
    class_list,
    configuration,
    lock,
    records,
    writers,
)

logger = logging.getLogger("ioub_jax")

# ------------------------------------------------------------------ where a run starts


def start_state(
    detector: Detector,
    trainer: Trainer,
    source: Source,
    workdir: pathlib.Path,
) -> train_state.TrainState:
    """The state a run goes on from: its newest checkpoint that is whole, or a new one."""
    everywhere = placement.replicated(detector.mesh)
    if (state := checkpoints.resume(workdir, trainer.abstract_state, everywhere)) is not None:
        return state
    return initial_weights.with_initial_weights(
        trainer.create_state(), detector.config, class_list.categories_of(source), everywhere
    )


# ------------------------------------------------------------------ measuring w_loc


def with_measured_w_loc(
    detector: Detector, state: train_state.TrainState, training_batches: Any
) -> train_state.TrainState:
    """Sets an unset `w_loc` so that the first batches' localization loss keeps its sum.

    `w_loc = sum SL1 / sum iou^lambda SL1` (arXiv 1908.05641, section 3.2) over the first
    `config.loss.calibration_batches` batches and the initial parameters.
    """
    measure = steps.make_calibration_step(detector.model, detector.config)
    plain, balanced = 0.0, 0.0
    with training_batches(0, detector.config.loss.calibration_batches) as batches:
        for batch in batches:
            on_devices = detector.on_devices(batch, detector.config.batch_size)
            sums = measure(state, *on_devices)
            plain, balanced = plain + float(sums[0]), balanced + float(sums[1])
    # Without any positive, or where no box overlaps its target yet, there is nothing to keep.
    w_loc = plain / balanced if balanced > 0 else 1.0
    logger.info("Measured w_loc = %.4f on the first batches.", w_loc)
    value = jax.device_put(jnp.asarray(w_loc, jnp.float32), placement.replicated(detector.mesh))
    return state.replace(w_loc=value)


# ------------------------------------------------------------------ the loop


class Run:
    """One run in one workdir: what `train_and_evaluate` does, step by step.

    Args:
      config: the configuration.
      workdir: the run's folder, new or of the same configuration.
      profile: whether a few steps are traced, into `profile/`.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, workdir: pathlib.Path, *, profile: bool = False
    ) -> None:
        """Builds data and detector, and goes back to the last checkpoint where there is one."""
        self.config = config
        self.config_dict = configuration.to_dict(config)
        self.workdir = workdir
        self.trace_folder = None
        if profile:
            files.local(workdir, "where no trace is written: leave --profile out")
            self.trace_folder = workdir / "profile"
        configuration.check_workdir(workdir, config)
        before = resumption.read(workdir)
        self.source, self.validation, self.detector, learned = create_setup(
            config, class_list.read(workdir)
        )
        data = resumption.fingerprints(self.source, self.validation)
        with contextlib.ExitStack() as opened:
            if hosts.is_first():
                opened.enter_context(lock.held(workdir))
            self._claim_workdir(data)
            if hosts.is_first():
                for line in learned:
                    logger.info("%s", line)
            self._open()
            if hosts.is_first():
                self._tell(resumption.changes(before, config, data, self.step))
            # Until the training is over, or right now where something was wrong.
            self.lock = opened.pop_all()

    def _open(self) -> None:
        """Makes what is computed, goes to where the run stands and opens its records."""
        config, workdir = self.config, self.workdir
        self.plan = batching.create_plan(config, self.source.sizes)
        trainer = create_trainer(self.detector)
        self.train_step = trainer.train_step
        self.predict = steps.make_predict_step(self.detector.model, config, self.detector.mesh)

        self.state = start_state(self.detector, trainer, self.source, workdir)
        self.checkpoints = checkpoints.Checkpoints(workdir, evaluator.headline_key(config))
        if not np.isfinite(float(self.state.w_loc)):
            self.state = with_measured_w_loc(self.detector, self.state, self.training_batches)
        self.step = int(self.state.step)
        self.total_steps = schedules.steps_of(config.schedule.images, config.batch_size)
        self.writer = records.MetricWriter(
            workdir,
            ("train", "histograms", "evaluation"),
            self.step,
            writers.open_writers(workdir, config) if hosts.is_first() else None,
        )
        hosts.wait_for_all("records")

    def _tell(self, changes: Sequence[str]) -> None:
        """Says how a run that goes on differs from before, and where nothing is left of it."""
        for sentence in changes:
            logger.warning("%s", sentence)
        if self.step >= self.total_steps:
            logger.info(
                "The run in %s is finished already (step %d of %d); raise schedule.images to make "
                "it longer.",
                self.workdir,
                self.step,
                self.total_steps,
            )

    def _claim_workdir(self, data: Mapping[str, Fingerprint]) -> None:
        """The first process makes the workdir's files; the others find their own run in them."""
        if not hosts.is_first():
            hosts.check_shared(self.workdir)
        configuration.claim_workdir(self.workdir, self.config)
        class_list.claim(self.workdir, self.source)
        resumption.record_data(self.workdir, data)
        depth = bit_depth.claim(self.workdir, self.config.data, self.source)
        self.source = sources.with_bit_depth(self.source, depth)
        self.validation = sources.with_bit_depth(self.validation, depth)
        if hosts.is_first():
            hosts.check_shared(self.workdir)

    def training_batches(self, start: int, count: int) -> pipeline.BatchIterator:
        """The batches of steps `start` to `start + count - 1`."""
        return pipeline.training_batches_of(
            self.config,
            self.source,
            self.plan,
            start,
            count,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def is_due(self, images: int) -> bool:
        """Whether something due every `images` images is due after the step just done."""
        seen = self.step * self.config.batch_size
        return self.step == self.total_steps or seen // images > (
            (seen - self.config.batch_size) // images
        )

    def train(self) -> None:
        """Runs until the configured images are seen or a signal asks to stop."""
        remaining = max(self.total_steps - self.step, 0)  # it may have been made shorter
        with (
            self.lock,
            # Also after an error: what is being written is written to its end.
            contextlib.closing(self.checkpoints),
            self.writer,
            StopRequest() as stop,
            self.training_batches(self.step, remaining) as batches,
            Progress(self) as progress,
            compilations.Compilations("jit(train_step)", "Step") as compiled,
            profiling.Profile(self.trace_folder) as trace,
        ):
            if self.evaluation_is_missing():
                with progress.waiting("evaluation"):
                    self.evaluate(stop)
            unread = None
            for batch in progress.timed(batches, stop):
                with trace.step(self.step + 1):
                    on_devices = self.detector.on_devices(batch, self.config.batch_size)
                    self.state, values = self.train_step(self.state, *on_devices)
                self.step += 1
                stop.ask_all(self.step)
                trace.after(values)
                if self.config.runtime.check_compilations:
                    compiled.check(self.step, batch["image"].shape[1:3])
                # Metrics are read one step late: the device never waits for the host.
                if unread is not None:
                    progress.report(*unread)
                unread = (self.step, values)

                evaluation_due = self.is_due(self.config.evaluation.every_images)
                if not (stop.agreed or evaluation_due or self.checkpoint_is_due()):
                    continue
                # Only a state whose own metrics were read and finite may be kept.
                progress.report(*unread)
                unread = None
                with progress.waiting("checkpoint"):
                    self.writer.flush()
                    self.checkpoints.save_last(self.state, self.config_dict)
                if evaluation_due and not stop.agreed:
                    with progress.waiting("evaluation"):
                        self.evaluate(stop)
                if stop.agreed:
                    break
            if unread is not None:  # a signal ended the batches too
                progress.report(*unread)
                self.writer.flush()
                self.checkpoints.save_last(self.state, self.config_dict)
        if stop.agreed:
            logger.info(
                "Stopped at step %d by a signal, with everything saved; the same command goes on "
                "from there.",
                self.step,
            )

    def checkpoint_is_due(self) -> bool:
        """Whether the run must be saved after the step just done."""
        return self.is_due(self.config.runtime.checkpoint_every_images)

    def evaluation_is_missing(self) -> bool:
        """Whether an earlier process ended between a step and its evaluation."""
        due = self.step > 0 and self.is_due(self.config.evaluation.every_images)
        return due and not self.writer.has("evaluation", self.step)

    def evaluate(self, stop: "StopRequest") -> None:
        """Evaluates the state, records it, and keeps it if it is the best so far.

        Where a moving average is kept, it is what counts; the weights themselves are evaluated
        besides, as `without_ema_AP` and so on.
        """
        record: dict[str, float | None] = {}
        if self.state.ema:
            evaluation = self._evaluation_of(self.state.variables, "_without_ema", stop)
            if evaluation is None:
                return
            record = {f"without_ema_{key}": value for key, value in evaluation.record().items()}
        evaluation = self._evaluation_of(self.state.ema or self.state.variables, "", stop)
        if evaluation is None:
            return
        # Without ground truth there is no AP; the first such checkpoint is then the best.
        ap = -1.0 if evaluation.headline is None else evaluation.headline
        self.checkpoints.save_best(self.state, self.config_dict, ap)
        self.writer.write("evaluation", self.step, evaluation.record() | record)

    def _evaluation_of(
        self, variables: dict[str, Any], suffix: str, stop: "StopRequest"
    ) -> evaluator.Evaluation | None:
        """Evaluates variables, and writes and tells what they reach; None after a signal."""
        evaluation = evaluator.evaluate_source(
            functools.partial(self.predict, variables),
            self.validation,
            self.detector,
            lambda: stop.agreed,
        )
        if evaluation is not None:
            if hosts.is_first():
                evaluation.write(self.workdir / "evaluation", f"val_{self.step}{suffix}")
            words = suffix.replace("_", " ")
            logger.info("Step %d%s:\n%s", self.step, words, evaluation.describe())
        return evaluation


class StopRequest(StopSignals):
    """Turns SIGTERM and SIGINT into a question that the loop asks after every step.

    Of several processes all must stop at one step, whichever was asked to: there SIGTERM is left to
    jax (`hosts.reached_stop`), and Ctrl-C is handed on as one.
    """

    def __init__(self) -> None:
        """Nothing is requested yet."""
        self._has_others = jax.process_count() > 1
        super().__init__((signal.SIGINT,) if self._has_others else (signal.SIGTERM, signal.SIGINT))
        self._reached = False

    @property
    def agreed(self) -> bool:
        """Whether to stop now: all processes have the same answer."""
        return self._reached if self._has_others else self.requested

    def ask_all(self, step: int) -> None:
        """Asks whether the step just done is where all stop; comes after every step."""
        if self._has_others:
            self._reached = self._reached or hosts.reached_stop(step)

    def _request(self, signum: int, frame: Any) -> None:
        super()._request(signum, frame)
        if self._has_others:
            os.kill(os.getpid(), signal.SIGTERM)
        # A second Ctrl-C interrupts at once.
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Progress:
    """The progress bar, and the records of `train.jsonl` and `histograms.jsonl`.

    Args:
      run: the run to report on.
    """

    def __init__(self, run: Run) -> None:
        """Starts the clocks."""
        self._run = run
        self._bar = tqdm.tqdm(
            total=run.total_steps,
            initial=run.step,
            unit="step",
            disable=None if hosts.is_first() else True,
            dynamic_ncols=True,
        )
        self._last_step = run.step
        self._start_clocks()

    def _start_clocks(self) -> None:
        self._since = time.perf_counter()
        self._waited = {"data": 0.0, "checkpoint": 0.0, "evaluation": 0.0}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Adds up the time in which no step is started for 'data', 'checkpoint', 'evaluation'."""
        start = time.perf_counter()
        yield
        self._waited[what] += time.perf_counter() - start

    def timed(self, batches: Iterator[Any], stop: "StopRequest") -> Iterator[Any]:
        """Yields the batches and adds up the time spent waiting for them."""
        while True:
            try:
                with self.waiting("data"):
                    batch = next(batches, None)
            except Exception:
                # A signal to the whole process group ends a worker that is still starting up.
                if stop.requested:
                    return
                raise
            if batch is None:
                return
            yield batch

    def report(self, step: int, on_device: dict[str, jax.Array]) -> None:
        """Reads a step's metrics, checks that they are finite, and records some of them.

        Raises:
          NonFiniteError: a metric is infinite or not a number.
        """
        values, histograms = records.split_histograms(jax.device_get(on_device))
        records.check_finite(step, values)
        self._bar.update(step - self._bar.n)
        if step % self._run.config.runtime.log_every_steps and step != self._run.total_steps:
            return
        # Evaluations stand apart.
        elapsed = time.perf_counter() - self._since - self._waited["evaluation"]
        done = step - self._last_step
        speed = {
            "images_per_second": done * self._run.config.batch_size / elapsed,
            "data_wait_share": self._waited["data"] / elapsed,
            "checkpoint_wait_share": self._waited["checkpoint"] / elapsed,
        }
        self._last_step = step
        self._start_clocks()
        self._run.writer.write("train", step, values | speed)
        self._run.writer.write("histograms", step, histograms)
        remaining = (self._run.total_steps - step) * elapsed / max(done, 1)
        line = (
            f"loss {values['loss']:.4f}, {speed['images_per_second']:.1f} images/s, "
            f"{speed['data_wait_share']:.0%} waiting for data"
        )
        self._bar.set_postfix_str(line)
        if self._bar.disable:
            minutes, seconds = divmod(round(remaining), 60)
            logger.info(
                "Step %d/%d: %s, %d:%02d left", step, self._run.total_steps, line, minutes, seconds
            )


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, *, profile: bool = False
) -> None:
    """Trains the detector of a configuration, or goes on where the workdir's run stopped.

    Args:
      config: a configuration as those in `configs/`.
      workdir: the run's folder: `config.json`, `classes.json`, `data.json`, `bit_depth.json` (of
        image files), `train.jsonl`, `histograms.jsonl`, `evaluation.jsonl`, `tensorboard/`,
        `checkpoints/{last,best}/` and `evaluation/` are written there.
      profile: whether a few steps are traced, into `profile/`.

    Raises:
      ConfigError: the configuration cannot be run, the workdir holds another one's run, or another
        process is training there.
      DataError: the data set is broken.
      NonFiniteError: training diverged; the last checkpoint stands.
      CompilationError: the step was compiled more often than there are canvases.
    """
    Run(config, files.path_of(workdir), profile=profile).train()
