"""Exports a trained detector to programs that do not have this package.

ioub export --model=runs/shapes --output=exported
ioub export --model=runs/mine --output=exported --format=safetensors

`stablehlo` writes one program for every canvas, including the weights, the decoding and the NMS,
which needs nothing but jax on CPU, CUDA or TPU; `onnx` writes the same for one image at a time, for
ONNX runtimes; `safetensors` writes the parameters with torchvision's names. docs/export.md explains
how to use them. `--model` is the workdir of a run, or one of torchvision's detectors, by file or by
name. With `--score=best` a program returns the detections of each class with at least the score
that was best on the validation images.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line, score_flags
from ioub_jax.export import platforms

_MODEL = flags.DEFINE_string(
    "model", None, "Workdir of a run, or a file of torchvision's.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the files.", required=True)
_FORMAT = flags.DEFINE_enum(
    "format", "stablehlo", ["stablehlo", "onnx", "safetensors"], "Format of the files."
)
_CHECKPOINT, _EMA = command_line.define_weights()
_CHANGES = command_line.define_changes("model")
_SCORE = score_flags.define(
    "score", 0.0, "Lowest score of a program's detections; 'best': the measured one of each class."
)
_BATCH = flags.DEFINE_integer(
    "batch_size",
    None,
    "Images in a batch of a StableHLO program; unset: any number.",
    lower_bound=1,
)
_PLATFORMS = flags.DEFINE_list(
    "platforms",
    list(platforms.DEFAULT_PLATFORMS),
    f"Platforms of a StableHLO program: {', '.join(platforms.PLATFORMS)}.",
)
_CANVASES = flags.DEFINE_list(
    "canvases",
    None,
    "Sizes of the inputs, such as 800x1344,1344x800; unset: those of the configuration.",
)

if __name__ == "__main__":
    command_line.parse_flags()

import ioub_jax
from ioub_jax import files
from ioub_jax.commands import preview
from ioub_jax.errors import ConfigError
from ioub_jax.export import onnx_program, programs
from ioub_jax.workdirs import score_thresholds


def main() -> None:
    """Reads the detector and writes the files."""
    _check()
    detector = ioub_jax.load(
        _MODEL.value,
        checkpoint=_CHECKPOINT.value,
        ema=_EMA.value,
        changes=_CHANGES.value,
        score_threshold=_SCORE.value,
    )
    out = pathlib.Path(_OUTPUT.value)
    if _FORMAT.value == "safetensors":
        written = programs.write_torchvision_weights(detector, out, name=_MODEL.value)
    elif _FORMAT.value == "onnx":
        written = programs.write_onnx(detector, out, canvases=_canvases())
    else:
        written = programs.write_programs(
            detector,
            out,
            canvases=_canvases(),
            batch_size=_BATCH.value,
            platforms=_PLATFORMS.value,
        )
    for path in written:
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def _check() -> None:
    """Raises an error for flags with which no file could be written."""
    files.check_can_write(pathlib.Path(_OUTPUT.value))
    if _FORMAT.value == "safetensors" and _SCORE.value != 0.0:
        raise ConfigError(
            "--score is for programs, but --format=safetensors writes only weights; set "
            "--config.evaluation.score_threshold for torchvision's models."
        )
    ignored = {"onnx": (_BATCH, _PLATFORMS), "safetensors": (_BATCH, _PLATFORMS, _CANVASES)}
    for flag in ignored.get(_FORMAT.value, ()):
        if flag.value != flag.default:
            raise ConfigError(
                f"--{flag.name} does not apply to --format={_FORMAT.value}; leave it out."
            )


def _canvases() -> list[tuple[int, int]] | None:
    canvases = []
    for text in _CANVASES.value or ():
        height, _, width = text.partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            raise ConfigError(f"--canvases has {text!r}; write height and width as 800x1344.")
        canvases.append((int(height), int(width)))
    return canvases or None


def _described_score() -> Sequence[str]:
    """A line with the least score of the detections of exported programs, unless it is 0."""
    if _SCORE.value == 0.0:
        return []
    model, measured = files.path_of(_MODEL.value), None
    if _SCORE.value == score_flags.BEST:
        if not model.is_dir():
            raise ConfigError(
                f"{_MODEL.value} is not a workdir, which would have the measured best scores; give "
                "a number as --score."
            )
        measured = score_thresholds.read_required(model, _CHECKPOINT.value, ema=_EMA.value)
    described = score_flags.describe(_SCORE.value, measured)
    return [f"The programs find detections with at least {described}."]


def dry_run() -> Sequence[str]:
    """Lines that say what would be exported."""
    _check()
    lines = preview.preview_inference(
        _MODEL.value, _CHECKPOINT.value, ema=_EMA.value, changes=_CHANGES.value
    )
    if _FORMAT.value == "safetensors":
        return [*lines, f"Files: the weights as safetensors in {_OUTPUT.value}."]
    canvases = _canvases()
    shown = ", ".join(f"{h}x{w}" for h, w in canvases) if canvases else "the configuration's"
    if _FORMAT.value == "onnx":
        onnx_program.check_packages()
        what = "in ONNX, of one image"
    else:
        platforms.check_platforms(_PLATFORMS.value)
        images = _BATCH.value or "any number of"
        what = f"for {', '.join(_PLATFORMS.value)}, of {images} images"
    return [
        *lines,
        *_described_score(),
        f"Files: detector.json and one program for each canvas ({shown}) in {_OUTPUT.value}, "
        f"{what}.",
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run)
