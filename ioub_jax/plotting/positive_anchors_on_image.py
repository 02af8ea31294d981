"""Positive anchors on an image, with their weights."""

import os
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ioub_jax.plotting.drawing import (
    BLUE,
    DPI,
    GRAY,
    GREEN,
    Boxes,
    Values,
    draw_ground_truth,
    ground_truth_handle,
    printable,
    show_image,
)


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
    """Draws an image's positive anchors with their IoUs and weights.

    The left panel colors every positive anchor's center and predicted box by the IoU of that box
    with its object, the middle one by its weight in the loss, and the right one plots weight
    against IoU. With an IoU-balanced loss, the panels agree: well localized boxes have larger
    weights.

    Args:
      path: the PNG to write.
      image: uint8 [H, W, 3].
      boxes: the ground-truth boxes [M, 4].
      anchors: the P positive anchors [P, 4].
      predicted_boxes: the boxes decoded from the predictions of these anchors [P, 4].
      ious: the IoU of each predicted box with its ground-truth box [P], in [0, 1].
      weights: the weight of each anchor in the loss [P]; 1 is that of the plain loss.
      title: a line above the panels.
    """
    anchors, predicted_boxes = (
        np.asarray(array, np.float64).reshape(-1, 4) for array in (anchors, predicted_boxes)
    )
    ious, weights = (np.asarray(array, np.float64).reshape(-1) for array in (ious, weights))
    aspect = image.shape[0] / image.shape[1]
    figure = Figure(
        figsize=(13, 1.3 + 3.7 * min(aspect, 1.5)),
        dpi=DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.1),
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    most = float(max(weights.max(initial=0), 1))
    for axes, values, limit, label in (
        (left, ious, 1.0, "IoU of the predicted box"),
        (middle, weights, most, "weight in the loss"),
    ):
        # The image is dim and gray, so that the colors of the anchors stand out.
        gray = np.asarray(image, np.float64).mean(-1, keepdims=True)
        show_image(axes, np.repeat(50 + 0.5 * gray, 3, axis=-1).astype(np.uint8))
        axes.set_axis_off()
        axes.set_title(f"{len(ious)} positive anchors by {label}", fontsize=10)
        draw_ground_truth(axes, boxes, np.zeros(len(boxes)))
        mapped = _draw_anchors(axes, anchors, predicted_boxes, values, limit)
        figure.colorbar(mapped, cax=axes.inset_axes((1.02, 0, 0.05, 1)))
    _plot_weight_against_iou(right, ious, weights, most)
    handles: list[Any] = [
        ground_truth_handle(),
        Line2D([], [], color=GREEN, marker="o", markeredgecolor="black", linestyle="none"),
        Line2D([], [], color=GREEN, linewidth=1.2),
    ]
    figure.legend(
        handles,
        ["ground truth", "center of a positive anchor", "box predicted from it"],
        loc="outside lower center",
        ncols=3,
        fontsize=9,
    )
    if title is not None:
        figure.suptitle(printable(title), fontsize=12)
    figure.savefig(path, format="png")


def _draw_anchors(
    axes: Axes, anchors: np.ndarray, predicted_boxes: np.ndarray, values: np.ndarray, limit: float
) -> ScalarMappable:
    """Draws predicted boxes and anchor centers colored by a value in [0, limit], largest on top.

    Returns:
      the mapping from values to colors, for a color bar.
    """
    mapped = ScalarMappable(Normalize(0, limit), cmap="viridis")
    order = np.argsort(values, kind="stable")
    colors = mapped.to_rgba(values[order])
    corners = list(predicted_boxes[order][:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    axes.add_collection(
        PolyCollection(corners, facecolors="none", edgecolors=colors, linewidths=1.1, alpha=0.8)
    )
    centers = (anchors[order, :2] + anchors[order, 2:]) / 2
    axes.scatter(
        centers[:, 0], centers[:, 1], c=colors, s=20, edgecolors="black", linewidths=0.5, zorder=3
    )
    return mapped


def _plot_weight_against_iou(
    axes: Axes, ious: np.ndarray, weights: np.ndarray, most: float
) -> None:
    axes.axhline(1, color=GRAY, linewidth=1, linestyle="--")
    axes.annotate(
        "plain loss", (0.02, 1), (0, 3), textcoords="offset points", fontsize=8, color=GRAY
    )
    axes.scatter(ious, weights, s=16, color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.1 * most))
    axes.set_xlabel("IoU of the predicted box")
    axes.set_ylabel("weight in the loss")
    axes.set_title("weight against IoU", fontsize=10)
    axes.grid(alpha=0.3)
