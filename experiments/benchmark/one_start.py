"""One start of a training until its first step, for `start`; prints the time of each phase.

It follows `experiments.train`, except for the data: a generated batch replaces them.
"""

import json
import resource
import time
from typing import Any

from absl import flags

from ioub_jax.commands import command_line
from ioub_jax.devices import host_memory

_CONFIG = command_line.define_config()
_CLASSES = flags.DEFINE_integer("classes", 20, "Classes of the data set.", lower_bound=1)
_BEGAN = flags.DEFINE_float("began", None, "When the process was started, in Unix time.")

if __name__ == "__main__":
    command_line.parse_flags()
    host_memory.restart_with_huge_pages()

import jax
import jax.numpy as jnp

from experiments.benchmark import timing
from experiments.benchmark.workloads import Workload
from ioub_jax.from_config import training_parts


class _Clock:
    """CPU and wall seconds of successive phases, from the start of the process on."""

    def __init__(self, began: float) -> None:
        self._last = 0.0, began

    def phase(self) -> dict[str, float]:
        """Ends the current phase and returns its time; the next phase begins."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        now = usage.ru_utime + usage.ru_stime, time.time()
        before, self._last = self._last, now
        return {"CPU s": now[0] - before[0], "wall s": now[1] - before[1]}


def main() -> None:
    """Prints CPU and wall seconds of every phase, and the peak memory, as JSON."""
    clock = _Clock(_BEGAN.value or time.time())
    phases = {"imports": clock.phase()}
    config = _CONFIG.value
    height, width = config.data.canvases[0]
    workload = Workload(config.batch_size, height, width, _CLASSES.value, boxes=10)
    detector = training_parts.detector_of(config, _CLASSES.value)
    trainer = training_parts.trainer_of(config, detector)
    phases["detector"] = clock.phase()
    state = trainer.create_state()
    state = jax.block_until_ready(state.replace(w_loc=jnp.ones_like(state.w_loc)))
    phases["state"] = clock.phase()
    inputs = detector.on_devices(workload.training_batch())
    lowered = trainer.train_step.lower(state, *inputs)
    phases["trace and lower"] = clock.phase()
    step: Any = lowered.compile()
    host_memory.give_back()
    phases["compile or read"] = clock.phase()
    state, _ = jax.block_until_ready(step(state, *inputs))
    phases["first step"] = clock.phase()
    later_steps = []
    for _ in range(2):
        state, _ = jax.block_until_ready(step(state, *inputs))
        later_steps.append(clock.phase())
    peak = timing.peak_mib()
    print(json.dumps({"phases": phases, "later steps": later_steps, "peak MiB": peak}))


if __name__ == "__main__":
    command_line.run(main, lambda: ())
