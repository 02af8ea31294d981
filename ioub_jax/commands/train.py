"""Trains a detector, or resumes the run in the workdir.

ioub train --data=PATH --workdir=runs/mine
ioub train --config=shapes_retinanet --workdir=runs/shapes

With --data, the values that suit the folder's data are measured at every start. If data may be
added later, write them into a file once (ioub check_data --data=PATH --write_config=mine.py).

On a TPU pod or SLURM, run the same command on every host or in every task, with a workdir that all
of them see; elsewhere add --coordinator_address, --num_processes and --process_id.
"""

import logging
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line, data_flags
from ioub_jax.devices import host_memory

_CONFIG = command_line.define_config(required=False)
data_flags.define()
command_line.define_processes()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder, new or to be resumed.", required=True
)
_PROFILE = flags.DEFINE_bool(
    "profile", False, "Write a trace of steps 11 to 15 into the workdir's profile/, for xprof."
)

if __name__ == "__main__":
    # A restart after the search for --data would repeat the search.
    command_line.parse_flags(before_data=host_memory.restart_with_huge_pages)
    host_memory.restart_with_huge_pages()

from ioub_jax import building, files
from ioub_jax.commands import preview
from ioub_jax.devices import hosts


def main() -> None:
    """Trains the detector."""
    command_line.join_processes()
    for line in _about_data():
        logging.getLogger("ioub_jax").info("%s", line)
    building.train_and_evaluate(_CONFIG.value, _WORKDIR.value, profile=_PROFILE.value)


def dry_run() -> Sequence[str]:
    """Lines that say what would be trained, and from which step on."""
    command_line.join_processes()
    lines = preview.preview_training(_CONFIG.value, files.path_of(_WORKDIR.value))
    return [*_about_data(), *lines] if hosts.is_first() else ()


def _about_data() -> list[str]:
    """Lines on the data found by --data, and on what is missing; empty without --data."""
    data = data_flags.found()
    return [] if data is None else [*data.lines, *data.missing]


if __name__ == "__main__":
    command_line.run(main, dry_run)
