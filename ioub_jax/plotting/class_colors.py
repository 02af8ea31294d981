"""The color of a class, the same in every picture, and of the text on it."""

from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np

from ioub_jax.plotting.drawing import Values

Color = tuple[float, float, float, float]

# tab20 with its strong colors first, then their pale counterparts, and gray last.
CLASS_COLORS = [
    matplotlib.colormaps["tab20"](index)
    for index in (*range(0, 14, 2), 16, 18, *range(1, 14, 2), 17, 19, 14, 15)
]
# A dark rim around every outline separates its color from any background.
RIM = "#000000a0"
_LIGHT = 0.55  # the luminance above which black text is easier to read than white


def class_color(label: int) -> Color:
    """The color of a class; colors repeat after 20 classes."""
    return CLASS_COLORS[label % 20]


def class_colors(labels: Iterable[Values], classes: Sequence[str]) -> dict[int, Color]:
    """A color for each label that is drawn, in the order of the labels.

    Args:
      labels: the labels of each image.
      classes: the name of each label. If there are more than 20 classes, the colors are
        distributed among those that are drawn.
    """
    seen = sorted({int(label) for array in labels for label in np.asarray(array).reshape(-1)})
    return {
        label: class_color(label if len(classes) <= 20 else rank) for rank, label in enumerate(seen)
    }


def ink_on(color: Color) -> str:
    """The color of text on a background color, 'white' or 'black'."""
    return "white" if np.dot(color[:3], (0.299, 0.587, 0.114)) < _LIGHT else "black"
