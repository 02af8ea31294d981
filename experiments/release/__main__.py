"""Builds the wheel and the sdist, and tries them as a user without a clone.

python -m experiments.release --output=dist

The sdist is built from the clone and the wheel from the sdist, as pip does. The checks cover the
version in every file that names it, the contents, the metadata, the losses in an environment with
only jax (from the sdist), and a training run in one with the extra `train` (from the wheel). If a
check fails, the exit code is 1, with a sentence for each fault. The two environments take some
minutes.
"""

import pathlib
import platform
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line

_OUTPUT = flags.DEFINE_string("output", "dist", "The folder for the wheel and the sdist.")
_INSTALL = flags.DEFINE_bool("install", True, "Whether to install them in empty environments.")

if __name__ == "__main__":
    command_line.parse_flags()

from experiments.release import archives, contents, first_steps
from ioub_jax.errors import ConfigError

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> None:
    """Builds and checks the archives."""
    sdist, wheel = archives.build(_ROOT, pathlib.Path(_OUTPUT.value))
    faults = [
        *contents.faults_of_texts(_ROOT),
        *contents.faults_of_sdist(sdist),
        *contents.faults_of_wheel(wheel, _ROOT),
    ]
    for archive in (sdist, wheel):
        print(f"{archive}: {archive.stat().st_size / 2**20:.2f} MiB", flush=True)
    if _INSTALL.value:
        limits = _ROOT / "constraints.txt"
        try:
            print(f"Losses, from the sdist: {first_steps.try_losses(sdist.absolute(), limits)}")
            print(
                f"Training, from the wheel:\n{first_steps.try_training(wheel.absolute(), limits)}"
            )
        except first_steps.FailedError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    print(f"All checks passed on Python {platform.python_version()}.")


def dry_run() -> Sequence[str]:
    """Lines that describe what would be built."""
    return [f"Version {contents.version_of(_ROOT)}, into {_OUTPUT.value}."]


if __name__ == "__main__":
    command_line.run(main, dry_run)
