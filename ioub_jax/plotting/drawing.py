"""Common elements of the pictures."""

import functools
import textwrap
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

DPI = 150
# The colors of Okabe and Ito, which color-blind readers can distinguish.
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#666666"
# The colors of the runs in a picture; they repeat from the seventh run on.
RUN_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")

_LETTERS_AN_INCH = 14  # in a caption

Boxes = Any  # array-like [n, 4]
Values = Any  # array-like [n]
#: Name of a run -> its part of a report of diagnostics.
Runs = Mapping[str, Mapping[str, Any]]


def as_rgb(image: np.ndarray) -> np.ndarray:
    """The visible part `[H, W, 3]` of an image: its first three channels, or one channel as gray.

    Of four channels (red, green, blue and near infrared), these are the colors.
    """
    return image[:, :, :3] if image.shape[2] >= 3 else np.repeat(image[:, :, :1], 3, axis=2)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Shows an image such that pixel i covers [i, i + 1), the convention of boxes."""
    height, width = image.shape[:2]
    axes.imshow(
        as_rgb(np.asarray(image)), extent=(0, width, height, 0), interpolation="antialiased"
    )
    axes.set_autoscale_on(False)


def draw_ground_truth(axes: Axes, boxes: Boxes, labels: Values) -> None:
    """Draws boxes as white dashes on black, except boxes with a negative label."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    for box in boxes[np.asarray(labels).reshape(-1) >= 0]:
        for color, style in (("black", "-"), ("white", (0, (3, 3)))):
            axes.add_patch(
                rectangle(box, fill=False, color=color, lw=0.8, linestyle=style, zorder=5.5)
            )


def rectangle(box: np.ndarray, **style: Any) -> Rectangle:
    """The patch of one xyxy box."""
    x0, y0, x1, y1 = box.tolist()
    return Rectangle((x0, y0), x1 - x0, y1 - y0, **style)


def ground_truth_handle() -> tuple[Line2D, Line2D]:
    """The legend's sample for a ground-truth outline: white dashes on black."""
    return (
        Line2D([], [], color="black", linewidth=2),
        Line2D([], [], color="white", linewidth=1.2, linestyle=(0, (2, 2))),
    )


def run_color(number: int) -> str:
    """The color of the run with a number."""
    return RUN_COLORS[number % len(RUN_COLORS)]


def decimals(value: float | None, digits: int = 3) -> str:
    """A number as the pictures print it; `-` if it does not exist."""
    return "-" if value is None else f"{value:.{digits}f}"


def add_caption(figure: Figure, text: str) -> None:
    """Writes a note for the reader below the panels of a figure with constrained layout."""
    lines = textwrap.fill(text, width=int(_LETTERS_AN_INCH * figure.get_figwidth()))
    figure.supxlabel(lines, fontsize=9, color=GRAY, x=0.01, ha="left", multialignment="left")


def tidy(axes: Axes, *, grid: Literal["both", "x", "y"] = "both") -> None:
    """Draws a faint grid, and no frame above and to the right."""
    axes.grid(axis=grid, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def printable(name: str) -> str:
    """A name that matplotlib draws literally and without warnings.

    Characters that the font lacks become an empty box, a dollar sign does not start a formula, and
    a leading underscore does not hide the name from a legend.
    """
    glyphs = _glyphs()
    text = "".join(letter if ord(letter) in glyphs else "\u25a1" for letter in name)
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@functools.cache
def _glyphs() -> frozenset[int]:
    """Returns the code points that the default font can draw."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())
