"""Progress of a training: its progress bar, its records, and its times."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from typing import Any

import jax
from tqdm import auto as tqdm

from ioub_jax.devices import hosts
from ioub_jax.training.stopping import StopSignals
from ioub_jax.workdirs import records

logger = logging.getLogger("ioub_jax")


@dataclasses.dataclass(frozen=True)
class Span:
    """The remaining part of a training.

    Attributes:
      step: the number of steps that are done.
      steps: the number of steps of the whole run.
      batch_size: the images of a step.
      log_every_steps: the steps between two records of the metrics.
      seconds: the seconds that the run has taken so far.
    """

    step: int
    steps: int
    batch_size: int
    log_every_steps: int
    seconds: float = 0.0


class Progress:
    """The progress bar, and the records of `train.jsonl` and `histograms.jsonl`.

    The first step on every canvas compiles. Its time counts in `seconds`, but not in the rates.

    Args:
      span: the remaining part of the training.
      writer: the writer of the records.
    """

    def __init__(self, span: Span, writer: records.MetricWriter) -> None:
        """Starts the clocks."""
        self._span = span
        self._writer = writer
        self._bar = tqdm.tqdm(
            total=span.steps,
            initial=span.step,
            unit="step",
            disable=None if hosts.is_first() else True,
            dynamic_ncols=True,
        )
        self._last_step = span.step
        self._canvases: set[tuple[int, ...]] = set()
        self._began = time.perf_counter() - span.seconds
        self._start_clocks()

    def _start_clocks(self) -> None:
        self._since = time.perf_counter()
        self._first_steps = 0
        self._waited = dict.fromkeys(("data", "checkpoint", "evaluation", "compilation"), 0.0)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Seconds of the run over all its starts, including evaluations and compilations."""
        return time.perf_counter() - self._began

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Context whose time is added to 'data', 'checkpoint', 'evaluation' or 'compilation'."""
        start = time.perf_counter()
        yield
        self._waited[what] += time.perf_counter() - start

    def is_first_on(self, canvas: tuple[int, ...]) -> bool:
        """True if no step of this process has used the canvas; also logs the compilation then."""
        if canvas in self._canvases:
            return False
        if hosts.is_first():
            others = f" for images of {canvas[0]}x{canvas[1]}" if self._canvases else ""
            logger.info("Compiling the step%s (about a minute, unless it is cached) ...", others)
        self._canvases.add(canvas)
        return True

    @contextlib.contextmanager
    def first_step(self) -> Iterator[None]:
        """Context of a step that compiles, which excludes it from all rates."""
        with self.waiting("compilation"):
            yield
        self._first_steps += 1
        self._bar.unpause()

    def timed(self, batches: Iterator[Any], stop: StopSignals) -> Iterator[Any]:
        """Yields the batches and adds up the time spent waiting for them."""
        while True:
            try:
                with self.waiting("data"):
                    batch = next(batches, None)
            except Exception:
                # A signal to the whole process group kills workers that are still starting up.
                if stop.requested:
                    return
                raise
            if batch is None:
                return
            yield batch

    def report(self, step: int, on_device: dict[str, jax.Array]) -> None:
        """Reads a step's metrics, checks that they are finite, and records those of some steps.

        Raises:
          NonFiniteError: a metric is infinite or not a number.
        """
        values, histograms = records.split_histograms(jax.device_get(on_device))
        records.check_finite(step, values)
        self._bar.update(step - self._bar.n)
        if step % self._span.log_every_steps and step != self._span.steps:
            return
        # Evaluations and compilations do not count in the rates.
        waited = self._waited
        elapsed = time.perf_counter() - self._since
        elapsed -= waited["evaluation"] + waited["compilation"]
        done = step - self._last_step - self._first_steps
        speed = {}
        if done > 0:
            speed = {
                "images_per_second": done * self._span.batch_size / elapsed,
                "data_wait_share": waited["data"] / elapsed,
                "checkpoint_wait_share": waited["checkpoint"] / elapsed,
            }
        self._last_step = step
        self._start_clocks()
        seconds = {"seconds": round(self.seconds, 3)}
        self._writer.write("train", step, values | speed | seconds)
        self._writer.write("histograms", step, histograms)
        line = f"loss {values['loss']:.4f}"
        if speed:
            line += (
                f", {speed['images_per_second']:.1f} images/s, "
                f"{speed['data_wait_share']:.0%} waiting for data"
            )
        self._bar.set_postfix_str(line)
        if self._bar.disable:
            if speed:
                line += f", {time_of((self._span.steps - step) * elapsed / done)} left"
            logger.info("Step %d/%d: %s", step, self._span.steps, line)


def time_of(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: '1:02:03', or '2:03' below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
