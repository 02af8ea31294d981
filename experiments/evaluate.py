"""Evaluates the detector of a finished or running run and prints the COCO metrics.

python -m experiments.evaluate --workdir=runs/shapes
"""

import pathlib

from absl import flags

from experiments import command_line
from ioub_jax.evaluation import coco
from ioub_jax.training import trained

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.", required=True)
_SPLIT = flags.DEFINE_enum("split", "val", ["train", "val", "test"], "Which images.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "Which checkpoint.")


def main() -> None:
    """Evaluates."""
    workdir = pathlib.Path(_WORKDIR.value)
    evaluation = trained.load(workdir, _CHECKPOINT.value, _SPLIT.value).evaluate()
    name = f"{_SPLIT.value}_{_CHECKPOINT.value}"
    evaluation.write(workdir / "evaluation", name)
    print(coco.format_table(evaluation.metrics))
    print(f"Metrics, table and detections are in {workdir / 'evaluation' / name}_*.")


if __name__ == "__main__":
    command_line.run(main)
