"""Evaluates the detector of a finished or running run and prints its metrics.

python -m experiments.evaluate --workdir=runs/shapes
"""

import pathlib

from experiments import command_line
from ioub_jax.training import hosts, trained

_WORKDIR, _CHECKPOINT, _EMA, _SPLIT = command_line.define_run()
command_line.define_processes()


def main() -> None:
    """Evaluates."""
    command_line.join_processes()
    workdir = pathlib.Path(_WORKDIR.value)
    model = trained.load(workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value)
    evaluation = model.evaluate()
    if not hosts.is_first():
        return
    name = f"{_SPLIT.value}_{_CHECKPOINT.value}" + ("" if _EMA.value else "_without_ema")
    evaluation.write(workdir / "evaluation", name)
    print(evaluation.describe())
    print(f"The files of this evaluation are {workdir / 'evaluation' / name}_*.")


if __name__ == "__main__":
    command_line.run(main)
