"""The best score thresholds for a run's detections, as measured by its evaluations.

Every evaluation on the validation images writes `evaluation/val_STEP_thresholds.json`, or
`val_STEP_without_ema_thresholds.json` for weights without their moving average. The file holds
`all_classes` and, for every class, `category_id`, `name` and `threshold`. The thresholds apply to
detections with the checkpoint of that step.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ioub_jax import files
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoint_folders, configuration
from ioub_jax.workdirs.checkpoint_folders import Folder


@dataclasses.dataclass(frozen=True)
class MeasuredThresholds:
    """The score thresholds that were best on the validation images.

    Attributes:
      path: the file that they were read from.
      general: the threshold for the detections of all classes together.
      by_id: the threshold of each class, by its category id.
    """

    path: pathlib.Path
    general: float
    by_id: Mapping[int | str, float]

    def of(self, category_ids: Sequence[int | str]) -> np.ndarray:
        """The thresholds of classes, float64 `[C]`; `general` for a class without its own."""
        return np.array([self.by_id.get(id_, self.general) for id_ in category_ids])

    def __str__(self) -> str:
        """The thresholds, as part of a sentence."""
        scores = sorted([*self.by_id.values(), self.general])
        return (
            f"the best score of its class by F1 ({scores[0]:.2f} to {scores[-1]:.2f}, measured on "
            f"the validation images: {self.path})"
        )


def file_name(evaluation: str) -> str:
    """Name of an evaluation's file."""
    return f"{evaluation}_thresholds.json"


def evaluation_name(workdir: pathlib.Path, step: int, *, ema: bool) -> str:
    """The name that a training gives to its evaluation after a step.

    Args:
      workdir: the run's folder.
      step: the step.
      ema: whether the evaluation used the moving average of the weights, if the run keeps one.
    """
    settings = configuration.to_dict(configuration.read_workdir(workdir))
    has_average = settings.get("optimizer", {}).get("ema_decay") is not None
    return f"val_{step}" + ("_without_ema" if has_average and not ema else "")


def write(
    path: pathlib.Path,
    general: float,
    classes: Sequence[tuple[int | str | None, str | None, float]],
) -> None:
    """Writes the thresholds measured by an evaluation.

    Args:
      path: the file; its folder must exist.
      general: the threshold for the detections of all classes together.
      classes: category id, name and threshold of each class.
    """
    rows = [{"category_id": id_, "name": name, "threshold": score} for id_, name, score in classes]
    files.write_json(path, {"all_classes": general, "classes": rows}, indent=2)


def read(
    workdir: pathlib.Path, which: str = "best", *, ema: bool = True
) -> MeasuredThresholds | None:
    """The thresholds measured with a checkpoint, or None.

    Args:
      workdir: the run's folder.
      which: the checkpoint, 'best' or 'last'.
      ema: whether the moving average of the weights is read, if the run keeps one.

    Raises:
      ConfigError: the file is broken.
    """
    folder = next(iter(checkpoint_folders.find(workdir, which)), None)
    return None if folder is None else of_checkpoint(folder, ema=ema)


def of_checkpoint(folder: Folder, *, ema: bool = True) -> MeasuredThresholds | None:
    """The thresholds measured with the checkpoint in a folder, or None; otherwise as `read`."""
    path = _path(folder, ema=ema)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        general = _score(content["all_classes"])
        by_id = {row["category_id"]: _score(row["threshold"]) for row in content["classes"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} does not list `all_classes` and `classes` with `category_id` and `threshold`; "
            f"remove it, and ioub evaluate --workdir={folder.workdir} --checkpoint={folder.kind} "
            "writes it again."
        ) from error
    return MeasuredThresholds(path, general, by_id)


def _path(folder: Folder, *, ema: bool) -> pathlib.Path:
    name = evaluation_name(folder.workdir, folder.step, ema=ema)
    return folder.workdir / "evaluation" / file_name(name)


def _score(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def read_required(
    workdir: pathlib.Path, which: str = "best", *, ema: bool = True
) -> MeasuredThresholds:
    """As `read`, for a checkpoint whose thresholds must have been measured.

    Raises:
      ConfigError: they were not, or the file is broken.
    """
    found = read(workdir, which, ema=ema)
    if found is None:
        raise not_measured(workdir, which, ema=ema)
    return found


def not_measured(workdir: pathlib.Path, which: str, *, ema: bool) -> ConfigError:
    """The error for a checkpoint whose thresholds were not measured."""
    return ConfigError(
        f"{workdir} has no measured score thresholds of its '{which}' checkpoint: "
        f"ioub evaluate --workdir={workdir} --checkpoint={which}"
        f"{'' if ema else ' --noema'} measures them, if there are detections; or give a number."
    )
