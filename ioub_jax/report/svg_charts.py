"""Charts as SVG within the page, in the colors of its light or dark theme."""

import dataclasses
import math
from collections.abc import Sequence

from ioub_jax.report.html_elements import Html, decimals, element
from ioub_jax.report.svg_axes import WIDTH, Axis, Frame, drawing, scores_axis, shares_axis

_ROW, _LABELS, _LETTER = 30, 150, 6.4


@dataclasses.dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
      name: the name of the line.
      points: x and y, from left to right. The line is interrupted where y is None.
    """

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A row of bars.

    Attributes:
      name: the name of the row.
      values: the value of each series; None if it does not exist.
      shown: the text behind each bar.
      interval: the interval around the first value, or None.
    """

    name: str
    values: Sequence[float | None]
    shown: Sequence[str]
    interval: tuple[float, float] | None = None


def legend(names: Sequence[str], *, as_lines: bool, kinds: Sequence[str] | None = None) -> Html:
    """The names of the lines or bars of several series; `kinds` are their CSS classes."""
    kinds = [f"s{number}" for number in range(len(names))] if kinds is None else kinds
    samples = (
        element("path", d="M0 6H24", class_=f"line {kind}")
        if as_lines
        else element("rect", width=24, height=12, class_=f"bar {kind}")
        for kind in kinds
    )
    entries = (
        element("li", element("svg", sample, viewBox="0 0 24 12", aria_hidden="true"), name)
        for sample, name in zip(samples, names, strict=True)
    )
    return element("ul", *entries, class_="legend")


def line_chart(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    description: str,
    *,
    marked: tuple[float, float] | None = None,
    upright: float | None = None,
) -> Html:
    """A chart of lines.

    Args:
      lines: the lines, at most four.
      x: the axis at the bottom.
      y: the axis at the left.
      description: a description for screen readers.
      marked: a point to mark, or None.
      upright: the x of a vertical line, or None.
    """
    frame = Frame(x, y)
    drawn = [
        element("path", d=_path(frame, line.points), class_=f"line s{number}")
        for number, line in enumerate(lines)
    ]
    if upright is not None:
        at = frame.across(upright)
        ends = f"V{frame.down(y.high)}"
        drawn.append(element("path", d=f"M{at} {frame.down(y.low)}{ends}", class_="mark"))
    if marked is not None:
        place = {"cx": frame.across(marked[0]), "cy": frame.down(marked[1])}
        drawn.append(element("circle", **place, r=4.5, class_="point"))
    return drawing(description, frame.axes(), *drawn)


def _path(frame: Frame, points: Sequence[tuple[float, float | None]]) -> str:
    """Returns the path of a line, without points between two of the same height."""
    parts: list[str] = []
    heights = [None if y is None else frame.down(y) for _, y in points]
    for number, ((x, _), height) in enumerate(zip(points, heights, strict=True)):
        around = heights[max(number - 1, 0) : number + 2]
        if height is None or (len(around) == 3 and set(around) == {height}):
            continue
        begins = not parts or heights[number - 1] is None
        parts.append(f"{'M' if begins else 'L'}{frame.across(x)} {height}")
    return "".join(parts)


def bar_chart(bars: Sequence[Bar], high: float, description: str) -> Html:
    """A chart of horizontal bars, in rows one below another.

    Args:
      bars: the rows.
      high: the value of a bar with the whole width; above 0.
      description: a description for screen readers.
    """
    behind = max((len(shown) for bar in bars for shown in bar.shown), default=0)
    room = WIDTH - _LABELS - 8 - _LETTER * behind

    def across(value: float) -> float:
        return round(_LABELS + min(max(value / high, 0.0), 1.0) * room, 1)

    drawn = []
    for number, bar in enumerate(bars):
        top, thick = number * _ROW, (_ROW - 8) / len(bar.values)
        middle = top + _ROW / 2
        drawn.append(element("text", bar.name, x=_LABELS - 8, y=middle + 4, class_="tick end"))
        for series, (value, shown) in enumerate(zip(bar.values, bar.shown, strict=True)):
            y = top + 4 + series * thick
            end = across(value or 0.0)
            box = {"x": _LABELS, "y": y, "width": round(end - _LABELS, 1), "height": thick - 1}
            drawn.append(element("rect", **box, class_=f"bar s{series}"))
            beyond = end if bar.interval is None else max(end, across(bar.interval[1]))
            drawn.append(
                element("text", shown, x=beyond + 5, y=y + thick / 2 + 3.5, class_="value")
            )
        if bar.interval is not None:
            low, upper = map(across, bar.interval)
            ends = f"M{low} {middle - 4}v8M{upper} {middle - 4}v8"
            drawn.append(element("path", d=f"M{low} {middle}H{upper}{ends}", class_="whisker"))
    base = element("path", d=f"M{_LABELS} 0V{len(bars) * _ROW}", class_="axis")
    return drawing(description, *drawn, base, height=max(len(bars), 1) * _ROW)


def mirrored_histogram(
    above: Sequence[int],
    below: Sequence[int],
    edges: Sequence[float],
    description: str,
    *,
    upright: float | None = None,
) -> Html:
    """Two histograms back to back, on a logarithmic scale.

    Args:
      above: the counts that are drawn upwards.
      below: the counts that are drawn downwards.
      edges: the edges of the bins.
      description: a description for screen readers.
      upright: the x of a vertical line, or None.
    """
    reach = max(math.log10(1 + max([*above, *below, 9])), 1.0)
    powers = range(1, int(reach) + 1)
    shown = {1: "10", 2: "100", 3: "1k", 4: "10k", 5: "100k", 6: "1M"}
    ticks = [(0.0, "0")]
    for power in powers:
        name = shown.get(power, f"1e{power}")
        ticks += [(math.log10(1 + 10**power), name), (-math.log10(1 + 10**power), name)]
    frame = Frame(scores_axis(edges[0], edges[-1]), Axis("false | true", -reach, reach, ticks))
    drawn, base = [], frame.down(0.0)
    for counts, sign, kind in ((above, 1, "true"), (below, -1, "false")):
        for count, left, right in zip(counts, edges, edges[1:], strict=False):
            if count:
                end = frame.down(sign * math.log10(1 + count))
                x, beyond = frame.across(left), frame.across(right)
                top, tall = min(base, end), round(abs(end - base), 1)
                box = {"x": x, "y": top, "width": round(beyond - x - 0.8, 1), "height": tall}
                told = element("title", f"{count:,} {kind}, score {left:.3g} to {right:.3g}")
                drawn.append(element("rect", told, **box, class_=f"bar {kind}"))
    if upright is not None:
        at = frame.across(upright)
        drawn.append(element("path", d=f"M{at} {frame.down(-reach)}V10", class_="mark"))
    return drawing(description, frame.axes(), *drawn)


def heat_map(counts: Sequence[Sequence[int]], description: str) -> Html:
    """Heat map of detections by IoU (x) and score (y), shaded by the share within each column.

    Args:
      counts: `counts[i][j]` is the number of detections in bin i of the IoU and bin j of the score;
        both range from 0 to 1.
      description: a description for screen readers.
    """
    frame = Frame(shares_axis("IoU with the nearest object of its class"), shares_axis("score"))
    drawn, means = [], []
    step = 1 / len(counts)
    for i, column in enumerate(counts):
        total = sum(column)
        for j, count in enumerate(column):
            if count:
                x, y = frame.across(i * step), frame.down((j + 1) * step)
                far, low = frame.across((i + 1) * step), frame.down(j * step)
                box = {"x": x, "y": y, "width": round(far - x, 1), "height": round(low - y, 1)}
                shade = min(0.12 + 2.2 * count / total, 1.0)
                told = element("title", f"{count:,} of {total:,} in this column")
                drawn.append(element("rect", told, **box, class_="heat", opacity=f"{shade:.2f}"))
        middle = sum(count * (j + 0.5) for j, count in enumerate(column)) * step
        means.append(((i + 0.5) * step, middle / total if total else None))
    line = element("path", d=_path(frame, means), class_="line over")
    half = frame.across(0.5)
    mark = element("path", d=f"M{half} {frame.down(0.0)}V{frame.down(1.0)}", class_="mark")
    return drawing(description, frame.axes(), *drawn, mark, line)


def bars_of(
    names: Sequence[str],
    values: Sequence[float | None],
    behind: Sequence[str],
    intervals: Sequence[tuple[float, float] | None],
    description: str,
) -> Html:
    """A chart with one bar for each name, with its value, its interval and a further text."""
    ends = [bound for interval in intervals if interval for bound in interval]
    high = max([value for value in (*values, *ends) if value is not None], default=0.0)
    bars = [
        Bar(name, [value], [f"{decimals(value)} {more}".rstrip()], interval)
        for name, value, more, interval in zip(names, values, behind, intervals, strict=True)
    ]
    return bar_chart(bars, high or 1.0, description)
