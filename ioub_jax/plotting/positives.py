"""Changes of a run's positives and their weights during training."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ioub_jax.plotting.drawing import DPI, GRAY, ORANGE, add_caption, printable

_TITLES = {
    "histogram_positive_iou": "IoU of the predicted boxes",
    "histogram_classification_weight": "weight in the classification loss",
    "histogram_localization_weight": "weight in the localization loss",
}
_MOST_COLUMNS = 60


def positives(
    path: str | os.PathLike[str],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Draws the histograms of the positives over training, a row for each run.

    Args:
      path: the PNG to write.
      records: name of the run -> the records of its `histograms.jsonl`, at least one.
      ranges: key of a record -> the lower edge of its first bin and the upper edge of its last one;
        the bins have equal width.
    """
    rows = len(records)
    figure = Figure(figsize=(13, 3.3 * rows + 1.2), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, len(_TITLES), squeeze=False)
    for axes_of_run, (name, of_run) in zip(panels, records.items(), strict=True):
        for axes, (key, title) in zip(axes_of_run, _TITLES.items(), strict=True):
            mapped = _draw_heat_map(axes, of_run, key, *ranges[key])
            axes.set_title(f"{printable(name)}: {title}", fontsize=10)
            axes.set_xlabel("training step")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    figure.colorbar(mapped, ax=panels, label="share of the positives", shrink=min(1, 1.4 / rows))
    figure.suptitle("The positive anchors over training", fontsize=13)
    add_caption(
        figure,
        "Every column is a histogram that sums to 1, the line its mean. Weights: 1 (dashes) is the "
        "plain loss, and the topmost bin also holds what lies above it. An IoU-balanced loss "
        "spreads the weights: up for well localized positives, down for the others.",
    )
    figure.savefig(path, format="png")


def _draw_heat_map(
    axes: Axes, records: Sequence[Mapping[str, Any]], key: str, lower: float, upper: float
) -> Any:
    counts = np.array([record[key] for record in records], float)
    steps = np.array([record["step"] for record in records], float)
    # If there are many records, several are added to a column.
    groups = np.array_split(np.arange(len(steps)), min(len(steps), _MOST_COLUMNS))
    counts = np.stack([counts[group].sum(axis=0) for group in groups])
    edges = np.concatenate([[0.0], [steps[group[-1]] for group in groups]])
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    levels = np.linspace(lower, upper, counts.shape[1] + 1)
    mapped = axes.pcolormesh(edges, levels, shares.T, cmap="Blues", vmin=0, vmax=0.3)
    middles = (levels[:-1] + levels[1:]) / 2
    mean = np.where(totals[:, 0] > 0, shares @ middles, np.nan)
    axes.plot((edges[:-1] + edges[1:]) / 2, mean, color=ORANGE, linewidth=2, marker=".")
    axes.set_ylim(max(lower, 0), upper)
    if key != "histogram_positive_iou":
        axes.axhline(1, color=GRAY, linewidth=1, linestyle="--")
    return mapped
