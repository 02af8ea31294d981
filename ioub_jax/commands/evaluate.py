"""Evaluates the detector of a finished or running run and prints its metrics.

ioub evaluate --workdir=runs/shapes
ioub evaluate --workdir=runs/mine --split=test \
  --config.data.coco.root=OTHER --config.data.coco.test_annotations=test.json --output=runs/other
ioub evaluate --workdir=runs/shapes --flip --scales=0.8,1,1.25
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line, view_flags

_WORKDIR, _CHECKPOINT, _EMA, _SPLIT = command_line.define_run()
_CHANGES = command_line.define_changes("workdir")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the results; by default evaluation/ in the workdir."
)
_YOLO = flags.DEFINE_bool("yolo", False, "Whether to write label files in YOLO's format, too.")
view_flags.define()
command_line.define_processes()

if __name__ == "__main__":
    command_line.parse_flags()

from ioub_jax import files, trained
from ioub_jax.commands import label_files, preview
from ioub_jax.data.sources.tiles import whole_of
from ioub_jax.devices import hosts
from ioub_jax.from_config import metric_parts
from ioub_jax.workdirs import checkpoints, configuration, score_thresholds


def main() -> None:
    """Evaluates the run and prints its metrics."""
    command_line.join_processes()
    folder = _folder()
    files.check_can_write(folder)
    configuration.read_workdir(files.path_of(_WORKDIR.value))  # refuses a folder without a run
    # A running training may write another checkpoint while this one is evaluated.
    name, name_in_training = _name(), _name_in_training()
    model = trained.load_run(
        files.path_of(_WORKDIR.value),
        _CHECKPOINT.value,
        _SPLIT.value,
        ema=_EMA.value,
        changes=_CHANGES.value,
        views=view_flags.views(),
    )
    evaluation = model.evaluate()
    if not hosts.is_first():
        return
    evaluation.write(folder, name)
    if _is_of_the_run():  # commands that detect with this checkpoint read the thresholds
        evaluation.write_thresholds(folder, name_in_training)
    if _YOLO.value:
        label_files.write_results(
            folder / f"{name}_yolo", whole_of(model.source), evaluation.results
        )
    print(evaluation.describe())
    # The table itself already says what COCO's AP does not count.
    options = model.placed.detector.options
    told = metric_parts.limit_warnings(model.source, model.metrics, options.max_detections)
    for kind in ("few_detections", "dense_image"):
        if kind in told:
            print(f"\n{told[kind]}")
    print(f"The files of this evaluation are {folder / name}_*.")


def _folder() -> pathlib.Path:
    return files.path_of(_OUTPUT.value or files.path_of(_WORKDIR.value) / "evaluation")


def _is_of_the_run() -> bool:
    """True if the evaluation is like those during training and is written into the workdir."""
    is_changed = _CHANGES.value or view_flags.made_by()
    return _SPLIT.value == "val" and not is_changed and not _OUTPUT.value


def _name_in_training() -> str:
    """The name that training gives to its evaluation of this checkpoint."""
    workdir = files.path_of(_WORKDIR.value)
    step = checkpoints.to_read(workdir, _CHECKPOINT.value).step
    return score_thresholds.evaluation_name(workdir, step, ema=_EMA.value)


def _name() -> str:
    """Prefix of the file names.

    An evaluation with changes by --config or with test-time augmentation has another prefix than
    the run's own evaluation.
    """
    found = checkpoints.to_read(files.path_of(_WORKDIR.value), _CHECKPOINT.value)
    parts = [_SPLIT.value, found.kind]
    parts += [] if _EMA.value else ["without_ema"]
    parts += ["changed"] if _CHANGES.value else []
    parts += ["augmented"] if view_flags.made_by() else []
    return "_".join(parts)


def dry_run() -> Sequence[str]:
    """Lines that say what would be evaluated."""
    command_line.join_processes()
    lines = preview.preview_run(
        files.path_of(_WORKDIR.value),
        _CHECKPOINT.value,
        _SPLIT.value,
        ema=_EMA.value,
        changes=_CHANGES.value,
        views=view_flags.views(),
    )
    files.check_can_write(_folder())
    if not hosts.is_first():
        return ()
    return [*lines, f"Files: {_folder() / _name()}_*."]


if __name__ == "__main__":
    command_line.run(main, dry_run)
