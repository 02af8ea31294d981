"""Evaluates the detector of a finished or running run and prints its metrics.

python -m experiments.evaluate --workdir=runs/shapes
"""

import pathlib
from collections.abc import Sequence

from experiments import command_line
from ioub_jax import files
from ioub_jax.training import hosts, preview, trained

_WORKDIR, _CHECKPOINT, _EMA, _SPLIT = command_line.define_run()
command_line.define_processes()


def main() -> None:
    """Evaluates."""
    command_line.join_processes()
    workdir = pathlib.Path(_WORKDIR.value)
    files.check_can_write(workdir / "evaluation")
    model = trained.load(workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value)
    evaluation = model.evaluate()
    if not hosts.is_first():
        return
    evaluation.write(workdir / "evaluation", _name())
    print(evaluation.describe())
    print(f"The files of this evaluation are {workdir / 'evaluation' / _name()}_*.")


def _name() -> str:
    """How the names of the files begin."""
    return f"{_SPLIT.value}_{_CHECKPOINT.value}" + ("" if _EMA.value else "_without_ema")


def dry_run() -> Sequence[str]:
    """What would be evaluated."""
    command_line.join_processes()
    workdir = pathlib.Path(_WORKDIR.value)
    lines = preview.preview_run(workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value)
    files.check_can_write(workdir / "evaluation")
    if not hosts.is_first():
        return ()
    return [*lines, f"Files: {workdir / 'evaluation' / _name()}_*."]


if __name__ == "__main__":
    command_line.run(main, dry_run)
