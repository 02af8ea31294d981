"""Gradient of the IoU-balanced localization loss for good and bad boxes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ioub_jax.plotting.drawing import DPI, GRAY, add_caption, tidy

_TITLES = {
    "shift": "center off by |δ| widths: IoU = (1 - |δ|) / (1 + |δ|)",
    "stretch": "width off by exp(|δ|): IoU = exp(-|δ|)",
}


def gradient_norm(path: str | os.PathLike[str], curves: Sequence[Mapping[str, Any]]) -> None:
    """Draws the gradient's norm against |delta|, in closed form and by autodiff.

    Args:
      path: the PNG to write.
      curves: the result of `diagnostics.gradient_norm.gradient_norms`.
    """
    figure = Figure(figsize=(13, 5.6), dpi=DPI, layout="constrained")
    for axes, (kind, title) in zip(
        figure.subplots(1, 2, sharey=True), _TITLES.items(), strict=True
    ):
        of_kind = [curve for curve in curves if curve["kind"] == kind]
        _draw_curves(axes, of_kind)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("|δ|, the error of one delta; the other three are right")
    figure.axes[0].set_ylim(0, 1.08 * max(max(curve["closed_form"]) for curve in curves))
    figure.axes[0].set_ylabel("norm of the gradient with respect to the deltas")
    figure.suptitle(
        "A larger λ strengthens the gradient of boxes that fit and weakens that of others",
        fontsize=13,
    )
    beta = curves[0]["beta"]
    add_caption(
        figure,
        f"w_loc IoU^λ min(|δ| / β, 1): equations 3-4 of arXiv 1908.05641, β = {beta}, weights "
        "without a gradient. For each λ, w_loc keeps the sum of the loss over boxes whose |δ| "
        "is spread evenly from 0 to where the IoU is .5 (dashes), as before the first step. Lines: "
        "closed form; dots: autodiff of ioub_jax.losses.iou_balanced_smooth_l1_loss.",
    )
    figure.savefig(path, format="png")


def _draw_curves(axes: Axes, curves: Sequence[Mapping[str, Any]]) -> None:
    colors = matplotlib.colormaps["viridis"]
    for number, curve in enumerate(curves):
        color = GRAY if curve["lambda"] == 0 else colors(0.9 * number / max(len(curves) - 1, 1))
        plain = " (smooth L1)" if curve["lambda"] == 0 else ""
        axes.plot(
            curve["delta"],
            curve["closed_form"],
            color=color,
            linewidth=2,
            label=f"λ = {curve['lambda']:g}, w_loc = {curve['w_loc']:.2f}{plain}",
        )
        axes.plot(
            curve["delta"][number::6], curve["autodiff"][number::6], ".", color=color, markersize=8
        )
    falling = curves[0]["iou"]
    half = np.interp(0.5, falling[::-1], curves[0]["delta"][::-1])
    axes.axvline(half, color=GRAY, linestyle="--", linewidth=1)
    axes.set_xlim(0, 1)
    tidy(axes)
    handles, _ = axes.get_legend_handles_labels()
    handles.append(Line2D([], [], color=GRAY, marker=".", linestyle="none", label="autodiff"))
    axes.legend(handles=handles, fontsize=9, loc="upper right")
