"""Checks a data set before training: its contents, its faults, and the values that suit it.

ioub check_data --data=PATH --write_config=mine.py
ioub check_data --config=voc_folder_retinanet --split=train \
  --config.data.voc.root=PATH --output=runs/check

With --data it finds the data set in the folder, and everything that is missing there;
--write_config writes a configuration that suits it, with a reason for every value.

The exit code is 1 if something must be fixed: problems at which training with this configuration
would stop, and boxes that are almost certainly in another format than they should be. With
`--config.data.on_error=skip`, parts that training leaves out are reported but need not be fixed.

`--output` is the folder for the full report, check.json, and a contact sheet of labeled images.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from ioub_jax.commands import command_line, data_flags

_CONFIG = command_line.define_config(required=False)
data_flags.define()
_WRITE_CONFIG = flags.DEFINE_string(
    "write_config", None, "With --data: the file for the measured configuration, such as mine.py."
)
_SPLIT = command_line.define_split("train")
_DECODE = flags.DEFINE_bool("decode", False, "Also decode every image.")
_OUTPUT = flags.DEFINE_string("output", None, "A folder for check.json and contact_sheet.png.")
_IMAGES = flags.DEFINE_integer("images", 12, "Images on the contact sheet.", lower_bound=1)

if __name__ == "__main__":
    command_line.parse_flags()

import numpy as np

from ioub_jax import detectors, files, plotting
from ioub_jax.configs import refusals
from ioub_jax.data import audit
from ioub_jax.data.audit import audit_report, network_scale
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.chosen_images import evenly
from ioub_jax.detectors import AnchorObjective
from ioub_jax.diagnostics import anchor_fit, location_cover
from ioub_jax.diagnostics.anchor_advice import Anchoring
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import audit_parts, data_parts, loading_parts
from ioub_jax.own_data import config_file
from ioub_jax.printing import printable
from ioub_jax.training import summary


def what_suits(
    annotations: Annotations, config: Any
) -> tuple[list[audit.Finding], str, dict[str, Any]]:
    """Measures how well the configuration's anchors and canvases fit the data.

    Returns:
      the findings, a text for the user, and the content for check.json.
    """
    sizes = annotations.sizes
    loading = loading_parts.loading_of(config)
    resize, canvases = loading.resize, loading.canvases
    detector = detectors.create(config, num_classes=1)
    anchoring = Anchoring(detector.levels, canvases, resize, detector.canvas is not None)
    fit, findings = _what_is_learned(annotations, anchoring, detector.objective)
    configured = network_scale.with_padding(sizes, resize, canvases)
    suggested = network_scale.suggested_canvases(sizes, resize, canvases)
    of_canvases = audit_report.format_canvases(configured, suggested)
    if loading.tiling is not None:
        share = configured.padding_share
        of_canvases = f"Padding of tiles of {loading.tiling}: {share:.1%} of their pixels"
    text = f"{fit}\n\n{of_canvases}"
    details = {
        "anchors": dataclasses.asdict(fit),
        "canvases": dataclasses.asdict(configured),
        "suggested_canvases": [dataclasses.asdict(other) for other in suggested],
    }
    return findings, text, details


def _what_is_learned(
    annotations: Annotations, anchoring: Anchoring, objective: Any
) -> tuple[Any, list[audit.Finding]]:
    """The boxes that the anchors or another assigner's locations reach, and findings on others."""
    rules = objective.rules if isinstance(objective, AnchorObjective) else None
    if rules is not None and (rules.name, rules.similarity) != ("iou", "iou"):
        cover = location_cover.measure_location_cover(annotations, anchoring, objective)
        return cover, location_cover.uncovered_finding(cover)
    fit = anchor_fit.measure_anchor_fit(annotations, anchoring)
    return fit, anchor_fit.unreached_finding(fit, annotations, anchoring)


def draw_sample(path: pathlib.Path, data: audit.OpenedData, count: int) -> None:
    """Draws images with objects, spread over the data set."""
    examples = []
    for index in evenly(np.flatnonzero(data.annotations.counts), count):
        try:
            examples.append(data.source.load(int(index), at_least=(300, 300)))
        except DataError:
            continue  # the findings include this image if --decode is given
    plotting.labeled_sheet(
        path,
        [np.asarray(example.image) for example in examples],
        examples,
        data.source.classes,
        columns=4,
        title=f"{len(examples)} of {len(data.source):,} images, as annotated",
    )


def write(folder: pathlib.Path, found: audit.Audit, details: dict[str, Any]) -> None:
    """Writes check.json and, if there is something to draw, the contact sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "check.json", audit_report.to_json(found) | details, indent=1)
    if found.data is not None and found.data.statistics.boxes:
        draw_sample(folder / "contact_sheet.png", found.data, _IMAGES.value)


def _look_at_data() -> list[str]:
    """Lines on the data found by --data and on what is missing; empty without --data.

    Raises:
      ConfigError: --write_config is given without --data, or its file cannot be written.
    """
    data = data_flags.found()
    if _WRITE_CONFIG.value is not None:
        if data is None:
            raise ConfigError("--write_config goes with --data=PATH, which is not given.")
        config_file.check_path(pathlib.Path(_WRITE_CONFIG.value))
    if data is None:
        return []
    missing = [f"  - {sentence}" for sentence in data.missing]
    return [*data.lines, *(["Missing:", *missing] if missing else ["Nothing is missing."]), ""]


def main() -> None:
    """Checks the data set."""
    config = _CONFIG.value
    refusals.check(config)
    for line in _look_at_data():
        print(printable(line))
    if _OUTPUT.value is not None:
        files.check_can_write(pathlib.Path(_OUTPUT.value))
    details = {
        "source": data_parts.name_of(config),
        "split": _SPLIT.value,
        "decoded": _DECODE.value,
    }
    try:
        found = audit_parts.audit_data_set(config, _SPLIT.value, decode=_DECODE.value)
        if (data := found.data) is not None:
            more, suits, measured = what_suits(data.seen, config)
            found = dataclasses.replace(found, findings=(*found.findings, *more))
            details |= measured
            lines = "\n".join(data.learned.lines())
            if (pixels := audit.pixels_line(data.source)) is not None:
                details["pixels"] = pixels
            print(f"{audit_report.format_statistics(data.statistics)}\n\n{suits}\n\n{lines}\n")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    print(audit_report.format_findings(found.findings))
    if _OUTPUT.value is not None:
        write(pathlib.Path(_OUTPUT.value), found, details)
        print(f"\nThe whole report is in {_OUTPUT.value}.")
    if _WRITE_CONFIG.value is not None:
        _write_config(pathlib.Path(_WRITE_CONFIG.value), is_broken=bool(found.must_be_fixed))
    if found.must_be_fixed:
        sys.exit(1)


def _write_config(path: pathlib.Path, *, is_broken: bool) -> None:
    """Writes the configuration, and prints how to train with it."""
    data = data_flags.found()
    assert data is not None  # `_look_at_data` has checked this
    config_file.write(path, data)
    when = "The problems above stop training; once they are fixed:" if is_broken else "To train:"
    print(f"\n{path} has the values that suit this data, with the reasons. {when}")
    train = f"ioub train --config={shlex.quote(str(path))} --workdir=runs/{shlex.quote(path.stem)}"
    print(train)
    if is_broken:
        print(f"Or, to leave broken files and boxes out:\n{train} --config.data.on_error=skip")


def dry_run() -> Sequence[str]:
    """Lines that say what would be checked; data that cannot be opened is an error here, too."""
    config = _CONFIG.value
    refusals.check(config)
    try:
        source = audit_parts.open_leniently(config, _SPLIT.value)
        rules = data_parts.rules_of(config.data, config.matcher, _SPLIT.value)
        source, tiles = data_parts.cut_into_tiles(source, config.data, _SPLIT.value, rules)
    except DataError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    decoded = "every image is decoded" if _DECODE.value else "the header of every image is read"
    lines = [
        *_look_at_data(),
        f"Data: {data_parts.name_of(config)}, {_SPLIT.value}: {summary.describe_source(source)}.",
        f"Canvases: {summary.describe_canvases(loading_parts.loading_of(config), source)}.",
        *([] if tiles is None else [tiles.line()]),
        f"Checks: annotations, anchors and canvases; {decoded}.",
    ]
    if _OUTPUT.value is not None:
        files.check_can_write(pathlib.Path(_OUTPUT.value))
        lines.append(f"Files: check.json and contact_sheet.png in {_OUTPUT.value}.")
    if _WRITE_CONFIG.value is not None:
        lines.append(f"Configuration: {_WRITE_CONFIG.value}.")
    return lines


if __name__ == "__main__":
    command_line.run(main, dry_run)
