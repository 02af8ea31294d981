"""Losses by non-maximum suppression."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ioub_jax.plotting.drawing import (
    DPI,
    GRAY,
    Runs,
    add_caption,
    decimals,
    printable,
    run_color,
    tidy,
)

_FEWEST = 10


def suppression(path: str | os.PathLike[str], runs: Runs) -> None:
    """Draws how well objects are localized before and after NMS, and the losses by NMS.

    Args:
      path: the PNG to write.
      runs: name -> a dict with `suppression`, a `diagnostics.suppression.Suppression` as a dict.
    """
    figure = Figure(figsize=(14, 5), dpi=DPI, layout="constrained")
    recall, means, by_iou = figure.subplots(1, 3, width_ratios=(1.15, 0.9, 1))
    for number, (name, run) in enumerate(runs.items()):
        _draw_run(recall, means, by_iou, number, name, run["suppression"])
    recall.plot([], [], color=GRAY, linestyle="--", label="best candidate, before NMS")
    recall.plot([], [], color=GRAY, label="best detection that NMS keeps")
    recall.set_title("Objects with a box at least that good")
    recall.set(xlim=(0.5, 1), ylim=(0, 1), xlabel="IoU with the object")
    recall.yaxis.set_major_formatter(PercentFormatter(1.0))
    recall.legend(fontsize=9, loc="lower left")
    names = [printable(name) for name in runs]
    means.set_xticks(np.arange(len(runs)), names, rotation=0 if len(runs) <= 3 else 30)
    means.set_title("Mean IoU of an object's best box")
    means.set_ylim(0, 1)
    means.set_xlim(-0.7, len(runs) - 0.3)
    by_iou.set_title("Loss, by the IoU of the best candidate")
    by_iou.set(xlim=(0.5, 1), xlabel="IoU of the best candidate", ylabel="mean IoU lost")
    by_iou.set_ylim(bottom=0)
    for axes in (recall, means, by_iou):
        tidy(axes)
    if len(runs) > 1:
        by_iou.legend(fontsize=9, loc="lower right")
    figure.suptitle(
        "Loss by NMS: the box with the best score is kept, not the best localized one", fontsize=13
    )
    add_caption(
        figure,
        "The shaded gap is lost: a better localized box of the class existed, and one with a "
        "better score suppressed it. The smaller the gap, the better scores follow localization. "
        "Means are over the objects that a candidate reaches with IoU ≥ .5; on the right, bins "
        "with fewer than ten objects are left out.",
    )
    figure.savefig(path, format="png")


def _draw_run(
    recall: Axes, means: Axes, by_iou: Axes, number: int, name: str, values: Mapping[str, Any]
) -> None:
    color = run_color(number)
    before, after = values["candidate_recall"], values["kept_recall"]
    recall.plot(values["thresholds"], before, color=color, linestyle="--", linewidth=1.5)
    recall.plot(values["thresholds"], after, color=color, linewidth=2)
    recall.fill_between(values["thresholds"], after, before, color=color, alpha=0.15)
    kept, lost = values["kept_iou"] or 0.0, values["lost_iou"] or 0.0
    means.bar(number, kept, 0.6, color=color)
    means.bar(number, lost, 0.6, bottom=kept, color="white", edgecolor=color, hatch="////")
    means.text(number, kept / 2, f"kept\n{decimals(kept)}", ha="center", color="white", fontsize=11)
    means.text(
        number, kept + lost + 0.01, f"lost {decimals(lost)}", ha="center", color=color, fontsize=11
    )
    bins = [row for row in values["bins"] if row["objects"] >= _FEWEST]
    centers = [(row["lower"] + row["upper"]) / 2 for row in bins]
    by_iou.plot(
        centers, [row["lost"] for row in bins], color=color, marker="o", label=printable(name)
    )
