"""Our side of a comparison, in a separate process.

`experiments.benchmark` starts it. It neither stores nor reads compiled programs unless the workload
names a folder for them, since the compilation is part of the measurement.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from ioub_jax.devices import host_memory

if __name__ == "__main__":
    host_memory.restart_with_huge_pages()  # as a training does

import jax

from experiments.benchmark import ours, worker, workloads

MEASUREMENTS = {
    "step": ours.train_step,
    "inference": ours.inference,
    "objective": ours.objective,
    "nms": ours.nms,
    "iou": ours.iou,
}


def main() -> None:
    """Answers every line with the seconds of one repetition."""
    measurement, workload = workloads.parse(sys.argv[1:])
    jax.config.update("jax_enable_compilation_cache", bool(workload.cache))
    if workload.cache:
        jax.config.update("jax_compilation_cache_dir", workload.cache)
    program = MEASUREMENTS[measurement](workload)
    before = program.compile()

    def work_of(line: str) -> Callable[[], Any]:
        asked, _, folder = line.strip().partition(" ")
        return functools.partial(_traced, program, folder) if asked == "trace" else program

    device = jax.local_devices()[0]
    what = f"jax {jax.__version__} on {device.device_kind}"
    worker.serve(
        what, work_of, before, lambda: (device.memory_stats() or {}).get("peak_bytes_in_use")
    )


def _traced(program: ours.Program, folder: str) -> None:
    """Runs three repetitions, and writes their profile into a folder."""
    with jax.profiler.trace(folder):
        for _ in range(3):
            program()


if __name__ == "__main__":
    main()
