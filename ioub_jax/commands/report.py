"""Writes one HTML file that explains why a detector fails: errors, thresholds, the worst images.

ioub report --workdir=runs/shapes
ioub report --ground_truth=instances.json --detections=found.json --images=val --output=report.html
ioub report --workdir=runs/both --against=runs/baseline

The file opens in any browser, without a network. --against takes a second workdir or file of
detections for the same images, and shows the changes image by image and class by class.
docs/report.md explains how to read it.
"""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from ioub_jax.commands import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.")
_CHECKPOINT, _EMA = command_line.define_weights()
_SPLIT = command_line.define_split()
_CHANGES = command_line.define_changes("workdir")
_DETECT = flags.DEFINE_bool(
    "detect",
    False,
    "Detect again even if the evaluation has kept its detections; reports the losses by NMS, too.",
)
_DETECTIONS = flags.DEFINE_string(
    "detections", None, "In place of a run: a file in COCO's results format, from any detector."
)
_GROUND_TRUTH = flags.DEFINE_string(
    "ground_truth", None, "Its ground truth in COCO's format, with file_name, width and height."
)
_IMAGES = flags.DEFINE_string("images", None, "The folder of the images of --ground_truth.")
_AGAINST = flags.DEFINE_string(
    "against", None, "A second workdir or file of detections for the same images."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The HTML file; by default report.html in the workdir."
)
_PICTURES = flags.DEFINE_integer(
    "pictures", 12, "Largest number of pictures of a kind; twice as many of the worst.", 0, 1000
)

if __name__ == "__main__":
    command_line.parse_flags()

from ioub_jax import files
from ioub_jax.data.checks import DataError
from ioub_jax.diagnostics.detection_files import names_of, read_json
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.coco_metrics import COCO_DETECTIONS
from ioub_jax.printing import printable
from ioub_jax.report import page, run_pairs
from ioub_jax.report.html_elements import counted
from ioub_jax.report.image_readers import FolderImages, ImageReader, SourceImages
from ioub_jax.report.measurement import Measured, measure

if TYPE_CHECKING:
    from ioub_jax.report.of_workdirs import RunInput


def check_flags() -> None:
    """Raises `ConfigError` if the flags name nothing to report, or no place for the report."""
    if bool(_WORKDIR.value) == bool(_DETECTIONS.value):
        raise ConfigError("Give either --workdir, or --detections with --ground_truth.")
    if bool(_DETECTIONS.value) != bool(_GROUND_TRUTH.value):
        raise ConfigError("--detections and --ground_truth go together; give both or neither.")
    if _IMAGES.value and not _DETECTIONS.value:
        raise ConfigError("--images goes with --detections: a run has its own images.")
    if not (_WORKDIR.value or _is_workdir(_AGAINST.value)):
        for name, given in (("--config", _CHANGES.value), ("--detect", _DETECT.value)):
            if given:
                raise ConfigError(f"{name} needs a run: give --workdir, or leave {name} out.")
    if _OUTPUT.value is None and not _WORKDIR.value:
        raise ConfigError("Give the file for the report as --output, such as --output=report.html.")
    if _IMAGES.value and not pathlib.Path(_IMAGES.value).is_dir():
        raise ConfigError(f"--images={_IMAGES.value} is not a folder.")


def _is_workdir(text: str | None) -> bool:
    """True if --against names a workdir, and not a file."""
    return text is not None and files.path_of(text).is_dir()


def _place() -> pathlib.Path:
    """The file for the report.

    Raises:
      ConfigError: the file is in a bucket, or is a folder.
      OSError: its folder is not writable.
    """
    given = _OUTPUT.value or files.path_of(str(_WORKDIR.value)) / "report.html"
    path = files.local(files.path_of(given), "where no report is written: give a file as --output")
    if path.is_dir():
        raise ConfigError(f"--output={path} is a folder; give a file, such as {path}/report.html.")
    files.check_can_write(path.parent)
    return path


def _names() -> list[str]:
    """Names of the reported detections and of the detections compared with them."""
    return names_of([files.path_of(text) for text in _given()])


def _given() -> list[str]:
    """The inputs of the report and of its comparison."""
    given = (_WORKDIR.value or _DETECTIONS.value, _AGAINST.value)
    return [text for text in given if text]


def _read_run(workdir: str) -> "RunInput":
    from ioub_jax.report import of_workdirs  # imports jax, which files of detections do not need

    return of_workdirs.read_run(
        files.path_of(workdir),
        _CHECKPOINT.value,
        _SPLIT.value,
        ema=_EMA.value,
        changes=_CHANGES.value,
        detect=_DETECT.value,
    )


def _measure_run(workdir: str, name: str, limit: int | None = None) -> tuple[Measured, "RunInput"]:
    """Measures a run; its metric says how many detections count unless `limit` does."""
    run = _read_run(workdir)
    measured = measure(
        run.ground_truth,
        run.detections,
        name,
        counted=run.counted if limit is None else limit,
        suppression=run.suppression,
        origin=run.origin,
    )
    return measured, run


def _measure_file(
    path: str, name: str, ground_truth: dict, source: str, limit: int = COCO_DETECTIONS
) -> Measured:
    """Measures a file of detections; `source` is the name of the ground truth.

    Raises:
      DataError: the detections or the ground truth are broken, or they do not belong together.
    """
    detections = read_json(pathlib.Path(path), list)
    try:
        return measure(ground_truth, detections, name, counted=limit, origin=f"{path} on {source}")
    except (AttributeError, KeyError, TypeError) as error:
        sentence = f"{path} or {source} is not in COCO's format: {error!r}."
        raise DataError(sentence, "broken_annotation") from error
    except ValueError as error:
        sentence = f"{path}, with the ground truth of {source}: {error}."
        raise DataError(sentence, "broken_annotation") from None


def _measure_all() -> tuple[Measured, Measured | None, ImageReader | None]:
    """Measures the reported run or file and the one compared with it, and opens the images."""
    names, given = _names(), _given()
    reader: ImageReader | None = None
    if _WORKDIR.value:
        measured, run = _measure_run(given[0], names[0])
        ground_truth, source = run.ground_truth, given[0]
        reader = SourceImages(run.source, measured.checked)
    else:
        source = str(_GROUND_TRUTH.value)
        ground_truth = read_json(pathlib.Path(source), dict)
        measured = _measure_file(given[0], names[0], ground_truth, source)
        if _IMAGES.value:
            reader = FolderImages(pathlib.Path(_IMAGES.value), measured.images)
    if len(given) == 1:
        return measured, None, reader
    # Both sides are counted alike, so that they can be compared.
    limit = measured.metrics.counted
    if _is_workdir(given[1]):
        other, _ = _measure_run(given[1], names[1], limit)
    else:
        other = _measure_file(given[1], names[1], ground_truth, source, limit)
    return measured, other, reader


def main() -> None:
    """Measures, writes the page, and prints the most important numbers."""
    check_flags()
    path = _place()
    measured, other, reader = _measure_all()
    pair = None
    if other is not None:
        try:
            pair = run_pairs.compare_runs(measured, other)
        except ValueError as error:
            raise ConfigError(f"{error}.") from None
    made = page.make_page(measured, reader, pair, pictures=_PICTURES.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, made.text)
    for told in (measured, other):
        if told is not None:
            print(_line(told))
    for problem in made.problems[:3]:
        print(f"Without its picture: {printable(problem)}")
    if len(made.problems) > 3:
        print(f"and {len(made.problems) - 3} more.")
    size = path.stat().st_size / 1e6
    print(f"{path}: {counted(made.pictures, 'picture')}, {size:.1f} MB; open it in a browser.")


def _line(measured: Measured) -> str:
    """The most important numbers, in one line."""
    point = measured.errors.thresholds.all_classes.by_f1
    numbers = {
        "AP": measured.metrics.summary["AP"],
        "AP50": measured.metrics.summary["AP50"],
        "best score threshold": None if point is None else point.threshold,
    }
    known = [f"{key} {value:.3f}" for key, value in numbers.items() if value is not None]
    return f"{printable(measured.name)}: {', '.join(known) or 'nothing to find'}"


def dry_run() -> Sequence[str]:
    """Lines that say what would be reported."""
    check_flags()
    path, lines = _place(), []
    if _GROUND_TRUTH.value:
        images = read_json(pathlib.Path(_GROUND_TRUTH.value), dict).get("images")
        count = len(images) if isinstance(images, list) else 0
        lines.append(f"Ground truth: {_GROUND_TRUTH.value}, {count:,} images.")
    for name, text in zip(_names(), _given(), strict=True):
        lines.append(f"{name}:")
        lines += [f"  {line}" for line in _preview(text)]
    return [*lines, f"File: {path}."]


def _preview(text: str) -> Sequence[str]:
    """Lines on the parts of a workdir or a file of detections that would be used."""
    if text != _WORKDIR.value and not _is_workdir(text):
        return [f"{len(read_json(pathlib.Path(text), list)):,} detections."]
    from ioub_jax.commands import preview  # imports jax, as in `_read_run`
    from ioub_jax.report import of_workdirs

    options = {"ema": _EMA.value, "changes": _CHANGES.value}
    workdir = files.path_of(text)
    lines = preview.preview_run(workdir, _CHECKPOINT.value, _SPLIT.value, **options)
    stored = of_workdirs.stored_detections(workdir, _CHECKPOINT.value, _SPLIT.value, **options)
    kept = stored if stored is not None and not _DETECT.value else None
    return [*lines, "Detections: run again." if kept is None else f"Detections: {kept}."]


if __name__ == "__main__":
    command_line.run(main, dry_run)
