"""Draws a run's detections, the anchors that its losses weigh, and its learning curves.

ioub draw --workdir=runs/shapes
ioub draw --workdir=runs/shapes --per_class=5 --worst

Images with objects are drawn, spread over the split. With --per_class, that many images with an
object of each class are drawn. With --worst, the images with the lowest F1 come first, for which
detection runs in all images of the split. Detections are drawn if they have at least the score that
was best for their class on the validation images, by F1, or .4 if that was not measured, unless
--score is given.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from ioub_jax.commands import command_line, score_flags

_WORKDIR, _CHECKPOINT, _EMA, _SPLIT = command_line.define_run()
_CHANGES = command_line.define_changes("workdir")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the pictures; by default pictures/ in the workdir."
)
_IMAGES = flags.DEFINE_integer("images", 12, "Number of images to draw.", lower_bound=1)
_PER_CLASS = flags.DEFINE_integer(
    "per_class", None, "In place of --images: number of images with an object of each class.", 1
)
_WORST = flags.DEFINE_bool(
    "worst", False, "Whether to draw the images with the lowest F1, at an IoU of .5 and --score."
)
_SCORE = score_flags.define(
    "score",
    None,
    "Lowest score to draw; unset: 'best', that of each class, if it was measured, or .4.",
)

if __name__ == "__main__":
    command_line.parse_flags()

import jax
import numpy as np

from ioub_jax import files, plotting, trained
from ioub_jax.commands import detections_sheets, preview
from ioub_jax.detectors import AnchorObjective, Anchors, Batch, Inspection
from ioub_jax.evaluation import coco_metrics, recorded_numbers
from ioub_jax.workdirs import records, score_thresholds
from ioub_jax.workdirs.score_thresholds import MeasuredThresholds

_OWN_CURVES = 4  # at most this many numbers of evaluations get their own panel


def _least_scores(model: trained.Trained) -> np.ndarray:
    """The lowest score to draw of each class, float64 `[C]`."""
    lowest = _lowest(model.measured)
    if lowest != score_flags.BEST:
        return np.full(len(model.source.classes), lowest)
    workdir = files.path_of(_WORKDIR.value)
    measured = model.measured or score_thresholds.read_required(
        workdir, _CHECKPOINT.value, ema=_EMA.value
    )
    return measured.of(model.source.category_ids)


def _lowest(measured: MeasuredThresholds | None) -> Any:
    """The lowest score to draw, by the flag."""
    return score_flags.drawn(_SCORE.value, is_measured=measured is not None)


def draw_positive_anchors(
    path: pathlib.Path, model: trained.Trained, objective: AnchorObjective
) -> None:
    """Draws the image of the first batch that has the most positive anchors."""

    @jax.jit
    def inspect(variables: Any, batch: Batch, anchors: Anchors) -> Inspection:
        return objective.inspect(model.placed.predictions(variables, batch), batch, anchors)

    with model.loading.evaluation_batches(model.source, model.batch_size) as batches:
        batch = next(batches)
    on_device, anchors = model.placed.on_devices(batch)
    seen = jax.device_get(inspect(model.variables, on_device, anchors))
    row = int(seen.positive.sum(axis=1).argmax())
    positive = seen.positive[row]
    height, width = batch["image_size"][row].astype(int)
    plotting.positive_anchors(
        path,
        batch["image"][row, :height, :width],
        batch["boxes"][row][batch["valid"][row]],
        np.concatenate(jax.device_get(anchors))[positive],
        seen.boxes[row][positive],
        seen.ious[row][positive],
        seen.weights[row][positive],
        title=f"Image {batch['image_id'][row]}: its {positive.sum()} positive anchors, "
        f"eta = {objective.losses.classification.eta}",
    )


def main() -> None:
    """Draws the pictures into the workdir's `pictures/`, or into --output."""
    workdir, folder = files.path_of(_WORKDIR.value), _folder()
    files.check_can_write(folder)
    model = trained.load_run(
        workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value, changes=_CHANGES.value
    )
    least_scores = _least_scores(model)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("detections_[0-9]*.png"):  # left by a command that drew more sheets
        path.unlink()
    lines = detections_sheets.draw_detections(
        folder,
        model,
        workdir.name,
        images=_IMAGES.value,
        per_class=_PER_CLASS.value,
        worst=_WORST.value,
        least_scores=least_scores,
    )
    objective = model.placed.detector.objective
    if isinstance(objective, AnchorObjective):  # other objectives need not match anchors
        draw_positive_anchors(folder / "positive_anchors.png", model, objective)
    evaluations = records.read_records(workdir / "evaluation.jsonl", sys.maxsize)
    names = dict.fromkeys(key for record in evaluations for key in record)
    plotting.learning_curves(
        folder / "learning_curves.png",
        records.read_records(workdir / "train.jsonl", sys.maxsize),
        evaluations,
        precision=next((key for key in ("AP", "voc_AP", "lvis_AP") if key in names), "AP"),
        others=_other_curves(names)[:_OWN_CURVES],
    )
    if lines:
        print("\n".join(["The worst images:", *lines]))
    print(f"Pictures are in {folder}: {', '.join(sorted(p.name for p in folder.glob('*.png')))}.")
    print(_describe_scores(model.measured))


def _describe_scores(measured: MeasuredThresholds | None) -> str:
    return f"Boxes are drawn with at least {score_flags.describe(_lowest(measured), measured)}."


def _other_curves(names: Mapping[str, Any]) -> list[str]:
    """The numbers of evaluations that get their own panel."""
    counted = [key for key in names if key.startswith("AP@") and coco_metrics.is_number(key)]
    return [*counted, *recorded_numbers.own_numbers(names)]


def _folder() -> pathlib.Path:
    folder = files.path_of(_OUTPUT.value or files.path_of(_WORKDIR.value) / "pictures")
    return files.local(folder, "where no pictures are written: give a folder as --output")


def dry_run() -> Sequence[str]:
    """Lines that say what would be drawn."""
    workdir = files.path_of(_WORKDIR.value)
    lines = preview.preview_run(
        workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value, changes=_CHANGES.value
    )
    files.check_can_write(_folder())
    names = "detections.png, positive_anchors.png, learning_curves.png"
    wanted = _SCORE.value == score_flags.BEST
    read = score_thresholds.read_required if wanted else score_thresholds.read
    measured = read(workdir, _CHECKPOINT.value, ema=_EMA.value)
    drawn = f"{_IMAGES.value} images"
    if _PER_CLASS.value is not None:
        drawn = f"{_PER_CLASS.value} images of each class"
    worst = ", the worst first, for which detection runs in all images" if _WORST.value else ""
    return [
        *lines,
        _describe_scores(measured),
        f"Files: {names} in {_folder()}; {drawn} are drawn{worst}.",
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run)
