"""Images with boxes, in a grid."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

from ioub_jax.plotting.class_colors import RIM, Color, class_colors, ink_on
from ioub_jax.plotting.drawing import (
    DPI,
    GRAY,
    Boxes,
    Values,
    draw_ground_truth,
    ground_truth_handle,
    printable,
    rectangle,
    show_image,
)
from ioub_jax.plotting.name_places import free_place

_NAME_POINTS = 6.0
_LEGEND_POINTS = 8.0
_LEGEND_COLUMNS = 6
_CELL = 2.75  # the side of an image, in inches
_GAP = 0.08  # inches
# A dark rim separates every color from any background.
_RIM = patheffects.withStroke(linewidth=2.6, foreground=RIM)
_DIFFICULT = {"linestyle": (0, (2, 1.2))}
_CROWD = {"linestyle": (0, (2, 1.2)), "hatch": "//"}
_IGNORED = {"linestyle": (0, (2, 1.2)), "hatch": "xx"}

_GRAY: Color = to_rgba(GRAY)
Legend = list[tuple[str, Any]]  # names and their samples of matplotlib


class Labeled(Protocol):
    """The objects of one image."""

    @property
    def boxes(self) -> Any:
        """`[n, 4]` xyxy in pixels of the image."""

    @property
    def labels(self) -> Any:
        """`[n]`, positions in the class names; -1 for an ignored region without a known class."""

    @property
    def crowd(self) -> Any:
        """Bool `[n]`."""

    @property
    def difficult(self) -> Any:
        """Bool `[n]`."""

    @property
    def ignored(self) -> Any:
        """Bool `[n]`."""


def contact_sheet(
    path: str | os.PathLike[str] | BinaryIO,
    images: Sequence[np.ndarray],
    ground_truth: Sequence[tuple[Boxes, Values]],
    detections: Sequence[tuple[Boxes, Values, Values]],
    classes: Sequence[str],
    *,
    columns: int = 4,
    score_threshold: float = 0.3,
    title: str | None = None,
) -> None:
    """Draws images in a grid, with their ground truth and detections.

    The ground truth has thin dashed outlines in black and white. Detections have solid outlines in
    the color of their class, with name and score. A name that would cover another is left out; the
    color and the legend then identify the class. A class has the same color on every sheet,
    unless there are more than 20 classes: then the colors are distributed among the classes on
    this sheet.

    Args:
      path: the PNG to write, or an open file.
      images: the images, each uint8 [H, W, 3] of any size; small ones are enlarged.
      ground_truth: for each image, boxes [n, 4] and labels [n]; a negative label is not drawn.
      detections: for each image, boxes [k, 4], labels [k] and scores [k].
      classes: the name of each label. Characters that the font lacks appear as an empty box.
      columns: the number of images in a row.
      score_threshold: detections with a lower score are not drawn.
      title: a line above the sheet.

    Raises:
      ValueError: `images`, `ground_truth` and `detections` differ in length.
    """
    if not len(images) == len(ground_truth) == len(detections):
        raise ValueError(
            f"{len(images)} images, {len(ground_truth)} ground truths and {len(detections)}"
            " detections: a contact sheet needs one of each for every image"
        )
    kept = [_kept(labels, scores, score_threshold) for _, labels, scores in detections]
    colors = class_colors(kept, classes)
    legend = [("ground truth", ground_truth_handle()), *_samples(colors, classes)]
    figure, grid = _sheet(images, columns, _CELL, legend, title)
    for axes, image, truth, found in zip(grid, images, ground_truth, detections, strict=True):
        show_image(axes, image)
        draw_ground_truth(axes, *truth)
        _draw_detections(axes, found, classes, colors, score_threshold)
    figure.savefig(path, format="png")


def labeled_sheet(
    path: str | os.PathLike[str],
    images: Sequence[np.ndarray],
    examples: Sequence[Labeled],
    classes: Sequence[str],
    *,
    columns: int = 4,
    title: str | None = None,
) -> None:
    """Draws images in a grid, with their labeled boxes.

    Boxes have the color and name of their class, with small ones on top; colors and names are as
    in a `contact_sheet`. A difficult object is dashed, a crowd is dashed and hatched, and an
    ignored region is gray, dashed and cross-hatched.

    Args:
      path: the PNG to write.
      images: the images, each uint8 [H, W, 3] of any size; small ones are enlarged.
      examples: the objects of each image.
      classes: the name of each label.
      columns: the number of images in a row; fewer than four make the images larger instead of the
        sheet smaller.
      title: a line above the sheet.

    Raises:
      ValueError: `images` and `examples` differ in length.
    """
    if len(images) != len(examples):
        raise ValueError(
            f"{len(images)} images and {len(examples)} examples: a labeled sheet needs one of "
            "each for every image"
        )
    objects = [np.asarray(example.labels)[~np.asarray(example.ignored)] for example in examples]
    colors = class_colors(objects, classes)
    legend = _samples(colors, classes)
    for name, style in (
        ("difficult", _DIFFICULT),
        ("crowd", _CROWD),
        ("ignored", _IGNORED),
    ):
        if any(np.any(getattr(example, name)) for example in examples):
            sample = Patch(facecolor="none", edgecolor=GRAY, linewidth=1.2, **style)
            legend.append((name, sample))
    cell = max(_CELL, 4 * _CELL / max(columns, 1))
    figure, grid = _sheet(images, columns, cell, legend, title)
    for axes, image, example in zip(grid, images, examples, strict=True):
        show_image(axes, image)
        _draw_labeled(axes, example, classes, colors)
    figure.savefig(path, format="png")


def _kept(labels: Values, scores: Values, score_threshold: float) -> np.ndarray:
    """Returns the labels of the detections that are drawn."""
    return np.asarray(labels).reshape(-1)[np.asarray(scores).reshape(-1) >= score_threshold]


def _samples(colors: Mapping[int, Color], classes: Sequence[str]) -> Legend:
    """Returns the legend's name and sample for each class."""
    return [(printable(classes[label]), Patch(color=color)) for label, color in colors.items()]


def _sheet(
    images: Sequence[np.ndarray],
    columns: int,
    cell: float,
    legend: Legend,
    title: str | None,
) -> tuple[Figure, list[Axes]]:
    """Returns a sheet with title and legend, and a grid of axes with exactly the images' shapes."""
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    aspects = [image.shape[0] / image.shape[1] for image in images]
    heights = [
        cell * min(max(aspects[row * columns : (row + 1) * columns], default=0.5), 1.2)
        for row in range(rows)
    ]
    width = max(columns * (cell + _GAP) + _GAP, 6.0)
    legend_columns = _legend_columns([name for name, _ in legend], width)
    below = 0.2 + 0.2 * math.ceil(len(legend) / legend_columns)
    above = _GAP if title is None else 0.35
    height = above + sum(heights) + rows * _GAP + below
    left = (width - columns * (cell + _GAP) + _GAP) / 2
    figure = Figure(figsize=(width, height), dpi=DPI)
    grid = []
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        scale = min(cell / image.shape[1], heights[row] / image.shape[0])
        size = (image.shape[1] * scale, image.shape[0] * scale)
        x = left + column * (cell + _GAP) + (cell - size[0]) / 2
        bottom = below + sum(heights[row + 1 :]) + (rows - 1 - row) * _GAP
        y = bottom + (heights[row] - size[1]) / 2
        axes = figure.add_axes((x / width, y / height, size[0] / width, size[1] / height))
        axes.set_axis_off()
        grid.append(axes)
    _annotate(figure, legend, legend_columns, title, empty=not images)
    return figure, grid


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Returns how many names fit side by side below a sheet of `width` inches."""
    widest = max((_ink_width(name, _LEGEND_POINTS) for name in names), default=0.0)
    # The sample, its distance and the distance between columns are about 5 letters wide.
    column = (widest + 5 * _LEGEND_POINTS) / 72
    return min(max(int(width / column), 1), _LEGEND_COLUMNS)


@functools.cache
def _ink_width(text: str, points: float) -> float:
    # The control points of the curves enclose the ink closely; exact extents take ten times longer.
    outline = TextPath((0, 0), text, size=points).vertices
    return float(np.ptp(outline[:, 0])) if len(outline) else 0.0


def _annotate(figure: Figure, legend: Legend, columns: int, title: str | None, empty: bool) -> None:
    if empty:
        figure.text(0.5, 0.6, "no images", ha="center", color=GRAY)
    if title is not None:
        figure.suptitle(
            printable(title), fontsize=11, y=1 - 0.08 / figure.get_figheight(), va="top"
        )
    if legend:
        figure.legend(
            [sample for _, sample in legend],
            [name for name, _ in legend],
            loc="lower center",
            ncols=columns,
            fontsize=_LEGEND_POINTS,
            frameon=False,
        )


def _draw_detections(
    axes: Axes,
    detections: tuple[Boxes, Values, Values],
    classes: Sequence[str],
    colors: Mapping[int, Color],
    score_threshold: float,
) -> None:
    """Draws one image's detections; the best are on top and get places for their names first."""
    boxes = np.asarray(detections[0], np.float64).reshape(-1, 4)
    labels = np.asarray(detections[1], np.int64).reshape(-1)
    scores = np.asarray(detections[2], np.float64).reshape(-1)
    taken: list[np.ndarray] = []
    best_first = np.argsort(-scores, kind="stable")
    for depth, index in enumerate(best_first[scores[best_first] >= score_threshold]):
        color = colors[int(labels[index])]
        axes.add_patch(_outline(boxes[index], color, depth))
        name = f"{printable(classes[labels[index]])} {scores[index]:.2f}"
        _draw_name(axes, boxes[index], name, color, taken)


def _draw_labeled(
    axes: Axes, example: Labeled, classes: Sequence[str], colors: Mapping[int, Color]
) -> None:
    """Draws one image's objects; the smallest are on top and get places for their names first."""
    boxes = np.asarray(example.boxes, np.float64).reshape(-1, 4)
    taken: list[np.ndarray] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    for depth, index in enumerate(np.argsort(areas, kind="stable")):
        if example.ignored[index]:
            axes.add_patch(_outline(boxes[index], _GRAY, depth, **_IGNORED))
            continue
        label = int(example.labels[index])
        style = _CROWD if example.crowd[index] else _DIFFICULT if example.difficult[index] else {}
        axes.add_patch(_outline(boxes[index], colors[label], depth, **style))
        _draw_name(axes, boxes[index], printable(classes[label]), colors[label], taken)


def _outline(box: np.ndarray, color: Color, depth: int, **style: Any) -> Rectangle:
    """Returns the outline of a box; a lower depth is drawn further on top."""
    outline = rectangle(
        box, facecolor="none", edgecolor=color, lw=1.8, zorder=5 - depth / 1000, **style
    )
    outline.set_path_effects([_RIM])
    return outline


def _draw_name(
    axes: Axes, box: np.ndarray, name: str, color: Color, taken: list[np.ndarray]
) -> None:
    """Writes a name at its box unless it would cover another, and adds its place to `taken`."""
    place = _free_place(axes, box, name, taken)
    if place is None:
        return
    taken.append(place)
    axes.add_patch(rectangle(place, facecolor=color, edgecolor="none", zorder=6))
    axes.text(
        (place[0] + place[2]) / 2,
        (place[1] + place[3]) / 2,
        name,
        fontsize=_NAME_POINTS,
        ha="center",
        va="center_baseline",
        color=ink_on(color),
        zorder=7,
    )


def _free_place(
    axes: Axes, box: np.ndarray, text: str, taken: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Returns a place for a name, xyxy in image pixels, that covers no other name, or None."""
    image_width, image_height = axes.get_xlim()[1], axes.get_ylim()[0]
    pixels_a_point = image_width / axes.bbox.width * DPI / 72
    width = (_ink_width(text, _NAME_POINTS) + 2.5) * pixels_a_point
    height = (_NAME_POINTS + 2) * pixels_a_point
    return free_place(box, (width, height), (image_width, image_height), taken)
