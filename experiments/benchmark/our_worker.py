"""Our side of a comparison, in a process of its own that holds nothing else.

`experiments.benchmark` starts it. It keeps no compiled program and reads none: compiling is part of
what is measured.
"""

import sys

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
    jax.config.update("jax_enable_compilation_cache", False)
    program = MEASUREMENTS[measurement](workload)
    before = program.compile()
    worker.serve(f"jax {jax.__version__} on {jax.default_backend()}", lambda _: program, before)


if __name__ == "__main__":
    main()
