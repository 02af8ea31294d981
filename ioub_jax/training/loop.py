"""The training loop: `Run(experiment, workdir).train()`.

Comments mark the places in the loop where the order of the statements matters.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ioub_jax import files
from ioub_jax.data import sources
from ioub_jax.data.sources.fingerprint import Fingerprint
from ioub_jax.detectors import Carried
from ioub_jax.devices import hosts
from ioub_jax.evaluation.recorded_numbers import WITHOUT_EMA
from ioub_jax.training import (
    compilations,
    early_stopping,
    evaluator,
    profiling,
    resumption,
    start,
    summary,
)
from ioub_jax.training.experiment import Experiment
from ioub_jax.training.progress_bar import Progress, Span
from ioub_jax.training.stopping import StopSignals
from ioub_jax.workdirs import (
    bit_depth,
    checkpoints,
    class_list,
    class_weights,
    configuration,
    given_parts,
    lock,
    pixel_convention,
    records,
    writers,
)

logger = logging.getLogger("ioub_jax")


class Run:
    """One run in one workdir: the steps of `ioub_jax.train`.

    Args:
      experiment: all parts of the training.
      workdir: the run's folder; it is new, or has the same configuration and parts.
      profile: whether a few steps are traced, into `profile/`.

    Attributes:
      experiment: all parts of the training; its images are read with the bit depth recorded when
        the run began.
      state: the current training state.
    """

    def __init__(
        self, experiment: Experiment, workdir: pathlib.Path, *, profile: bool = False
    ) -> None:
        """Resumes from the last checkpoint if there is one."""
        self.experiment = experiment
        self.options = experiment.options
        self.workdir = workdir
        self.trace_folder = None
        if profile:
            files.local(workdir, "where no trace is written: leave --profile out")
            self.trace_folder = workdir / "profile"
        configuration.check_workdir(workdir, experiment.settings)
        given_parts.check(workdir, experiment.given)
        before = resumption.read(workdir)
        data = resumption.fingerprints(experiment.source, experiment.validation)
        with contextlib.ExitStack() as opened:
            if hosts.is_first():
                opened.enter_context(lock.held(workdir))
            self._claim_workdir(data)
            if hosts.is_first():
                for line in summary.lines_at_start(experiment):
                    logger.info("%s", line)
            self._open()
            if hosts.is_first():
                self._tell(resumption.changes(before, self.experiment, data, self.step))
            # The lock is held until the training is over; an error above releases it at once.
            self.lock = opened.pop_all()

    def _open(self) -> None:
        """Builds the compiled steps, moves to the run's position and opens its records."""
        experiment, options, workdir = self.experiment, self.options, self.workdir
        self.train_step = experiment.trainer.train_step
        self.state = start.start_state(experiment, workdir)
        self.checkpoints = checkpoints.Checkpoints(workdir, experiment.metrics[0].headline_key)
        self.step = int(self.state.step)
        self.total_steps = options.steps
        self.writer = records.MetricWriter(
            workdir,
            ("train", "histograms", "evaluation"),
            self.step,
            writers.open_writers(workdir, options.wandb_project, experiment.settings)
            if hosts.is_first()
            else None,
        )
        hosts.wait_for_all("records")
        self.evaluations = records.read_records(workdir / "evaluation.jsonl", self.step)

    def _tell(self, changes: Sequence[str]) -> None:
        """Logs how a resumed run differs from before, and whether it is already finished."""
        for sentence in changes:
            logger.warning("%s", sentence)
        if 0 < self.step < self.total_steps:
            logger.info("The run resumes at step %d of %d.", self.step, self.total_steps)
        if self.step >= self.total_steps:
            logger.info(
                "The run in %s is already finished (step %d of %d); raise %s to make it longer.",
                self.workdir,
                self.step,
                self.total_steps,
                self._length_key(),
            )
        elif ended := self._early_end():
            logger.info(
                "The run in %s ended early, %s; raise evaluation.patience, or set it to None, to "
                "continue.",
                self.workdir,
                ended.describe(self.options),
            )

    def _length_key(self) -> str:
        """The configuration key that sets the length of the run."""
        schedule = self.experiment.settings.get("schedule", {})
        return f"schedule.{'images' if schedule.get('epochs') is None else 'epochs'}"

    def _early_end(self) -> early_stopping.Ending | None:
        """Reason why the run ends with its last evaluation, from the records of this process."""
        key = self.experiment.metrics[0].headline_key
        return early_stopping.ending(self.evaluations, key, self.options)

    def has_ended_early(self) -> bool:
        """True if the run ends with its last evaluation; the same in all processes."""
        return self.options.patience is not None and hosts.first_says(self._early_end() is not None)

    def _claim_workdir(self, data: Mapping[str, Fingerprint]) -> None:
        """Makes the workdir's files in the first process; the others check theirs against them."""
        if not hosts.is_first():
            hosts.check_shared(self.workdir)
        # The parts are written before the configuration: a process that finds the configuration
        # finds the parts too.
        given_parts.claim(self.workdir, self.experiment.given)
        pixel_convention.claim(self.workdir, self.experiment.source)
        configuration.claim_workdir(self.workdir, self.experiment.settings)
        class_list.claim(self.workdir, self.experiment.source)
        class_weights.claim(self.workdir, self.experiment.class_weights)
        resumption.record_data(self.workdir, data)
        depth = bit_depth.claim(self.workdir, self.options.bit_depth, self.experiment.source)
        self.experiment = dataclasses.replace(
            self.experiment,
            source=sources.with_bit_depth(self.experiment.source, depth),
            validation=sources.with_bit_depth(self.experiment.validation, depth),
        )
        if hosts.is_first():
            hosts.check_shared(self.workdir)

    def is_due(self, images: int) -> bool:
        """True if a task that is due every `images` images is due after the step just done."""
        seen = self.step * self.options.batch_size
        return self.step == self.total_steps or seen // images > (
            (seen - self.options.batch_size) // images
        )

    def train(self) -> None:
        """Trains until all images are seen, evaluations stop improving or a signal arrives."""
        # The schedule may have been shortened below the steps that are done.
        remaining = max(self.total_steps - self.step, 0)
        with (
            self.lock,
            # Checkpoints that are being written are completed, even after an error.
            contextlib.closing(self.checkpoints),
            self.writer,
            StopRequest() as stop,
            self.experiment.training_batches(self.step, remaining) as batches,
            Progress(self._span(), self.writer) as progress,
            compilations.Compilations("jit(train_step)", "Step") as compiled,
            profiling.Profile(self.trace_folder) as trace,
        ):
            if self.evaluation_is_missing():
                with progress.waiting("evaluation"):
                    self.evaluate(stop)
            unread, ended_early = None, self.has_ended_early()
            # After a signal during that evaluation, a step would be saved that nothing evaluates.
            has_ended = ended_early or stop.agreed
            for batch in progress.timed(iter(()) if has_ended else batches, stop):
                with trace.step(self.step + 1):
                    values = self._train_on(batch, progress)
                self.step += 1
                stop.ask_all(self.step)
                trace.after(values)
                if self.options.check_compilations:
                    compiled.check(self.step, batch["image"].shape[1:3])
                # Metrics are read one step late, so that the device never waits for the host.
                if unread is not None:
                    progress.report(*unread)
                unread = (self.step, values)

                evaluation_due = self.is_due(self.options.evaluate_every_images)
                if not (stop.agreed or evaluation_due or self.checkpoint_is_due()):
                    continue
                # A state is saved only after its own metrics were read and found finite.
                progress.report(*unread)
                unread = None
                with progress.waiting("checkpoint"):
                    self._save_last()
                if evaluation_due and not stop.agreed:
                    with progress.waiting("evaluation"):
                        self.evaluate(stop)
                    ended_early = not stop.agreed and self.has_ended_early()
                if stop.agreed or ended_early:
                    break
            if unread is not None:  # a signal also ended the iteration over batches
                progress.report(*unread)
                self._save_last()
        if ended_early and hosts.is_first() and (ended := self._early_end()):
            logger.info("Ended early %s.", ended.describe(self.options))
        if stop.agreed:
            logger.info(
                "Stopped at step %d by a signal, with everything saved; run the same command to "
                "resume.",
                self.step,
            )
        elif remaining and hosts.is_first():
            headline = self.experiment.metrics[0].headline_key
            for line in summary.lines_at_end(
                self.workdir, self.checkpoints, headline, progress.seconds
            ):
                logger.info("%s", line)

    def _span(self) -> Span:
        recorded = records.read_records(self.workdir / "train.jsonl", self.step)
        return Span(
            step=self.step,
            steps=self.total_steps,
            batch_size=self.options.batch_size,
            log_every_steps=self.options.log_every_steps,
            seconds=recorded[-1].get("seconds", 0.0) if recorded else 0.0,
        )

    def _train_on(self, batch: Mapping[str, Any], progress: Progress) -> dict[str, jax.Array]:
        """Dispatches a step and returns its metrics, which become available later."""
        on_devices = self.experiment.detector.on_devices(batch, self.options.batch_size)
        if not progress.is_first_on(batch["image"].shape[1:3]):
            self.state, values = self.train_step(self.state, *on_devices)
            return values
        # The time of earlier work must not count as compilation.
        jax.block_until_ready(self.state)
        with progress.first_step():
            self.state, values = self.train_step(self.state, *on_devices)
            jax.block_until_ready(values)
        return values

    def _save_last(self) -> None:
        self.writer.flush()
        self.checkpoints.save_last(self.state, self.experiment.settings)

    def checkpoint_is_due(self) -> bool:
        """True if the run must be saved after the step just done."""
        return self.is_due(self.options.checkpoint_every_images)

    def evaluation_is_missing(self) -> bool:
        """True if an earlier process ended after a step but before its evaluation."""
        due = self.step > 0 and self.is_due(self.options.evaluate_every_images)
        return due and not self.writer.has("evaluation", self.step)

    def evaluate(self, stop: "StopRequest") -> None:
        """Evaluates the state, records the result, and keeps the state if it is the best so far.

        If the run has a moving average of the weights, the average is what counts. The weights
        themselves are then evaluated too, as `without_ema_AP` and so on.
        """
        record: dict[str, float | None] = {}
        if self.state.ema:
            evaluation = self._evaluation_of(self.state.variables, "_without_ema", stop)
            if evaluation is None:
                return
            record = {f"{WITHOUT_EMA}{key}": value for key, value in evaluation.record().items()}
        evaluation = self._evaluation_of(self.state.ema or self.state.variables, "", stop)
        if evaluation is None:
            return
        # Without ground truth there is no AP, and the first checkpoint is kept as the best.
        ap = -1.0 if evaluation.headline is None else evaluation.headline
        self.checkpoints.save_best(self.state, self.experiment.settings, ap)
        if hosts.is_first() and self.options.pictures:
            self._draw(evaluation)
        self.writer.write("evaluation", self.step, evaluation.record() | record)
        self.evaluations.append({"step": self.step, **evaluation.record()})
        if hosts.is_first() and evaluation.headline is not None:
            logger.info("%s", summary.compared_with_best(evaluation, self.checkpoints, self.step))

    def _draw(self, evaluation: evaluator.Evaluation) -> None:
        """Draws detections of an evaluation, for TensorBoard and for the folder."""
        # Imported here because matplotlib would slow down every start.
        from ioub_jax.training import pictures

        reached = summary.headline_of(evaluation)
        sheet = pictures.detections_sheet(
            self.experiment.validation,
            evaluation.results,
            self.options.pictures,
            f"Step {self.step}{reached}: ground truth dashed, detections from a score of .3 solid",
        )
        files.write_bytes(records.picture_path(self.workdir, self.step), sheet)

    def _carried_to_evaluate(self) -> Carried:
        """What the losses carry, with the moving average of a batch of the evaluation's size."""
        carried = self.state.carried
        ratio = self.options.evaluation_batch_size / self.options.batch_size
        return carried._replace(moving_average=ratio * carried.moving_average)

    def _evaluation_of(
        self, variables: dict[str, Any], suffix: str, stop: "StopRequest"
    ) -> evaluator.Evaluation | None:
        """Evaluates variables, writes and logs the results; returns None after a signal."""
        detector, has_losses = self.experiment.detector, self.options.evaluate_losses
        evaluation = evaluator.evaluate_source(
            functools.partial(detector.predict_with_losses, variables, self._carried_to_evaluate())
            if has_losses
            else functools.partial(detector.predict, variables),
            self.experiment.validation,
            detector,
            self.experiment.loading,
            self.experiment.metrics,
            self.options.evaluation_batch_size,
            lambda: stop.agreed,
            with_losses=has_losses,
        )
        if evaluation is not None:
            if hosts.is_first():
                evaluation.write(self.workdir / "evaluation", f"val_{self.step}{suffix}")
            words = suffix.replace("_", " ")
            logger.info("Step %d%s:\n%s", self.step, words, evaluation.describe())
        return evaluation


_STOPPING = (
    b"\nStopping after this step, or the evaluation that is going on, with everything saved; a "
    b"second Ctrl-C ends at once.\n"
)


class StopRequest(StopSignals):
    """Turns SIGTERM and SIGINT into a request that the loop checks after every step.

    All processes of a run must stop at the same step, whichever of them got the signal. With
    several processes SIGTERM is therefore left to jax (`hosts.reached_stop`), and Ctrl-C is passed
    on as a SIGTERM.
    """

    def __init__(self) -> None:
        """Starts without a request."""
        self._has_others = jax.process_count() > 1
        super().__init__((signal.SIGINT,) if self._has_others else (signal.SIGTERM, signal.SIGINT))
        self._reached = False

    @property
    def agreed(self) -> bool:
        """True if all processes stop now; the same in all of them."""
        return self._reached if self._has_others else self.requested

    def ask_all(self, step: int) -> None:
        """Agrees with all processes whether to stop after the step just done.

        It must be called after every step.
        """
        if self._has_others:
            self._reached = self._reached or hosts.reached_stop(step)

    def _request(self, signum: int, frame: Any) -> None:
        super()._request(signum, frame)
        # Written directly: the signal may have interrupted a log handler in the middle of a line.
        os.write(2, _STOPPING)
        if self._has_others:
            os.kill(os.getpid(), signal.SIGTERM)
        # A second Ctrl-C interrupts at once.
        signal.signal(signal.SIGINT, signal.default_int_handler)
