"""Learning curves of a run."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ioub_jax.plotting.drawing import (
    BLUE,
    DPI,
    GRAY,
    GREEN,
    ORANGE,
    RUN_COLORS,
    printable,
    tidy,
)

#: Terms of the loss by their key, each with its color; most runs have the first two alone.
_TERMS = dict(
    zip(
        ("classification", "localization", "quality", "distribution", "carl", "correlation"),
        RUN_COLORS,
        strict=True,
    )
)


def learning_curves(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]] = (),
    *,
    precision: str = "AP",
    others: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """Draws the curves of a run: losses, IoU of its positives, average precision, learning rate.

    Losses and IoU are drawn twice: faintly as they were logged, and strongly as a running mean over
    5 % of the records. A key that no record has is not drawn.

    Args:
      path: the PNG to write.
      records: training records in order of `step`, with any of `loss` and its terms
        (`loss_classification`, `loss_localization`, `loss_quality`, `loss_distribution`,
        `loss_carl`, `loss_correlation`), `mean_positive_iou`, `learning_rate`.
      evaluations: evaluations in order of `step`, with any of `AP`, `AP50`, `AP75`,
        `without_ema_AP`, and `loss`; None is a gap. The axis of AP begins at 0 and ends above the
        highest value.
      precision: the key of AP in the evaluations, such as `voc_AP`; other keys follow from it,
        such as `voc_AP50`.
      others: the keys of further numbers of the evaluations, each of which gets a panel.
      title: a line above the panels.
    """
    rows = 2 + (len(others) + 1) // 2
    figure = Figure(figsize=(11, 3.5 * rows), dpi=DPI, layout="constrained")
    losses, iou, average, rate, *below = figure.subplots(rows, 2).flat

    _plot_smoothed(losses, records, "loss", "total", GRAY)
    for term, color in _TERMS.items():
        _plot_smoothed(losses, records, f"loss_{term}", term, color)
    steps, values = _series(evaluations, "loss")
    if steps.size:
        losses.plot(steps, values, color="black", marker="D", markersize=4, label="validation")
    losses.set_title("Loss")
    losses.set_ylim(bottom=0)

    _plot_smoothed(iou, records, "mean_positive_iou", "mean IoU", GREEN)
    iou.set_title("Mean IoU of the positive anchors' predicted boxes")
    iou.set_ylim(0, 1)

    for suffix, color, marker in (("50", BLUE, "s"), ("", GRAY, "o"), ("75", ORANGE, "^")):
        steps, values = _series(evaluations, precision + suffix)
        if steps.size:
            label = precision + suffix
            average.plot(steps, values, color=color, marker=marker, markersize=4, label=label)
    _plot_without_ema(average, evaluations, precision)
    average.set_title("Average precision on the validation images")
    average.set_ylim(0, _precision_end([line.get_ydata() for line in average.lines]))

    steps, values = _series(records, "learning_rate")
    if steps.size:
        rate.plot(steps, values, color=GRAY, marker=_marker(steps))
    rate.set_title("Learning rate")
    rate.set_ylim(bottom=0)

    last_step = max((int(row["step"]) for row in (*records, *evaluations)), default=0)
    for axes in (losses, iou, average, rate, *_plot_others(below, evaluations, others)):
        _finish_curves(axes, last_step)
    if title is not None:
        figure.suptitle(printable(title), fontsize=13)
    figure.savefig(path, format="png")


def _plot_others(
    panels: Sequence[Axes], evaluations: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> Sequence[Axes]:
    """Draws one number in each panel, and returns the panels in use."""
    for axes, key in zip(panels[: len(keys)], keys, strict=True):
        steps, values = _series(evaluations, key)
        if steps.size:
            axes.plot(steps, values, color=BLUE, marker="o", markersize=4, label=printable(key))
        _plot_without_ema(axes, evaluations, key)
        axes.set_title(f"{printable(key)} on the validation images")
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return panels[: len(keys)]


def _plot_without_ema(axes: Axes, evaluations: Sequence[Mapping[str, Any]], key: str) -> None:
    """Draws a number for the weights without their moving average."""
    steps, values = _series(evaluations, f"without_ema_{key}")
    if steps.size:
        label = f"{printable(key)} without EMA"
        axes.plot(steps, values, color=GRAY, linestyle=":", marker=".", label=label)


def _precision_end(curves: Sequence[ArrayLike]) -> float:
    """Returns the upper end of an axis of average precision: a multiple of .1 above all curves.

    It is at most 1. On an axis up to 1, low curves would be at the bottom. Multiples of .1 give
    similar runs the same axis.
    """
    values = np.concatenate([np.zeros(0), *map(np.asarray, curves)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 1.0
    # At least .025 stays free above the highest value.
    return min(int(10 * values.max() + 1.25) / 10, 1.0)


def _series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and values of a metric where it was recorded; None becomes a gap."""
    present = [record for record in records if key in record]
    values = [np.nan if record[key] is None else float(record[key]) for record in present]
    return np.array([int(record["step"]) for record in present]), np.array(values)


def _plot_smoothed(
    axes: Axes, records: Sequence[Mapping[str, Any]], key: str, label: str, color: str
) -> None:
    """Draws a metric faintly as logged, and strongly as its mean over a centered window."""
    steps, values = _series(records, key)
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if not steps.size:
        return
    half = len(values) // 40
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])  # each mean is then one subtraction
    smooth = (total[last] - total[first]) / (last - first)
    axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smooth, color=color, linewidth=1.8, marker=_marker(steps), label=label)


def _marker(steps: np.ndarray) -> str:
    """Returns a marker for a single point, since a line through it has no length."""
    return "o" if len(steps) == 1 else ""


def _finish_curves(axes: Axes, last_step: int) -> None:
    axes.set_xlabel("training step")
    axes.set_xlim(0, max(1.02 * last_step, 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    tidy(axes)
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GRAY)
    elif len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=9)
