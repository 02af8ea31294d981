"""Pictures of a training run: what is detected, which anchors learn, how the run went.

Each function writes one PNG from plain arrays, with matplotlib's Figure objects and never pyplot's
global state, so that it can run in a loop, in a thread and without a display. Boxes are
`[..., 4]` xyxy in pixels of the image they are drawn on.
"""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager, patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

_DPI = 150
_NAME_POINTS = 6.0
_LEGEND_COLUMNS = 6
# tab20: its strong colours first, their pale partners after, and grey last.
_CLASS_COLORS = [
    matplotlib.colormaps["tab20"](index)
    for index in (*range(0, 14, 2), 16, 18, *range(1, 14, 2), 17, 19, 14, 15)
]
# Okabe and Ito's, told apart by colour-blind readers too.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"

Boxes = Any  # array-like [n, 4]
Values = Any  # array-like [n]
Color = tuple[float, float, float, float]


def contact_sheet(
    path: str | os.PathLike[str],
    images: Sequence[np.ndarray],
    ground_truth: Sequence[tuple[Boxes, Values]],
    detections: Sequence[tuple[Boxes, Values, Values]],
    classes: Sequence[str],
    *,
    columns: int = 4,
    score_threshold: float = 0.3,
    title: str | None = None,
) -> None:
    """Draws images in a grid, with their ground truth and what a detector found.

    Ground truth is a thin dashed outline in black and white. Detections are solid outlines in their
    class's colour, with name and score. Where many detections crowd, a name that would cover
    another is left out: colour and legend tell the class. A class has the same colour on every
    sheet, unless there are more than 20: then the classes on this sheet share the colours out.

    Args:
        path: The PNG to write.
        images: uint8 [H, W, 3] each, of any sizes; small ones are enlarged.
        ground_truth: For each image, boxes [n, 4] and labels [n]; a negative label is not drawn.
        detections: For each image, boxes [k, 4], labels [k] and scores [k].
        classes: The name of each label. Characters that the font lacks appear as an empty box.
        columns: Images in a row.
        score_threshold: Detections with a lower score are not drawn.
        title: A line above the sheet.

    Raises:
        ValueError: `images`, `ground_truth` and `detections` differ in length.
    """
    if not len(images) == len(ground_truth) == len(detections):
        raise ValueError(
            f"{len(images)} images, {len(ground_truth)} ground truths and {len(detections)}"
            " detections: a contact sheet needs one of each for every image"
        )
    kept = [_kept(labels, scores, score_threshold) for _, labels, scores in detections]
    seen = sorted({int(label) for labels in kept for label in labels})
    colors = {
        label: _CLASS_COLORS[(label if len(classes) <= 20 else rank) % 20]
        for rank, label in enumerate(seen)
    }
    figure, grid = _sheet(images, columns, legend_entries=1 + len(seen), titled=title is not None)
    for axes, image, truth, found in zip(grid, images, ground_truth, detections, strict=True):
        _show_image(axes, image)
        _draw_ground_truth(axes, *truth)
        _draw_detections(axes, found, classes, colors, score_threshold)
    if not images:
        figure.text(0.5, 0.6, "no images", ha="center", color=_GREY)
    if title is not None:
        figure.suptitle(
            _printable(title), fontsize=11, y=1 - 0.08 / figure.get_figheight(), va="top"
        )
    handles: list[Any] = [_ground_truth_handle()]
    handles += [Patch(color=colors[label]) for label in seen]
    figure.legend(
        handles,
        ["ground truth", *(_printable(classes[label]) for label in seen)],
        loc="lower center",
        ncols=_LEGEND_COLUMNS,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, format="png")


def positive_anchors(
    path: str | os.PathLike[str],
    image: np.ndarray,
    boxes: Boxes,
    anchors: Boxes,
    predicted_boxes: Boxes,
    ious: Values,
    weights: Values,
    *,
    title: str | None = None,
) -> None:
    """Draws an image's positive anchors: how well each is localized and how much it weighs.

    The left panel colours every positive anchor's centre and predicted box by the IoU of that box
    with its object, the middle one by its weight in the loss, the right one plots weight against
    IoU. With an IoU-balanced loss the pictures agree: what is well localized weighs more.

    Args:
        path: The PNG to write.
        image: uint8 [H, W, 3].
        boxes: Ground truth [M, 4].
        anchors: The P positive anchors [P, 4].
        predicted_boxes: The boxes decoded from them [P, 4].
        ious: IoU of each predicted box with its ground-truth box [P], in [0, 1].
        weights: The loss's weight of each [P]; 1 is the plain loss.
        title: A line above the panels.
    """
    anchors, predicted_boxes = (
        np.asarray(array, np.float64).reshape(-1, 4) for array in (anchors, predicted_boxes)
    )
    ious, weights = (np.asarray(array, np.float64).reshape(-1) for array in (ious, weights))
    aspect = image.shape[0] / image.shape[1]
    figure = Figure(
        figsize=(13, 1.3 + 3.7 * min(aspect, 1.5)),
        dpi=_DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.1),
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    most = float(max(weights.max(initial=0), 1))
    for axes, values, limit, label in (
        (left, ious, 1.0, "IoU of the predicted box"),
        (middle, weights, most, "weight in the loss"),
    ):
        # A dim grey image leaves the colours to the anchors.
        grey = np.asarray(image, np.float64).mean(-1, keepdims=True)
        _show_image(axes, np.repeat(50 + 0.5 * grey, 3, axis=-1).astype(np.uint8))
        axes.set_axis_off()
        axes.set_title(f"{len(ious)} positive anchors by {label}", fontsize=10)
        _draw_ground_truth(axes, boxes, np.zeros(len(boxes)))
        mapped = _draw_anchors(axes, anchors, predicted_boxes, values, limit)
        figure.colorbar(mapped, cax=axes.inset_axes((1.02, 0, 0.05, 1)))
    _plot_weight_against_iou(right, ious, weights, most)
    handles: list[Any] = [
        _ground_truth_handle(),
        Line2D([], [], color=_GREEN, marker="o", markeredgecolor="black", linestyle="none"),
        Line2D([], [], color=_GREEN, linewidth=1.2),
    ]
    figure.legend(
        handles,
        ["ground truth", "centre of a positive anchor", "box predicted from it"],
        loc="outside lower center",
        ncols=3,
        fontsize=9,
    )
    if title is not None:
        figure.suptitle(_printable(title), fontsize=12)
    figure.savefig(path, format="png")


def learning_curves(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]] = (),
    *,
    title: str | None = None,
) -> None:
    """Draws how a run went: losses, IoU of its positives, average precision, learning rate.

    Losses and IoU are drawn twice, faint as they were logged and strong as a running mean over 5 %
    of the records. A key that no record has leaves its curve away.

    Args:
        path: The PNG to write.
        records: Training records in order of `step`, with any of `loss`, `loss_classification`,
            `loss_localization`, `mean_positive_iou`, `learning_rate`.
        evaluations: Evaluations in order of `step`, with any of `AP`, `AP50`, `AP75`; None is a
            gap.
        title: A line above the panels.
    """
    figure = Figure(figsize=(11, 7), dpi=_DPI, layout="constrained")
    losses, iou, precision, rate = figure.subplots(2, 2).flat

    _plot_smoothed(losses, records, "loss", "total", _GREY)
    _plot_smoothed(losses, records, "loss_classification", "classification", _BLUE)
    _plot_smoothed(losses, records, "loss_localization", "localization", _ORANGE)
    losses.set_title("Training loss")
    losses.set_ylim(bottom=0)

    _plot_smoothed(iou, records, "mean_positive_iou", "mean IoU", _GREEN)
    iou.set_title("Mean IoU of the positive anchors' predicted boxes")
    iou.set_ylim(0, 1)

    for key, color, marker in (("AP50", _BLUE, "s"), ("AP", _GREY, "o"), ("AP75", _ORANGE, "^")):
        steps, values = _series(evaluations, key)
        if steps.size:
            precision.plot(steps, values, color=color, marker=marker, markersize=4, label=key)
    precision.set_title("Average precision on the validation images")
    precision.set_ylim(0, 1)

    steps, values = _series(records, "learning_rate")
    if steps.size:
        rate.plot(steps, values, color=_GREY)
    rate.set_title("Learning rate")
    rate.set_ylim(bottom=0)

    last_step = max((int(row["step"]) for row in (*records, *evaluations)), default=0)
    for axes in (losses, iou, precision, rate):
        _finish_curves(axes, last_step)
    if title is not None:
        figure.suptitle(_printable(title), fontsize=13)
    figure.savefig(path, format="png")


def _show_image(axes: Axes, image: np.ndarray) -> None:
    """Shows an image so that pixel i covers [i, i + 1), as boxes count."""
    height, width = image.shape[:2]
    axes.imshow(np.asarray(image), extent=(0, width, height, 0), interpolation="antialiased")
    axes.set_autoscale_on(False)


def _draw_ground_truth(axes: Axes, boxes: Boxes, labels: Values) -> None:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    for box in boxes[np.asarray(labels).reshape(-1) >= 0]:
        for color, style in (("black", "-"), ("white", (0, (3, 3)))):
            axes.add_patch(
                _rectangle(box, fill=False, color=color, lw=0.8, linestyle=style, zorder=5.5)
            )


def _kept(labels: Values, scores: Values, score_threshold: float) -> np.ndarray:
    """The labels of the detections that are drawn."""
    return np.asarray(labels).reshape(-1)[np.asarray(scores).reshape(-1) >= score_threshold]


def _sheet(
    images: Sequence[np.ndarray], columns: int, legend_entries: int, titled: bool
) -> tuple[Figure, list[Axes]]:
    """An empty sheet with axes of exactly each image's shape, in a grid."""
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    gap, cell = 0.08, 2.75  # inches
    aspects = [image.shape[0] / image.shape[1] for image in images]
    heights = [
        cell * min(max(aspects[row * columns : (row + 1) * columns], default=0.5), 1.2)
        for row in range(rows)
    ]
    legend = 0.2 + 0.2 * math.ceil(legend_entries / _LEGEND_COLUMNS)
    width = max(columns * (cell + gap) + gap, 6.0)
    height = (0.35 if titled else gap) + sum(heights) + rows * gap + legend
    left = (width - columns * (cell + gap) + gap) / 2
    figure = Figure(figsize=(width, height), dpi=_DPI)
    grid = []
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        scale = min(cell / image.shape[1], heights[row] / image.shape[0])
        size = (image.shape[1] * scale, image.shape[0] * scale)
        x = left + column * (cell + gap) + (cell - size[0]) / 2
        y = legend + sum(heights[row + 1 :]) + (rows - 1 - row) * gap + (heights[row] - size[1]) / 2
        axes = figure.add_axes((x / width, y / height, size[0] / width, size[1] / height))
        axes.set_axis_off()
        grid.append(axes)
    return figure, grid


def _draw_detections(
    axes: Axes,
    detections: tuple[Boxes, Values, Values],
    classes: Sequence[str],
    colors: Mapping[int, Color],
    score_threshold: float,
) -> None:
    """Draws one image's detections, the best ones on top and first to choose a place for a name."""
    boxes = np.asarray(detections[0], np.float64).reshape(-1, 4)
    labels = np.asarray(detections[1], np.int64).reshape(-1)
    scores = np.asarray(detections[2], np.float64).reshape(-1)
    taken: list[np.ndarray] = []
    best_first = np.argsort(-scores, kind="stable")
    for depth, index in enumerate(best_first[scores[best_first] >= score_threshold]):
        color = colors[int(labels[index])]
        outline = _rectangle(boxes[index], fill=False, color=color, lw=1.8, zorder=5 - depth / 1000)
        # A dark rim keeps every colour apart from every background.
        outline.set_path_effects([patheffects.withStroke(linewidth=2.6, foreground="#000000a0")])
        axes.add_patch(outline)
        text = f"{_printable(classes[labels[index]])} {scores[index]:.2f}"
        place = _free_place(axes, boxes[index], text, taken)
        if place is None:
            continue
        taken.append(place)
        axes.add_patch(_rectangle(place, facecolor=color, edgecolor="none", zorder=6))
        axes.text(
            (place[0] + place[2]) / 2,
            (place[1] + place[3]) / 2,
            text,
            fontsize=_NAME_POINTS,
            ha="center",
            va="center_baseline",
            color="white" if np.dot(color[:3], (0.299, 0.587, 0.114)) < 0.55 else "black",
            zorder=7,
        )


def _rectangle(box: np.ndarray, **style: Any) -> Rectangle:
    x0, y0, x1, y1 = box.tolist()
    return Rectangle((x0, y0), x1 - x0, y1 - y0, **style)


def _free_place(
    axes: Axes, box: np.ndarray, text: str, taken: Sequence[np.ndarray]
) -> np.ndarray | None:
    """A place at a box for its name, xyxy in image pixels and over no other name, or None."""
    image_width, image_height = axes.get_xlim()[1], axes.get_ylim()[0]
    pixels_a_point = image_width / axes.bbox.width * _DPI / 72
    ink = TextPath((0, 0), text, size=_NAME_POINTS).get_extents()
    width, height = (ink.width + 2.5) * pixels_a_point, (_NAME_POINTS + 2) * pixels_a_point
    x0, y0, x1, y1 = box
    for wish in (x0, x1 - width):
        left = min(max(wish, 0), image_width - width)
        for top in (y0 - height, y1, y0, y1 - height):
            place = np.array([left, top, left + width, top + height])
            inside = left >= 0 and top >= 0 and place[3] <= image_height
            if inside and not any(_overlap(place, other) for other in taken):
                return place
    return None


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all())


def _draw_anchors(
    axes: Axes, anchors: np.ndarray, predicted_boxes: np.ndarray, values: np.ndarray, limit: float
) -> ScalarMappable:
    """Draws predicted boxes and anchors' centres coloured by a value in [0, limit], largest on top.

    Returns:
        What a colour bar needs.
    """
    mapped = ScalarMappable(Normalize(0, limit), cmap="viridis")
    order = np.argsort(values, kind="stable")
    colors = mapped.to_rgba(values[order])
    corners = list(predicted_boxes[order][:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    axes.add_collection(
        PolyCollection(corners, facecolors="none", edgecolors=colors, linewidths=1.1, alpha=0.8)
    )
    centres = (anchors[order, :2] + anchors[order, 2:]) / 2
    axes.scatter(
        centres[:, 0], centres[:, 1], c=colors, s=20, edgecolors="black", linewidths=0.5, zorder=3
    )
    return mapped


def _plot_weight_against_iou(
    axes: Axes, ious: np.ndarray, weights: np.ndarray, most: float
) -> None:
    axes.axhline(1, color=_GREY, linewidth=1, linestyle="--")
    axes.annotate(
        "plain loss", (0.02, 1), (0, 3), textcoords="offset points", fontsize=8, color=_GREY
    )
    axes.scatter(ious, weights, s=16, color=_BLUE, alpha=0.6, linewidths=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.1 * most))
    axes.set_xlabel("IoU of the predicted box")
    axes.set_ylabel("weight in the loss")
    axes.set_title("weight against IoU", fontsize=10)
    axes.grid(alpha=0.3)


def _series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric, where it was recorded; None becomes a gap."""
    present = [record for record in records if key in record]
    values = [np.nan if record[key] is None else float(record[key]) for record in present]
    return np.array([int(record["step"]) for record in present]), np.array(values)


def _plot_smoothed(
    axes: Axes, records: Sequence[Mapping[str, Any]], key: str, label: str, color: str
) -> None:
    """Draws a metric as logged, faint, and its mean over a centred window, strong."""
    steps, values = _series(records, key)
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if not steps.size:
        return
    half = len(values) // 40
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])  # Every mean is then one subtraction.
    smooth = (total[last] - total[first]) / (last - first)
    axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smooth, color=color, linewidth=1.8, label=label)


def _finish_curves(axes: Axes, last_step: int) -> None:
    axes.set_xlabel("training step")
    axes.set_xlim(0, max(1.02 * last_step, 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=_GREY)
    elif len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=9)


def _ground_truth_handle() -> tuple[Line2D, Line2D]:
    """The legend's sample of a ground-truth outline: white dashes on black."""
    return (
        Line2D([], [], color="black", linewidth=2),
        Line2D([], [], color="white", linewidth=1.2, linestyle=(0, (2, 2))),
    )


def _printable(name: str) -> str:
    """A name that matplotlib draws as it stands, without warnings.

    What the font cannot draw becomes an empty box; a dollar does not start a formula; a leading
    underscore does not hide the name from a legend.
    """
    glyphs = _glyphs()
    text = "".join(letter if ord(letter) in glyphs else "\u25a1" for letter in name)
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@functools.cache
def _glyphs() -> frozenset[int]:
    """The code points that the default font can draw."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())
