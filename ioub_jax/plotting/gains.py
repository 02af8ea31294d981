"""Comparison of several arms."""

import math
import os
from collections.abc import Container, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ioub_jax.plotting.drawing import BLUE, DPI, GRAY, GREEN, ORANGE, printable, tidy

_METRICS = ("AP", "AP50", "AP75", "AP90", "Spearman")
_COLORS = "blue: mean over the seeds; green: higher, orange: lower, gray: no difference is shown"
_ROW_COLORS = "interval over the seeds; green: higher, orange: lower, gray: no difference is shown"
#: With more arms, each is a row, since names below the panels would cover each other.
_MOST_COLUMNS = 8
_ROW_INCHES = 0.2


def comparison(
    path: str | os.PathLike[str],
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    intervals: Mapping[str, Mapping[str, tuple[float, float, float] | None]],
    *,
    metrics: Sequence[str] = _METRICS,
    hundredths: Container[str] = _METRICS,
    title: str | None = None,
) -> None:
    """Draws the results of every run, and the paired differences with their intervals.

    In the upper row, a point is a run, and the runs with the same seed are joined: lines that rise
    together show a gain that does not depend on the seed. In the lower row, an interval that
    excludes 0 shows a difference.

    More than eight arms are rows, sorted by their difference in the first metric: each has the
    difference of every seed and the interval.

    Args:
      path: the PNG to write.
      values: arm -> metric -> seed -> value, the reference first.
      intervals: arm -> metric -> mean, lower and upper bound of the difference from the
        reference; None if there is no interval. If all arms are named `KEY=VALUE` with the same
        key, only the values are written below the panels.
      metrics: the metrics, each in a column.
      hundredths: the metrics whose differences are drawn in hundredths.
      title: a line above the panels and the meaning of the colors.
    """
    shown = [metric for metric in metrics if any(metric in of_arm for of_arm in values.values())]
    if len(values) > _MOST_COLUMNS:
        figure = _rows(values, intervals, shown, hundredths)
        colors = _ROW_COLORS
    else:
        figure = _columns(values, intervals, shown, hundredths)
        colors = _COLORS
    lines = [colors] if title is None else [printable(title), colors]
    figure.suptitle("\n".join(lines), fontsize=11)
    figure.savefig(path, format="png")


def _columns(
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    intervals: Mapping[str, Mapping[str, tuple[float, float, float] | None]],
    shown: Sequence[str],
    hundredths: Container[str],
) -> Figure:
    """Returns a picture in which the arms stand side by side: results above, differences below."""
    width = max(7.0, 0.9 * len(values) + 1.0) * max(1, len(shown)) / 2
    key, names = _short_names(list(values))
    height = 6 + 0.08 * max(map(len, names))
    figure = Figure(figsize=(min(width, 16.0), height), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, len(shown), squeeze=False, sharex=True)
    _name_arms(panels[0, 0], names)
    for column, metric in enumerate(shown):
        _plot_runs(panels[0, column], values, metric)
        factor = 100.0 if metric in hundredths else 1.0
        _plot_differences(panels[1, column], list(values), intervals, metric, factor)
    panels[0, 0].set_ylabel("each run, joined by seed")
    _name_units(panels[1], [metric in hundredths for metric in shown])
    if key:
        figure.supxlabel(printable(key))
    return figure


def _rows(
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    intervals: Mapping[str, Mapping[str, tuple[float, float, float] | None]],
    shown: Sequence[str],
    hundredths: Container[str],
) -> Figure:
    """Returns a picture in which each arm but the first is a row, the largest difference on top."""
    reference, *arms = values
    arms.sort(
        key=lambda arm: np.mean(_differences_of(values, arm, reference, shown[0]) or [-np.inf]),
        reverse=True,
    )
    key, names = _short_names([reference, *arms])
    width = min(2.6 * len(shown) + 0.08 * max(map(len, names)), 16.0)
    figure = Figure((width, 1.6 + _ROW_INCHES * len(arms)), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, shown, strict=True):
        factor = 100.0 if metric in hundredths else 1.0
        points = [
            [factor * value for value in _differences_of(values, arm, reference, metric)]
            for arm in arms
        ]
        of_arms = [intervals.get(arm, {}).get(metric) for arm in arms]
        _plot_rows(
            axes, points, [None if one is None else _interval(one, factor) for one in of_arms]
        )
        unit = " (hundredths)" if metric in hundredths else ""
        axes.set_title(f"{printable(metric)}{unit}", fontsize=10)
    panels[0].set_yticks(range(len(arms)), [printable(name) for name in names[1:]], fontsize=8)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    of_key = f"; {printable(key)}" if key else ""
    figure.supxlabel(f"difference from {printable(names[0])}{of_key}", fontsize=10)
    return figure


def _plot_rows(
    axes: Axes,
    points: Sequence[Sequence[float]],
    intervals: Sequence[tuple[float, float, float, str] | None],
) -> None:
    """Draws the differences of the seeds and their interval, a row for each arm.

    A few arms far from the others would leave them no room, so the panel ends where most of them
    do; the mean of an arm beyond is written at the edge.
    """
    means = [float(np.mean(of_arm)) if of_arm else math.nan for of_arm in points]
    reaches = [
        max(abs(one[1]), abs(one[2])) if one else abs(mean)
        for one, mean in zip(intervals, means, strict=True)
    ]
    known = [reach for reach in reaches if math.isfinite(reach)]
    edge = min(max(known), 2 * float(np.percentile(known, 90))) if known else 0.0
    edge = 1.05 * edge or 1.0
    axes.axvline(0.0, color=GRAY, lw=1)
    for place, (of_arm, interval) in enumerate(zip(points, intervals, strict=True)):
        axes.plot(of_arm, [place] * len(of_arm), ".", color=GRAY, alpha=0.5, ms=3)
        color = GRAY
        if interval is not None:
            mean, low, high, color = interval
            axes.plot([low, high], [place, place], color=color, lw=2)
            axes.plot(mean, place, marker="o", ms=4, color=color)
        if abs(means[place]) > edge:
            side = math.copysign(1.0, means[place])
            axes.annotate(
                f"{means[place]:+.3g}",
                (side * edge, place),
                (-side * 3, 0),
                textcoords="offset points",
                ha="right" if side > 0 else "left",
                va="center",
                fontsize=7,
                color=color,
            )
    axes.set_xlim(-edge, edge)
    tidy(axes, grid="x")


def _differences_of(
    values: Mapping[str, Mapping[str, Mapping[int, float]]], arm: str, reference: str, metric: str
) -> list[float]:
    """Returns an arm's differences from the reference in one metric, of the seeds of both."""
    of_arm, of_reference = values[arm].get(metric, {}), values[reference].get(metric, {})
    return [of_arm[seed] - of_reference[seed] for seed in of_arm if seed in of_reference]


def _interval(
    interval: tuple[float, float, float], factor: float
) -> tuple[float, float, float, str]:
    """Returns mean, bounds and color of a difference."""
    mean, low, high = (factor * bound for bound in interval)
    # A difference that a table would round to 0 is not shown as one.
    least = 0.0005 * factor
    return mean, low, high, GREEN if low > least else ORANGE if high < -least else GRAY


def _plot_runs(
    axes: Axes, values: Mapping[str, Mapping[str, Mapping[int, float]]], metric: str
) -> None:
    arms = list(values)
    seeds = sorted({seed for of_arm in values.values() for seed in of_arm.get(metric, {})})
    for seed in seeds:
        heights = [values[arm].get(metric, {}).get(seed, np.nan) for arm in arms]
        axes.plot(range(len(arms)), heights, color=GRAY, alpha=0.35, lw=0.8, marker="o", ms=3)
    for place, arm in enumerate(arms):
        of_seeds = list(values[arm].get(metric, {}).values())
        if of_seeds:
            axes.plot(place, np.mean(of_seeds), marker="_", ms=16, mew=2.5, color=BLUE)
    axes.set_title(printable(metric))
    tidy(axes, grid="y")


def _plot_differences(
    axes: Axes,
    arms: Sequence[str],
    intervals: Mapping[str, Mapping[str, tuple[float, float, float] | None]],
    metric: str,
    factor: float,
) -> None:
    axes.axhline(0.0, color=GRAY, lw=1)
    for place, arm in enumerate(arms):
        interval = intervals.get(arm, {}).get(metric)
        if interval is None:
            continue
        mean, low, high, color = _interval(interval, factor)
        axes.plot([place, place], [low, high], color=color, lw=2.5, solid_capstyle="butt")
        axes.plot(place, mean, marker="o", ms=6, color=color)
    tidy(axes, grid="y")


def _name_units(panels: Sequence[Axes], in_hundredths: Sequence[bool]) -> None:
    """Writes the unit of the differences at the first panel, and at each panel where it changes."""
    for column, (axes, hundredths) in enumerate(zip(panels, in_hundredths, strict=True)):
        if column == 0:
            unit = " (hundredths)" if hundredths else ""
            axes.set_ylabel(f"difference from the first,\n95% interval{unit}")
        elif hundredths != in_hundredths[column - 1]:
            axes.set_ylabel("hundredths" if hundredths else "not in hundredths")


def _short_names(arms: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the key that all arms share and their values, or else an empty key and the arms."""
    pairs = [arm.rpartition("=") for arm in arms]
    keys = {key for key, _, _ in pairs}
    if len(keys) == 1:
        return keys.pop(), [value for _, _, value in pairs]
    return "", list(arms)


def _name_arms(axes: Axes, names: Sequence[str]) -> None:
    """Writes the arms below the panels, which share this axis; long names are rotated."""
    longest = max(map(len, names))
    turn = 0 if longest <= 4 else 35 if longest <= 16 else 90
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), [printable(name) for name in names])
    for panel in axes.figure.axes:
        panel.tick_params("x", labelrotation=turn)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right" if turn == 35 else "center")
