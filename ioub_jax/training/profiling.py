"""A trace of a few training steps, for TensorBoard and xprof."""

import logging
import pathlib
from typing import Any

import jax

logger = logging.getLogger("ioub_jax")

#: The first steps compile and fill the caches; they are left out.
FIRST_STEP = 10
STEPS = 5


class Profile:
    """Traces steps 11 to 15 of this process's training.

    Args:
      folder: where the trace is written; None: no trace.
    """

    def __init__(self, folder: pathlib.Path | None) -> None:
        """Starts before the first traced step."""
        self._folder = folder
        self._done = 0
        self._tracing = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if self._tracing:
            self._stop(None)
        elif self._folder is not None and self._done <= FIRST_STEP and error is None:
            logger.warning(
                "No trace was written: only %d steps were left, and the first %d are not traced.",
                self._done,
                FIRST_STEP,
            )

    def step(self, number: int) -> jax.profiler.StepTraceAnnotation:
        """Context of a step, which names the step in the trace."""
        if self._folder is not None and self._done == FIRST_STEP:
            jax.profiler.start_trace(str(self._folder))
            self._tracing = True
        self._done += 1
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def after(self, result: Any) -> None:
        """Ends the trace after its last step, once the step's `result` is available."""
        if self._tracing and self._done == FIRST_STEP + STEPS:
            self._stop(result)

    def _stop(self, result: Any) -> None:
        jax.block_until_ready(result)
        jax.profiler.stop_trace()
        self._tracing = False
        logger.info("Wrote a trace of %d steps to %s.", self._done - FIRST_STEP, self._folder)
