"""Whether the train step is compiled once for each canvas, and never again."""

from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"


class CompilationError(RuntimeError):
    """The train step was compiled more often than there are canvases: a bug, and minutes lost."""


class Compilations:
    """Counts, while it is entered, how often a program is compiled or read from the cache.

    Args:
      name: of the program, as jax calls it: 'jit(train_step)'.
    """

    def __init__(self, name: str) -> None:
        """Nothing is counted yet."""
        self.count = 0
        self._name = name
        self._canvases: set[tuple[int, ...]] = set()

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *error: Any) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def check(self, step: int, canvas: tuple[int, ...]) -> None:
        """Looks at the count after a step.

        Args:
          step: the step just dispatched.
          canvas: of its batch.

        Raises:
          CompilationError: there were more compilations than canvases.
        """
        self._canvases.add(canvas)
        if self.count > len(self._canvases):
            raise CompilationError(
                f"{self._name} was compiled {self.count} times by step {step}, for "
                f"{len(self._canvases)} canvases; JAX_EXPLAIN_CACHE_MISSES=1 says why, and "
                "runtime.check_compilations=False goes on nevertheless."
            )

    def _hear(self, event: str, duration_secs: float, **about: str | int) -> None:
        self.count += event == _COMPILED and about.get("fun_name") == self._name
