"""The class weights in the loss of a run, which are fixed when it begins."""

import pathlib
from collections.abc import Mapping

from ioub_jax import files
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import configuration

_FILE = "class_weights.json"


def claim(workdir: pathlib.Path, weights: Mapping[str, float] | None) -> None:
    """Writes `class_weights.json` into a run's folder, or checks that the weights there are these.

    Args:
      workdir: the run's folder. A new run, or one without class weights, does not have the file.
      weights: name -> weight of each class; None if the loss has no class weights.

    Raises:
      ConfigError: the weights differ, since the training data now yields others and the training
        was not built for the run.
    """
    before = read(workdir)
    if before is None:
        if weights is not None:
            files.write_json(workdir / _FILE, dict(weights), indent=2)
    elif before != weights:
        told = [
            "none" if found is None else ", ".join(f"{name} {w:.4g}" for name, w in found.items())
            for found in (before, weights)
        ]
        raise ConfigError(
            f"The run in {workdir} began with the class weights {told[0]}, and its training data "
            f"gives {told[1]} now; resume it with ioub train, which keeps those of the run, or "
            "begin another run."
        )


def read(workdir: pathlib.Path) -> dict[str, float] | None:
    """Name -> weight of each class of a run, or None.

    Raises:
      ConfigError: the file is broken.
    """
    path = workdir / _FILE
    if not path.exists():
        return None
    recorded = configuration.read_json(path)
    try:
        return {str(name): float(weight) for name, weight in recorded.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"{path} does not have a weight for each class; restore the original file."
        ) from None
