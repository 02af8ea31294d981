"""Trains a detector, or goes on with the run in the workdir.

python -m experiments.train --config=configs/shapes_retinanet.py --workdir=runs/shapes
"""

from absl import flags
from ml_collections import config_flags

from experiments import command_line
from ioub_jax.training import loop

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with its arm behind a colon.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder, new or to be resumed.", required=True
)
flags.mark_flag_as_required("config")


def main() -> None:
    """Trains."""
    loop.train_and_evaluate(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main)
