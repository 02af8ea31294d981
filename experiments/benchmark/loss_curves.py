"""Picture of the box losses: their values for boxes that fit worse and worse.

There are two ways to miss a target: a smaller box around its center, and a box of its size beside
it. The losses are those of one positive, without a weight. The gradients are those in the deltas
(dx, dy, dw, dh) from an anchor of the target's size, with which a network is trained.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmark import compiled, loss_arms
from experiments.benchmark.compiled import PNG
from ioub_jax import files, objective
from ioub_jax.matching import Matches
from ioub_jax.objective import LocalizationOptions, ObjectiveOptions
from ioub_jax.plotting.drawing import DPI, add_caption, run_color, tidy

#: The rows of the picture: title and arms.
_ROWS: dict[str, tuple[str, ...]] = {
    "on deltas": ("baseline", "l1", "balanced_l1", "iou_balanced"),
    "IoU and its penalties": ("iou", "giou", "diou", "ciou", "eiou", "focal_eiou"),
    "shapes and corners": ("siou", "shape_iou", "mpdiou", "piou", "piou2"),
    "focusing, other distances": ("wiou_v1", "wiou_v2", "wiou_v3", "nwd"),
    "the IoU itself changed": ("iou", "inner_iou", "focaler_iou", "alpha_iou"),
}
_SIDE = 64.0  # the side of the target, in pixels
_CANVAS = (512, 512)
_WIOU_MEAN = 0.5  # the running mean of 1 - IoU
_POINTS = 240


def loss_cost_and_curves() -> dict[str, Any]:
    """Cost of both IoU-balanced losses and, with --png, the picture of every box loss."""
    check_png()
    if PNG.value is not None:
        draw(pathlib.Path(PNG.value))
    return compiled.loss_cost()


def check_png() -> str:
    """A line that describes the work; raises `OSError` if the picture cannot be written."""
    if PNG.value is not None:
        files.check_file(pathlib.Path(PNG.value), "--png")
    return f"compiled, not run; curves of the box losses drawn into {PNG.value or 'no file'}"


@dataclasses.dataclass(frozen=True)
class Curves:
    """A loss along one way to miss the target.

    Attributes:
      losses: `[n]`, the losses.
      gradients: `[n]`, the norms of the gradients in the deltas.
    """

    losses: np.ndarray
    gradients: np.ndarray


def options_of(arm: str) -> LocalizationOptions:
    """The loss of an arm of the league without its weight."""
    keys = loss_arms.LOCALIZATION.get(arm, {})  # the baseline has none
    return dataclasses.replace(
        LocalizationOptions(), **{"lambda_": 0.0, "w_loc": 1.0} | keys | {"weight": 1.0}
    )


def curves_of(options: LocalizationOptions, deltas: np.ndarray) -> Curves:
    """The loss and its gradient for every predicted box, each of them as a separate batch.

    Args:
      options: the loss.
      deltas: `[n, 4]`, the deltas of the predicted boxes from an anchor that equals the target.
    """
    middle = np.array([*_CANVAS, *_CANVAS]) / 2
    target = jnp.asarray(middle + np.array([-1, -1, 1, 1]) * _SIDE / 2, jnp.float32)
    first = jnp.zeros((1, 1), jnp.int32)
    matches = Matches(labels=first, gt_index=first, iou=jnp.ones((1, 1)))
    state = {name: jnp.float32(_WIOU_MEAN) for name in options.initial_state}

    def loss_of(deltas: jax.Array) -> jax.Array:
        found = objective.detection_objective(
            (jnp.zeros((1, 1, 1)),),
            (deltas[None, None],),
            (target[None],),
            matches,
            target[None, None],
            w_loc=jnp.float32(options.initial_w_loc or 1.0),
            moving_average=jnp.float32(1.0),
            options=ObjectiveOptions(localization=options),
            loss_state=state,
            image_size=_CANVAS,
        )
        return found.metrics["loss_localization"]

    of_all = jax.jit(jax.vmap(jax.value_and_grad(loss_of)))
    values, gradients = of_all(jnp.asarray(deltas, jnp.float32))
    return Curves(np.asarray(values), np.asarray(jax.vmap(optax.tree.norm)(gradients)))


def smaller(ious: np.ndarray) -> np.ndarray:
    """Deltas `[n, 4]` of squares inside the target, around its center, with IoUs `[n]`."""
    return np.log(ious)[:, None] / 2 * np.array([0, 0, 1, 1])


def shifted(offsets: np.ndarray) -> np.ndarray:
    """Deltas `[n, 4]` of boxes of the target's size, shifted right by shares `[n]` of its side."""
    return offsets[:, None] * np.array([1, 0, 0, 0])


def draw(path: pathlib.Path) -> None:
    """Draws every localization loss of the league, with a row of four panels for each kind."""
    ious = np.linspace(0.02, 0.995, _POINTS)
    offsets = np.linspace(0.005, 1.5, _POINTS)
    figure = Figure(figsize=(14, 3.1 * len(_ROWS)), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(_ROWS), 4, squeeze=False, sharex="col")
    for row, (kind, arms) in zip(panels, _ROWS.items(), strict=True):
        for number, arm in enumerate(arms):
            options = options_of(arm)
            # Each line is thinner than the one before, so that equal losses are all visible.
            style = {"color": run_color(number), "lw": 4.0 - 0.6 * number}
            for column, (values, deltas) in enumerate(
                ((ious, smaller(ious)), (offsets, shifted(offsets)))
            ):
                curves = curves_of(options, deltas)
                label = "smooth_l1" if arm == loss_arms.BASELINE else arm
                row[2 * column].plot(values, curves.losses, label=label, **style)
                row[2 * column + 1].plot(values, curves.gradients, **style)
        row[0].set_ylabel(kind)
        row[0].legend(fontsize=7)
    _name_panels(panels)
    add_caption(
        figure,
        f"One positive; target and anchor {_SIDE:g}x{_SIDE:g} on {_CANVAS[0]}x{_CANVAS[1]}; "
        f"Wise-IoU with a running mean of {_WIOU_MEAN:g}; iou_balanced with w_loc 1.",
    )
    figure.savefig(path, format="png")


def _name_panels(panels: np.ndarray) -> None:
    """Writes titles above the panels and the names of the axes below."""
    titles = ("Loss", "Norm of its gradient in the deltas") * 2
    below = ("IoU of a smaller box around the same center",) * 2 + (
        "offset of the center, in sides of the target",
    ) * 2
    axes: Axes
    for column, (title, text) in enumerate(zip(titles, below, strict=True)):
        panels[0, column].set_title(title)
        panels[-1, column].set_xlabel(text)
        for axes in panels[:, column]:
            tidy(axes, grid="both")
            axes.set_ylim(bottom=0.0)
