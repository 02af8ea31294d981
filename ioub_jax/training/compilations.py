"""Check that the train step is compiled at most once for each canvas, and how long that takes."""

import logging
from typing import Any

import jax

from ioub_jax.devices import host_memory

logger = logging.getLogger("ioub_jax")

# The events that jax sends for every program: first whether the cache of compiled programs held or
# stored it, then how long it took until the program was available.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_READ = "/jax/compilation_cache/cache_hits"
_KEPT = "/jax/compilation_cache/cache_misses"


class CompilationError(RuntimeError):
    """The train step was compiled more often than there are canvases: a bug that costs minutes."""


class Compilations:
    """Context that counts how often a program is compiled or read from the cache.

    Each time, it logs the duration and whether the program was cached for the next start. It also
    returns the memory that the compiler needed to the operating system.

    Args:
      name: the program's name in jax, such as 'jit(train_step)'.
      title: the program's name in the log, such as 'Step'.
    """

    def __init__(self, name: str, title: str) -> None:
        """Starts with counts of zero."""
        self.count = 0
        self._name = name
        self._title = title
        self._canvases: set[tuple[int, ...]] = set()
        self._cache_event: str | None = None

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_listener(self._hear_of_cache)
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *error: Any) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)
        jax.monitoring.unregister_event_listener(self._hear_of_cache)

    def check(self, step: int, canvas: tuple[int, ...]) -> None:
        """Checks the count after a step.

        Args:
          step: the step just dispatched.
          canvas: the canvas of its batch.

        Raises:
          CompilationError: there were more compilations than canvases.
        """
        self._canvases.add(canvas)
        if self.count > len(self._canvases):
            raise CompilationError(
                f"{self._name} was compiled {self.count} times by step {step}, for "
                f"{len(self._canvases)} canvases; JAX_EXPLAIN_CACHE_MISSES=1 shows why, and with "
                "runtime.check_compilations=False training continues anyway."
            )

    def _hear_of_cache(self, event: str, **about: str | int) -> None:
        # These events do not name the program, but precede the event of its compilation.
        if event in (_READ, _KEPT):
            self._cache_event = event

    def _hear(self, event: str, duration_secs: float, **about: str | int) -> None:
        if event != _COMPILED:
            return
        cache_event, self._cache_event = self._cache_event, None
        if about.get("fun_name") != self._name:
            return
        self.count += 1
        host_memory.give_back()
        seconds = f"{duration_secs:.1f} s" if duration_secs < 10 else f"{duration_secs:.0f} s"
        if cache_event == _READ:
            logger.info("%s read from the cache of compiled programs in %s.", self._title, seconds)
        else:
            kept = ", kept for the next start" if cache_event == _KEPT else ""
            logger.info("%s compiled in %s%s.", self._title, seconds, kept)
