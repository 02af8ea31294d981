"""Draws what a run has learned: detections, what the losses weigh, and the learning curves.

ioub draw --workdir=runs/shapes

Detections are drawn that have at least the score that was best for their class on the validation
images, by F1, or .4 where nothing was measured; `--score` says otherwise.
"""

import dataclasses
import itertools
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
_IMAGES = flags.DEFINE_integer("images", 12, "Images on the contact sheet.", lower_bound=1)
_SCORE = score_flags.define(
    "score",
    None,
    "Lowest score that is drawn; unset: 'best', of each class, where measured, or .4.",
)

if __name__ == "__main__":
    command_line.parse_flags()

import jax
import numpy as np

from ioub_jax import files, plotting, trained
from ioub_jax.commands import preview
from ioub_jax.data.sources import annotations_of
from ioub_jax.data.sources.example import select_objects
from ioub_jax.data.sources.tiles import TileSource
from ioub_jax.detectors import AnchorObjective, Anchors, Batch, Inspection
from ioub_jax.evaluation import coco_metrics, recorded_numbers
from ioub_jax.workdirs import records, score_thresholds
from ioub_jax.workdirs.score_thresholds import MeasuredThresholds

_OWN_CURVES = 4  # of the numbers of the user's own metrics, the first


def draw_detections(path: pathlib.Path, model: trained.Trained, count: int) -> None:
    """Draws the first images of the source, with ground truth and detections.

    Of tiles it draws those with objects, each for itself: a whole image has no room on a sheet.
    """
    if isinstance(model.source, TileSource):
        with_objects = np.flatnonzero(annotations_of(model.source).counts)
        shown = with_objects if len(with_objects) else np.arange(len(model.source))
        model = dataclasses.replace(model, source=model.source.select(shown[: 4 * count]))
    found, least = {}, _least_scores(model)
    with model.loading.evaluation_batches(model.source, model.batch_size) as batches:
        for batch in itertools.islice(batches, -(-count // model.batch_size)):
            detections = jax.device_get(model.predict(*model.placed.on_devices(batch)))
            for image_id, boxes, scores, labels, valid in zip(
                batch["image_id"], *detections, strict=True
            ):
                shown = valid & (scores >= least[labels])
                found[int(image_id)] = (boxes[shown], labels[shown], scores[shown])
    indices = [i for i in range(len(model.source)) if model.source.image_id(i) in found]
    examples = [
        select_objects(example, ~example.ignored)
        for example in (model.source[index] for index in indices[:count])
    ]
    plotting.contact_sheet(
        path,
        [np.asarray(example.image) for example in examples],
        [(example.boxes, example.labels) for example in examples],
        [found[example.image_id] for example in examples],
        model.source.classes,
        score_threshold=0.0,
        title=f"{files.path_of(_WORKDIR.value).name}: ground truth dashed, detections solid",
    )


def _least_scores(model: trained.Trained) -> np.ndarray:
    """The lowest score that is drawn of each class, float64 `[C]`."""
    lowest = _lowest(model.measured)
    if lowest != score_flags.BEST:
        return np.full(len(model.source.classes), lowest)
    workdir = files.path_of(_WORKDIR.value)
    measured = model.measured or score_thresholds.read_required(
        workdir, _CHECKPOINT.value, ema=_EMA.value
    )
    return measured.of(model.source.category_ids)


def _lowest(measured: MeasuredThresholds | None) -> Any:
    """The lowest score that is drawn, as the flag says."""
    return score_flags.drawn(_SCORE.value, is_measured=measured is not None)


def draw_positive_anchors(
    path: pathlib.Path, model: trained.Trained, objective: AnchorObjective
) -> None:
    """Draws the image with the most positive anchors of the first batch."""

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
    """Draws three pictures into the workdir's `pictures/`, or --output."""
    workdir, folder = files.path_of(_WORKDIR.value), _folder()
    files.check_can_write(folder)
    model = trained.load_run(
        workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value, changes=_CHANGES.value
    )
    folder.mkdir(parents=True, exist_ok=True)
    draw_detections(folder / "detections.png", model, _IMAGES.value)
    objective = model.placed.detector.objective
    if isinstance(objective, AnchorObjective):  # another one need not match anchors
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
    print(f"Pictures are in {folder}: {', '.join(sorted(p.name for p in folder.glob('*.png')))}.")
    print(_describe_scores(model.measured))


def _describe_scores(measured: MeasuredThresholds | None) -> str:
    return f"Drawn is what has at least {score_flags.describe(_lowest(measured), measured)}."


def _other_curves(names: Mapping[str, Any]) -> list[str]:
    """The numbers of evaluations that have a panel of their own."""
    counted = [key for key in names if key.startswith("AP@") and coco_metrics.is_number(key)]
    return [*counted, *recorded_numbers.own_numbers(names)]


def _folder() -> pathlib.Path:
    folder = files.path_of(_OUTPUT.value or files.path_of(_WORKDIR.value) / "pictures")
    return files.local(folder, "where no pictures are written: give a folder as --output")


def dry_run() -> Sequence[str]:
    """What would be drawn."""
    workdir = files.path_of(_WORKDIR.value)
    lines = preview.preview_run(
        workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value, changes=_CHANGES.value
    )
    files.check_can_write(_folder())
    names = "detections.png, positive_anchors.png, learning_curves.png"
    wanted = _SCORE.value == score_flags.BEST
    read = score_thresholds.read_required if wanted else score_thresholds.read
    measured = read(workdir, _CHECKPOINT.value, ema=_EMA.value)
    return [
        *lines,
        _describe_scores(measured),
        f"Files: {names} in {_folder()}; {_IMAGES.value} images are drawn.",
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run)
