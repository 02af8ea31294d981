"""Precision over recall, the LRP error beside average precision, and calibration."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ioub_jax.plotting.drawing import (
    DPI,
    GRAY,
    Runs,
    add_caption,
    decimals,
    printable,
    run_color,
    tidy,
)

_STYLES: Mapping[str, Any] = {"0.50": "-", "0.75": "--", "0.90": ":"}
# The components of the error, and the strength of their colors.
_PARTS = (("boxes that do not fit", 1.0), ("false positives", 0.55), ("objects not found", 0.2))


def precision_recall(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws precision over recall: the mean over the classes, then a panel for each class.

    Args:
      path: the PNG to write.
      runs: name -> the result of `diagnostics.of_detections.diagnosis_to_json`; `curves` and
        `metrics` are read.
    """
    first = next(iter(runs.values()))["curves"]
    columns = min(len(first), 4 if len(first) <= 24 else 8)
    rows = -(-len(first) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.6 * rows + 1.2), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for index, curve in enumerate(first):
        axes = panels[index]
        for number, run in enumerate(runs.values()):
            _draw_curves(axes, run["curves"][index]["precision"], run_color(number))
        name = "mean over the classes" if curve["name"] is None else printable(curve["name"])
        axes.set_title(name, fontsize=10, fontweight="bold" if curve["name"] is None else None)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.label_outer()
        axes.tick_params(labelbottom=index + columns >= len(first))
        tidy(axes)
        if not axes.lines:
            axes.text(0.5, 0.5, "no object", ha="center", color=GRAY)
    for axes in list(panels)[len(first) :]:
        axes.set_axis_off()
    handles = [
        Line2D([], [], color=run_color(number), label=f"{printable(name)}: {_ap(run)}")
        for number, (name, run) in enumerate(runs.items())
    ]
    handles += [
        Line2D([], [], color=GRAY, linestyle=style, label=f"IoU {threshold}")
        for threshold, style in _STYLES.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    figure.suptitle("Precision over recall, by the IoU that a detection needs", fontsize=13)
    figure.savefig(path, format="png")


def _ap(run: Mapping[str, Any]) -> str:
    metrics = run["metrics"]
    # The curves include all detections that are counted.
    key = f"AP@{metrics['counted']}" if "counted" in metrics else "AP"
    return f"{key} {decimals(metrics[key])}"


def _draw_curves(axes: Axes, precision: Mapping[str, Any], color: str) -> None:
    for threshold, style in _STYLES.items():
        values = precision[threshold]
        if values is not None:
            recall = np.linspace(0, 1, len(values))
            axes.plot(recall, values, color=color, linestyle=style, linewidth=1.5)


def lrp(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws the optimal LRP error and its components, beside average precision.

    Args:
      path: the PNG to write.
      runs: name -> the result of `diagnostics.of_detections.diagnosis_to_json`; `lrp` and `metrics`
        are read.
    """
    first = next(iter(runs.values()))["lrp"]
    height = 0.8 / len(runs)
    figure = Figure(
        figsize=(12, 2.2 + len(first) * max(0.3, 0.2 * len(runs))), dpi=DPI, layout="constrained"
    )
    errors, precisions = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    for number, run in enumerate(runs.values()):
        places = np.arange(len(first)) + (number + 0.5) * height - 0.4
        _draw_parts(errors, places, 0.92 * height, run["lrp"], run_color(number))
        metrics = run["metrics"]
        values = [metrics["AP"], *(row["AP"] for row in metrics["per_class"])]
        precisions.barh(
            places, [value or 0.0 for value in values], 0.92 * height, color=run_color(number)
        )
        for place, value in zip(places, values, strict=True):
            precisions.text((value or 0) + 0.01, place, decimals(value), va="center", fontsize=8)
    names = ["mean", *(printable(row["name"]) for row in first[1:])]
    errors.set_yticks(np.arange(len(first)), names)
    errors.set_ylim(len(first) - 0.4, -0.6)
    errors.set_title("optimal LRP error: lower is better")
    precisions.set_title("AP: higher is better")
    for axes in (errors, precisions):
        axes.set_xlim(0, 1)
        axes.axhline(0.5, color=GRAY, linewidth=0.8)
        tidy(axes)
    handles = [
        Patch(color=run_color(number), label=printable(name)) for number, name in enumerate(runs)
    ]
    handles += [Patch(color=to_rgba(GRAY, strength), label=name) for name, strength in _PARTS]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9)
    figure.suptitle("The errors: boxes that do not fit, false boxes, or missing ones?", fontsize=13)
    figure.savefig(path, format="png")


def _draw_parts(
    axes: Axes,
    places: np.ndarray,
    height: float,
    rows: Sequence[Mapping[str, Any]],
    color: str,
) -> None:
    """Stacks the contributions of localization, false positives and misses to the error."""
    parts = np.array([row["parts"] or (0.0, 0.0, 0.0) for row in rows])
    left = np.zeros(len(rows))
    for index, (_, strength) in enumerate(_PARTS):
        axes.barh(places, parts[:, index], height, left=left, color=to_rgba(color, strength))
        left += parts[:, index]
    for place, row in zip(places, rows, strict=True):
        axes.text(
            (row["error"] or 0) + 0.01, place, decimals(row["error"]), va="center", fontsize=8
        )


def calibration(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws the precision and the localization of detections by score.

    Args:
      path: the PNG to write.
      runs: name -> the result of `diagnostics.of_detections.diagnosis_to_json`; `calibration` is
        read.
    """
    figure = Figure(figsize=(13, 5.6), dpi=DPI, layout="constrained")
    precision, located, fits, counts = figure.subplot_mosaic(
        [["precision", "located", "fits"], ["counts", "counts", "counts"]], height_ratios=(3, 1)
    ).values()
    width = 0.08 / len(runs)
    for number, (name, run) in enumerate(runs.items()):
        values, color = run["calibration"], run_color(number)
        bins = [row for row in values["bins"] if row["detections"]]
        scores = [row["score"] for row in bins]
        style: dict[str, Any] = {"color": color, "marker": "o", "linewidth": 1.8}
        label = f"{printable(name)}: D-ECE {decimals(values['d_ece'])}"
        precision.plot(scores, [row["precision"] for row in bins], **style, label=label)
        product = [row["precision"] * (row["mean_iou"] or 0.0) for row in bins]
        label = f"{printable(name)}: LaECE {decimals(values['la_ece'])}"
        located.plot(scores, product, **style, label=label)
        ious = [np.nan if row["mean_iou"] is None else row["mean_iou"] for row in bins]
        fits.plot(scores, ious, **style, label=printable(name))
        centers = np.array([(row["lower"] + row["upper"]) / 2 for row in values["bins"]])
        counts.bar(
            centers + (number + 0.5 - len(runs) / 2) * width,
            [row["detections"] for row in values["bins"]],
            width,
            color=color,
        )
    if any(row["detections"] for run in runs.values() for row in run["calibration"]["bins"]):
        counts.set_yscale("log")
    _finish_calibration(precision, located, fits, counts)
    figure.suptitle("What does a score mean?", fontsize=13)
    add_caption(
        figure,
        "On the diagonal a score equals the share of true detections; above it the detector is "
        "underconfident, below it overconfident. The line on the right should rise: better scores, "
        "better boxes.",
    )
    figure.savefig(path, format="png")


def _finish_calibration(precision: Axes, located: Axes, fits: Axes, counts: Axes) -> None:
    precision.set_title("Share of true detections (IoU ≥ .5)")
    located.set_title("That share times the mean IoU of true detections")
    fits.set_title("Mean IoU of the true detections")
    for axes in (precision, located):
        axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, zorder=1)
        axes.set_ylim(0, 1)
    fits.set_ylim(0.5, 1)
    counts.set(xlim=(0, 1), xlabel="score", ylabel="detections")
    tidy(counts)
    for axes in (precision, located, fits):
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean score of a bin")
        axes.legend(fontsize=9, loc="lower right")
        tidy(axes)
