"""Relation between the scores of detections and their localization."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

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

_COLUMNS = 3
_FEWEST, _FEWEST_OF_CLASS = 5, 10


def score_against_iou(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws score against IoU with the ground truth, a panel for each run.

    Args:
      path: the PNG to write.
      runs: name -> the result of `diagnostics.of_detections.diagnosis_to_json`; `correlation` is
        read.
    """
    columns = min(len(runs), _COLUMNS)
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(4.6 * columns + 1, 4.5 * rows + 0.8), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for number, (axes, (name, run)) in enumerate(zip(panels, runs.items(), strict=False)):
        mapped = _draw_density(axes, run["correlation"], number)
        axes.set_title(
            f"{printable(name)}\nSpearman {decimals(run['correlation']['spearman'])} over "
            f"{run['correlation']['located']:,} detections with IoU ≥ .5",
            fontsize=11,
        )
        axes.set(xlabel="IoU with the ground truth", ylabel="score")
        axes.label_outer()
    for axes in panels:
        axes.set_axis_off()
    figure.colorbar(mapped, ax=figure.axes, label="share of the detections of a column", shrink=0.8)
    figure.suptitle("Does the score say how well a box fits?", fontsize=13)
    add_caption(
        figure,
        "Every column sums to 1 (those of fewer than five detections are left out); the line is "
        "the mean score. If scores follow localization, the line and the dark cells rise to the "
        "right. If they are flat, NMS cannot tell which of the boxes on an object fits best.",
    )
    figure.savefig(path, format="png")


def _draw_density(axes: Axes, correlation: Mapping[str, Any], number: int) -> Any:
    density = np.asarray(correlation["density"], float)  # [IoU, score]
    counts = density.sum(axis=1, keepdims=True)
    shares = np.divide(density, counts, out=np.zeros_like(density), where=counts > 0)
    edges = np.linspace(0, 1, len(density) + 1)
    mapped = axes.pcolormesh(
        edges, edges, np.where(counts >= _FEWEST, shares, np.nan).T, cmap="Greys", vmin=0, vmax=0.6
    )
    axes.axvline(0.5, color=GRAY, linestyle="--", linewidth=1)
    centers, scores = _mean_scores(correlation)
    axes.plot(centers, scores, color=run_color(number), marker="o", linewidth=2, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return mapped


def _mean_scores(correlation: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns the middle and the mean score of every bin of IoU with enough detections."""
    bins = [row for row in correlation["iou_bins"] if row["detections"] >= _FEWEST]
    return [(row["lower"] + row["upper"]) / 2 for row in bins], [row["score"] for row in bins]


def iou_bins(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws the share of the detections and their scores in each bin of IoU.

    Args:
      path: the PNG to write.
      runs: as `score_against_iou`.
    """
    figure = Figure(figsize=(12, 4.6), dpi=DPI, layout="constrained")
    shares, scores = figure.subplots(1, 2)
    width = 0.8 / len(runs)
    for number, (name, run) in enumerate(runs.items()):
        correlation = run["correlation"]
        located = [row for row in correlation["iou_bins"] if row["lower"] >= 0.5]
        places = np.arange(len(located)) + (number + 0.5) * width - 0.4
        values = [row["share_of_located"] or 0.0 for row in located]
        label = f"{printable(name)}: mean IoU {decimals(correlation['mean_iou'])}"
        bars = shares.bar(places, values, 0.94 * width, color=run_color(number), label=label)
        if len(runs) <= 3:
            shares.bar_label(bars, [f"{value:.0%}" for value in values], fontsize=8)
        scores.plot(
            *_mean_scores(correlation),
            color=run_color(number),
            marker="o",
            label=f"{printable(name)}: Spearman {decimals(correlation['spearman'])}",
        )
    shares.set_xticks(
        np.arange(len(located)), [f"{row['lower']:.1f}-{row['upper']:.1f}" for row in located]
    )
    shares.yaxis.set_major_formatter(PercentFormatter(1.0))
    shares.set_title("Share of the detections with IoU ≥ .5")
    shares.set_xlabel("IoU with the ground truth")
    scores.axvline(0.5, color=GRAY, linestyle="--", linewidth=1)
    scores.set(xlim=(0, 1), ylim=(0, 1), xlabel="IoU with the ground truth")
    scores.set_title("Mean score")
    for axes in (shares, scores):
        tidy(axes)
        axes.legend(fontsize=9, loc="upper left")
    shares.set_ylim(top=1.25 * shares.get_ylim()[1])
    add_caption(
        figure,
        "Left: better localized detections are bars further to the right. Right: the steeper the "
        "line from .5 on, the better the score tells good boxes from bad ones.",
    )
    figure.savefig(path, format="png")


def correlation_by_class(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws Spearman's correlation of score and IoU within every class with enough detections.

    Args:
      path: the PNG to write.
      runs: as `score_against_iou`.
    """
    first = next(iter(runs.values()))
    names = [row["name"] for row in first["correlation"]["per_class"]]
    figure = Figure(figsize=(8, 1.9 + 0.28 * (len(names) + 1)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names) + 1)
    for number, (name, run) in enumerate(runs.items()):
        correlation = run["correlation"]
        values = [
            row["spearman"]
            if row["spearman"] is not None and row["located"] >= _FEWEST_OF_CLASS
            else np.nan
            for row in (correlation, *correlation["per_class"])
        ]
        axes.scatter(values, places, s=40, color=run_color(number), label=printable(name), zorder=3)
    axes.axhline(0.5, color=GRAY, linewidth=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, ["all together", *map(printable, names)])
    axes.set_ylim(len(names) + 0.6, -0.6)
    tidy(axes)
    axes.set_xlabel("Spearman's correlation of score and IoU, detections with IoU ≥ .5")
    axes.set_title("Correlation of score and IoU by class: further right is better", fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, format="png")
