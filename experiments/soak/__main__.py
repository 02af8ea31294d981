"""Kills a training run at random moments, and compares its bits with an uninterrupted run.

python -m experiments.soak --minutes=60 --workdir=runs/soak --config=configs/shapes_retinanet.py
python -m experiments.soak --minutes=600 --kill_minutes=5 --workdir=runs/soak_night --config=...

One training run of the configuration is not interrupted. A second one of the same length repeatedly
gets a SIGKILL or a SIGTERM and is started again each time. At the end, both must have the same
bits, and neither memory nor open files nor processes may have grown. The observations are printed
as JSON and written to soak.json in the workdir; the exit code is 1 if there is a failure.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line

_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "A new folder for both runs.", required=True)
_MINUTES = flags.DEFINE_float(
    "minutes", 60.0, "Approximate minutes for both runs.", lower_bound=0.1
)
_KILL_MINUTES = flags.DEFINE_float(
    "kill_minutes", 3.0, "The mean time from a start to its end by a signal.", lower_bound=0.01
)
_IMAGES = flags.DEFINE_integer(
    "images", None, "Length of both runs in images; by default, what fits into the time."
)
_SEED = flags.DEFINE_integer("seed", None, "Seed of the kills; by default, a new one each time.")

if __name__ == "__main__":
    command_line.parse_flags()

from experiments.soak import killed_run
from ioub_jax import files


def of_training() -> list[str]:
    """The flags of the configuration, for both runs."""
    return [word for word in sys.argv[1:] if word.lstrip("-").startswith("config")]


def main() -> None:
    """Starts both runs and prints the observations."""
    workdir = pathlib.Path(_WORKDIR.value)
    seen = killed_run.soak(
        of_training(),
        workdir,
        _MINUTES.value,
        _KILL_MINUTES.value,
        images=_IMAGES.value,
        seed=_SEED.value,
    )
    files.write_json(workdir / "soak.json", seen, indent=2)
    print(json.dumps(seen, indent=2))
    if seen["failures"]:
        sys.exit(command_line.USER_ERROR)


def dry_run() -> Sequence[str]:
    """Lines that describe what would be done."""
    return [
        f"Two training runs with {' '.join(of_training())}, in {_WORKDIR.value}, about "
        f"{_MINUTES.value:g} minutes; one is ended every {_KILL_MINUTES.value:g} minutes."
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run)
