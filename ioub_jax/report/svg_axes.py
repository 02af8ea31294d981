"""Frame of a chart: its axes, and the positions of values between them."""

import dataclasses
from collections.abc import Sequence

from ioub_jax.report.html_elements import Html, element, joined

WIDTH, HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 10, 42


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
      label: the quantity on the axis.
      low: its value at the left, or at the bottom.
      high: its value at the right, or at the top.
      ticks: the labeled values and their labels.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Position of a value on the axis, from 0 to 1."""
        inside = min(max(value, self.low), self.high)
        return (inside - self.low) / (self.high - self.low)


def shares_axis(label: str) -> Axis:
    """An axis from 0 to 1."""
    return Axis(label, 0.0, 1.0, [(k / 5, f"{k / 5:.1f}") for k in range(6)])


def scores_axis(low: float, high: float) -> Axis:
    """An axis of scores."""
    if (low, high) == (0.0, 1.0):
        return shares_axis("score")
    steps = [low + k / 4 * (high - low) for k in range(5)]
    return Axis("score", low, high, [(step, f"{step:.3g}") for step in steps])


@dataclasses.dataclass(frozen=True)
class Frame:
    """Positions of a chart's values.

    Attributes:
      x: the axis at the bottom.
      y: the axis at the left.
    """

    x: Axis
    y: Axis

    def across(self, value: float) -> float:
        """The x coordinate of a value in the drawing."""
        return round(_LEFT + self.x.share(value) * (WIDTH - _LEFT - _RIGHT), 1)

    def down(self, value: float) -> float:
        """The y coordinate of a value in the drawing."""
        return round(_TOP + (1 - self.y.share(value)) * (HEIGHT - _TOP - _BOTTOM), 1)

    def axes(self) -> Html:
        """Ticks, their lines and the labels."""
        left, right = self.across(self.x.low), self.across(self.x.high)
        bottom, top = self.down(self.y.low), self.down(self.y.high)
        parts = []
        for value, shown in self.x.ticks:
            at = self.across(value)
            parts.append(element("path", d=f"M{at} {bottom}V{top}", class_="grid"))
            parts.append(element("text", shown, x=at, y=bottom + 15, class_="tick mid"))
        for value, shown in self.y.ticks:
            at = self.down(value)
            parts.append(element("path", d=f"M{left} {at}H{right}", class_="grid"))
            parts.append(element("text", shown, x=left - 6, y=at + 4, class_="tick end"))
        middle = (left + right) / 2
        parts.append(element("text", self.x.label, x=middle, y=HEIGHT - 6, class_="label mid"))
        turned = f"translate(13 {(top + bottom) / 2}) rotate(-90)"
        parts.append(element("text", self.y.label, transform=turned, class_="label mid"))
        return joined(*parts)


def drawing(description: str, *content: object, height: float = HEIGHT) -> Html:
    """A chart; the description is for screen readers."""
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {WIDTH} {height:g}",
        class_="chart",
        role="img",
        aria_label=description,
    )
