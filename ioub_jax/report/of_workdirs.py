"""Inputs of a report on a run: the stored detections of its evaluation, or new ones."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from ioub_jax import trained
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.tiles import whole_of
from ioub_jax.diagnostics.detection_files import read_json
from ioub_jax.diagnostics.of_runs import search_source
from ioub_jax.diagnostics.suppression import Suppression
from ioub_jax.evaluation import coco_format
from ioub_jax.evaluation.coco_metrics import COCO_DETECTIONS, CocoMetric
from ioub_jax.workdirs import checkpoints, score_thresholds


@dataclasses.dataclass(frozen=True)
class RunInput:
    """Inputs of a report on a run.

    Attributes:
      ground_truth: the ground truth in COCO's format.
      detections: COCO results.
      counted: the number of detections per class and image that the run's metric counts.
      suppression: the losses by NMS; None if they were not measured.
      source: the source of its images, which are not cut into tiles.
      origin: a description of the images and the weights.
    """

    ground_truth: dict[str, Any]
    detections: list[dict[str, Any]]
    counted: int
    suppression: Suppression | None
    source: Source
    origin: str


def stored_detections(
    workdir: pathlib.Path, checkpoint: str, split: str, *, ema: bool, changes: Mapping[str, Any]
) -> pathlib.Path | None:
    """The path of the detections that the evaluation of a checkpoint has stored, or None.

    Args:
      workdir: the run's folder.
      checkpoint: 'best' or 'last'.
      split: 'train', 'val' or 'test'.
      ema: whether the moving average of the weights is used, if the run keeps one.
      changes: the values that differ from the run's configuration, by key.

    Raises:
      ConfigError: the workdir holds no run.
    """
    if split != "val" or changes:
        return None
    step = checkpoints.to_read(workdir, checkpoint).step
    name = score_thresholds.evaluation_name(workdir, step, ema=ema)
    path = workdir / "evaluation" / f"{name}_detections.json"
    return path if path.exists() else None


def read_run(
    workdir: pathlib.Path,
    checkpoint: str,
    split: str,
    *,
    ema: bool,
    changes: Mapping[str, Any],
    detect: bool,
) -> RunInput:
    """Opens a run's data, and reads the stored detections of its evaluation or detects anew.

    Args:
      workdir: the run's folder.
      checkpoint: 'best' or 'last'.
      split: 'train', 'val' or 'test'.
      ema: as in `stored_detections`.
      changes: as in `stored_detections`.
      detect: whether to detect anew in any case, which also measures the losses by NMS.

    Raises:
      ConfigError: as in `trained.load_run`.
      DataError: as in `trained.load_run`, or the stored detections are broken.
    """
    stored = stored_detections(workdir, checkpoint, split, ema=ema, changes=changes)
    step = checkpoints.to_read(workdir, checkpoint).step
    origin = f"{split} images, the {checkpoint} checkpoint, of step {step}"
    if stored is None or detect:
        model = trained.load_run(workdir, checkpoint, split, ema=ema, changes=changes)
        ground_truth, detections, suppression = search_source(model)
        source = whole_of(model.source)
        return RunInput(ground_truth, detections, _counted(model), suppression, source, origin)
    model = trained.open_run(workdir, split, changes)
    source = whole_of(model.source)
    ground_truth = coco_format.to_coco_ground_truth(source)
    return RunInput(ground_truth, read_json(stored, list), _counted(model), None, source, origin)


def _counted(model: trained.Trained) -> int:
    counted = [metric.counted for metric in model.metrics if isinstance(metric, CocoMetric)]
    return counted[0] if counted else COCO_DETECTIONS
