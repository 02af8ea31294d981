"""Draws why detections are as good as they are: score against IoU, NMS, LRP, calibration and more.

python -m experiments.diagnose --workdir=runs/shapes
python -m experiments.diagnose --workdir=runs/baseline,runs/both --to=runs/compared
python -m experiments.diagnose --detections=found.json --annotations=instances.json --to=why

Several workdirs, or several files of detections, are drawn into the same pictures. How to read them
is in docs/diagnostics.md.
"""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments import command_line
from ioub_jax import files, plotting
from ioub_jax.data.checks import DataError
from ioub_jax.evaluation import diagnosis
from ioub_jax.objective import gradient_norm
from ioub_jax.training import trained
from ioub_jax.training.configuration import ConfigError
from ioub_jax.training.diagnosis import diagnose_workdir

_WORKDIRS = flags.DEFINE_list("workdir", [], "Folders of runs, with commas between them.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "Which checkpoint.")
_EMA = command_line.define_ema()
_SPLIT = flags.DEFINE_enum("split", "val", ["train", "val", "test"], "Which images.")
_DETECTIONS = flags.DEFINE_list("detections", [], "Instead: files in COCO's results format.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Their ground truth in COCO's format.")
_OUT = flags.DEFINE_string(
    "to", None, "Folder for the results; of one workdir: diagnostics/ in it."
)


def names_of(paths: Sequence[pathlib.Path]) -> list[str]:
    """The name of each path, with as many of its folders as tell them all apart.

    Raises:
      ConfigError: a path is given twice.
    """
    parts = [pathlib.Path(os.path.abspath(path).removesuffix(".json")).parts for path in paths]
    if len(set(parts)) < len(parts):
        raise ConfigError("The same workdir or file is given twice; give every one once.")
    length = next(
        length
        for length in range(1, max(map(len, parts)) + 1)
        if len({part[-length:] for part in parts}) == len(parts)
    )
    return ["/".join(part[-length:]) for part in parts]


def read_json(path: pathlib.Path, kind: type) -> Any:
    """A file of detections or of ground truth.

    Raises:
      DataError: it is not there, or no JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "broken_annotation") from None
    except ValueError as error:
        raise DataError(f"{path} is no JSON file: {error}.", "broken_annotation") from None
    if not isinstance(value, kind):
        wanted = "a list of detections" if kind is list else "a data set in COCO's format"
        raise DataError(f"{path} does not hold {wanted}.", "broken_annotation")
    return value


def diagnose_file(
    path: pathlib.Path, annotations: pathlib.Path, ground_truth: dict[str, Any]
) -> dict[str, Any]:
    """The diagnosis of a file of detections; `annotations` is where `ground_truth` is from.

    Raises:
      DataError: the file is broken, or is not of this ground truth.
    """
    try:
        found = diagnosis.diagnose(ground_truth, read_json(path, list))
    except (AttributeError, KeyError, TypeError) as error:
        sentence = f"{path} or {annotations} is not in COCO's format: {error!r}."
        raise DataError(sentence, "broken_annotation") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {error}.", "broken_annotation") from None
    return diagnosis.diagnosis_to_json(found)


def diagnose_all(
    workdirs: Sequence[pathlib.Path],
    detections: Sequence[pathlib.Path],
    annotations: pathlib.Path | None,
) -> dict[str, Any]:
    """Name -> diagnosis of every run or file.

    Raises:
      ConfigError: their classes differ, or as `trained.load`.
      DataError: as `diagnose_file` and `trained.load`.
    """
    runs = {}
    if annotations:
        ground_truth = read_json(annotations, dict)
        for name, path in zip(names_of(detections), detections, strict=True):
            runs[name] = diagnose_file(path, annotations, ground_truth)
    for name, workdir in zip(names_of(workdirs) if workdirs else [], workdirs, strict=True):
        model = trained.load(workdir, _CHECKPOINT.value, _SPLIT.value, ema=_EMA.value)
        runs[name] = diagnose_workdir(workdir, model)
    classes = {tuple(row["name"] for row in run["metrics"]["per_class"]) for run in runs.values()}
    if len(classes) > 1:
        raise ConfigError("The runs have different classes; compare runs of the same data.")
    return runs


def check_flags() -> None:
    """Raises `ConfigError` where the flags do not say what to diagnose, or where to write it."""
    if bool(_WORKDIRS.value) == bool(_DETECTIONS.value):
        raise ConfigError("Give either --workdir or --detections.")
    if bool(_DETECTIONS.value) != bool(_ANNOTATIONS.value):
        raise ConfigError("--detections and --annotations go together; give both or neither.")
    if _OUT.value is None and len(_WORKDIRS.value or ()) != 1:
        raise ConfigError("Say with --to into which folder the results are to be written.")


def main() -> None:
    """Diagnoses, writes the numbers and draws them."""
    check_flags()
    workdirs, detections = (
        [pathlib.Path(name) for name in value or ()]
        for value in (_WORKDIRS.value, _DETECTIONS.value)
    )
    annotations = pathlib.Path(_ANNOTATIONS.value) if _ANNOTATIONS.value else None
    out = pathlib.Path(_OUT.value) if _OUT.value else workdirs[0] / "diagnostics"
    report: dict[str, Any] = {
        "runs": diagnose_all(workdirs, detections, annotations),
        "gradient_norm": gradient_norm.gradient_norms(),
    }
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "diagnostics.json", report)
    pictures = plotting.diagnostics(out, report)
    for name, run in report["runs"].items():
        print(describe(name, run))
    print(f"In {out}: diagnostics.json, {', '.join(pictures)}.")


def describe(name: str, run: dict[str, Any]) -> str:
    """The numbers of a run that say most, in one line."""
    numbers = {
        "AP": run["metrics"]["AP"],
        "oLRP": run["lrp"][0]["error"],
        "Spearman of score and IoU": run["correlation"]["spearman"],
        "IoU lost by NMS": run.get("suppression", {}).get("lost_iou"),
        "D-ECE": run["calibration"]["d_ece"],
        "LaECE": run["calibration"]["la_ece"],
    }
    known = [f"{key} {value:.3f}" for key, value in numbers.items() if value is not None]
    return f"{name}: {', '.join(known)}"


if __name__ == "__main__":
    command_line.run(main)
