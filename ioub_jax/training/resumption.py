"""Differences between a resumed run and its earlier configuration and data."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ioub_jax import files
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.fingerprint import Fingerprint, fingerprint_of
from ioub_jax.errors import ConfigError
from ioub_jax.training import optimization
from ioub_jax.training.experiment import Experiment
from ioub_jax.workdirs import configuration

_DATA = "data.json"
# The keys of `evaluation` that do not affect the AP.
_SAME_AP = configuration.SAME_RESULTS | {
    "evaluation.every_images",
    "evaluation.every_epochs",
    "evaluation.patience",
    "evaluation.min_delta",
}


class Before(NamedTuple):
    """State of a workdir before its run resumes.

    Attributes:
      config: its configuration as plain dicts; None in a new workdir.
      data: the recorded fingerprints of its training and validation data.
    """

    config: dict[str, Any] | None
    data: dict[str, Fingerprint]


def read(workdir: pathlib.Path) -> Before:
    """Reads the state of a run's workdir; must be called before `configuration.claim_workdir`.

    Raises:
      ConfigError: a file of the workdir is broken.
    """
    recorded = workdir / _DATA
    data = {}
    if recorded.exists():
        try:
            data = {
                split: Fingerprint(**values)
                for split, values in configuration.read_json(recorded).items()
            }
        except (AttributeError, TypeError):
            raise ConfigError(
                f"{recorded} is not as ioub train wrote it; restore the original file, or "
                "remove it."
            ) from None
    return Before(configuration.read_stored(workdir), data)


def record_data(workdir: pathlib.Path, data: Mapping[str, Fingerprint]) -> None:
    """Writes the fingerprints of a run's data to `data.json`, unless the file exists."""
    if not (workdir / _DATA).exists():
        values = {split: dataclasses.asdict(found) for split, found in data.items()}
        files.write_json(workdir / _DATA, values, indent=2)


def fingerprints(source: Source, validation: Source) -> dict[str, Fingerprint]:
    """Fingerprints of the training and validation data, by their names in `data.json`."""
    return {"train": fingerprint_of(source), "val": fingerprint_of(validation)}


def changes(
    before: Before,
    experiment: Experiment,
    data: Mapping[str, Fingerprint],
    step: int,
) -> list[str]:
    """A sentence for each difference from before; none for a new run.

    Args:
      before: the state of the workdir before.
      experiment: the experiment with which the run continues.
      data: the fingerprints of the data with which the run continues.
      step: the number of steps that are done.
    """
    if before.config is None:
        return []
    epoch: float = experiment.plan.images_per_epoch
    if "train" in before.data:  # the run's length may be in epochs, and so may have changed
        epoch *= before.data["train"].images / data["train"].images
    told = [
        *_schedule_changes(before.config, round(epoch), experiment, step),
        *_evaluation_changes(before.config, experiment.settings),
    ]
    for split, called, follows in (
        ("train", "training", "the run continues with the present data"),
        ("val", "validation", "APs from before and after cannot be compared"),
    ):
        if split in before.data and (found := data[split].differences(before.data[split])):
            told.append(
                f"The {called} data differs from that at the run's beginning: it has "
                f"{' and '.join(found)}; {follows}."
            )
    return told


def _schedule_changes(
    before: dict[str, Any], epoch: int, experiment: Experiment, step: int
) -> list[str]:
    """Returns a sentence if the schedule was another one when an epoch had `epoch` images."""
    options = experiment.options
    then = optimization.in_images(before["schedule"], epoch, options.batch_size)
    old, new, total = then["images"], options.images, options.steps
    if old == new:
        return []
    line = f"The schedule is now the one for {new:,} images (before: {old:,})"
    if 0 < step < total and experiment.learning_rate is not None:
        was = optimization.Schedule(**then).learning_rate(options.batch_size)
        rates = [float(rate(step)) for rate in (experiment.learning_rate, was)]
        line += f": the learning rate of the next step is {rates[0]:.3g} (before: {rates[1]:.3g})"
    return [f"{line}."]


def _evaluation_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    parts = [{"evaluation": values["evaluation"]} for values in (before, now)]
    found = [
        line
        for line in configuration.differing_keys(*parts, evaluated=True)
        if line.partition(":")[0] not in _SAME_AP
    ]
    if not found:
        return []
    return [
        f"Evaluations differ from now on ({'; '.join(found)}): APs cannot be compared with those "
        "before, and the best checkpoint so far stays until one has a higher AP."
    ]
