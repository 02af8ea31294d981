"""Draws why detections are as good as they are: score against IoU, NMS, LRP, calibration and more.

ioub diagnose --workdir=runs/shapes
ioub diagnose --workdir=runs/baseline,runs/both --output=runs/compared
ioub diagnose --detections=found.json --ground_truth=instances.json --output=why

Several workdirs, or several files of detections, are drawn into the same pictures.
docs/diagnostics.md explains how to read them.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from ioub_jax.commands import command_line

_WORKDIRS = flags.DEFINE_list("workdir", [], "Folders of runs, separated by commas.")
_CHECKPOINT, _EMA = command_line.define_weights()
_SPLIT = command_line.define_split()
_CHANGES = command_line.define_changes("workdir")
_DETECTIONS = flags.DEFINE_list(
    "detections", [], "In place of --workdir: files in COCO's results format."
)
_GROUND_TRUTH = flags.DEFINE_string("ground_truth", None, "Their ground truth in COCO's format.")
flags.DEFINE_alias("annotations", "ground_truth")  # its former name
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder for the results; by default diagnostics/ in the workdir, if there is only one.",
)

if __name__ == "__main__":
    command_line.parse_flags()

from ioub_jax import files, plotting, trained
from ioub_jax.commands import preview
from ioub_jax.diagnostics import gradient_norm
from ioub_jax.diagnostics.detection_files import names_of, read_json
from ioub_jax.diagnostics.of_runs import diagnose_file, diagnose_workdir
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import dense_objects
from ioub_jax.evaluation.coco_matching import COCO_DETECTIONS


def diagnose_all(
    workdirs: Sequence[pathlib.Path],
    detections: Sequence[pathlib.Path],
    ground_truth: pathlib.Path | None,
) -> dict[str, Any]:
    """Name -> diagnosis of every run or file.

    Raises:
      ConfigError: their classes differ, or for the reasons in `trained.load_run`.
      DataError: for the reasons in `diagnose_file` and `trained.load_run`.
    """
    runs = {}
    if ground_truth:
        content = read_json(ground_truth, dict)
        for name, path in zip(names_of(detections), detections, strict=True):
            runs[name] = diagnose_file(path, ground_truth, content)
    for name, workdir in zip(names_of(workdirs) if workdirs else [], workdirs, strict=True):
        model = trained.load_run(
            workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value, changes=_CHANGES.value
        )
        runs[name] = diagnose_workdir(workdir, model)
    classes = {tuple(row["name"] for row in run["metrics"]["per_class"]) for run in runs.values()}
    if len(classes) > 1:
        raise ConfigError(
            f"The classes of {' and '.join(runs)} differ; compare runs or files of the same data."
        )
    return runs


def check_flags() -> None:
    """Raises `ConfigError` if the flags name nothing to diagnose, or no place for the results."""
    if bool(_WORKDIRS.value) == bool(_DETECTIONS.value):
        raise ConfigError("Give either --workdir or --detections.")
    if bool(_DETECTIONS.value) != bool(_GROUND_TRUTH.value):
        raise ConfigError("--detections and --ground_truth go together; give both or neither.")
    if _CHANGES.value and not _WORKDIRS.value:
        raise ConfigError("--config needs a run: give --workdir, or leave --config out.")
    if _OUTPUT.value is None and len(_WORKDIRS.value or ()) != 1:
        raise ConfigError("Give the folder for the results as --output.")


def chosen_paths() -> tuple[
    list[pathlib.Path], list[pathlib.Path], pathlib.Path | None, pathlib.Path
]:
    """Workdirs, files of detections, their ground truth, and the folder for the results.

    Raises:
      ConfigError: for the reasons in `check_flags`.
      OSError: the folder for the results is not writable.
    """
    check_flags()
    workdirs, detections = (
        [files.path_of(name) for name in value or ()]
        for value in (_WORKDIRS.value, _DETECTIONS.value)
    )
    ground_truth = pathlib.Path(_GROUND_TRUTH.value) if _GROUND_TRUTH.value else None
    out = files.path_of(_OUTPUT.value) if _OUTPUT.value else workdirs[0] / "diagnostics"
    files.local(out, "where no pictures are written: give a folder as --output")
    files.check_can_write(out)
    return workdirs, detections, ground_truth, out


def main() -> None:
    """Diagnoses the runs or files, writes the numbers and draws them."""
    workdirs, detections, ground_truth, out = chosen_paths()
    report: dict[str, Any] = {
        "runs": diagnose_all(workdirs, detections, ground_truth),
        "gradient_norm": gradient_norm.gradient_norms(),
    }
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "diagnostics.json", report)
    pictures = plotting.diagnostics(out, report)
    for name, run in report["runs"].items():
        print(describe(name, run))
    print(f"In {out}: diagnostics.json, {', '.join(pictures)}.")


def describe(name: str, run: dict[str, Any]) -> str:
    """The most important numbers of a run, in one line."""
    metrics = run["metrics"]
    counted = dense_objects.named("AP", metrics.get("counted", COCO_DETECTIONS))
    numbers = {
        "AP": metrics["AP"],
        counted: metrics[counted],
        "oLRP": run["lrp"][0]["error"],
        "Spearman of score and IoU": run["correlation"]["spearman"],
        "IoU lost by NMS": run.get("suppression", {}).get("lost_iou"),
        "D-ECE": run["calibration"]["d_ece"],
        "LaECE": run["calibration"]["la_ece"],
    }
    known = [f"{key} {value:.3f}" for key, value in numbers.items() if value is not None]
    return f"{name}: {', '.join(known)}"


def dry_run() -> Sequence[str]:
    """Lines that say what would be diagnosed."""
    workdirs, detections, ground_truth, out = chosen_paths()
    lines = []
    if ground_truth:
        images = len(read_json(ground_truth, dict).get("images", ()))
        lines.append(f"Ground truth: {ground_truth}, {images:,} images.")
        for name, path in zip(names_of(detections), detections, strict=True):
            lines.append(f"{name}: {len(read_json(path, list)):,} detections.")
    for name, workdir in zip(names_of(workdirs) if workdirs else [], workdirs, strict=True):
        seen = preview.preview_run(
            workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value, changes=_CHANGES.value
        )
        lines += [f"{name}:", *(f"  {line}" for line in seen)]
    return [*lines, f"Files: diagnostics.json and the pictures in {out}."]


if __name__ == "__main__":
    command_line.run(main, dry_run)
