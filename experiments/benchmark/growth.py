"""Growth of the cost with images, anchors, ground-truth slots and classes, and with devices."""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from experiments.benchmark import ours, timing
from experiments.benchmark.compiled import PNG
from experiments.benchmark.rates import REPEATS
from experiments.benchmark.timing import Seconds
from experiments.benchmark.workloads import Workload
from ioub_jax import anchors, files, tpu_plan
from ioub_jax.configs import defaults
from ioub_jax.plotting.drawing import BLUE, DPI, GRAY, ORANGE, tidy

_ARMS = ("baseline", "both")
_BASE = Workload(batch=2, height=400, width=672, classes=80, boxes=50)
#: One size varies at a time; everything else is as in `_BASE`.
_GROWING: dict[str, list[Workload]] = {
    "images": [dataclasses.replace(_BASE, batch=n) for n in (1, 2, 4, 8)],
    "anchors": [
        dataclasses.replace(_BASE, height=height, width=width)
        for height, width in ((200, 336), (400, 672), (600, 1008), (800, 1344))
    ],
    "ground-truth slots": [dataclasses.replace(_BASE, boxes=n) for n in (10, 25, 50, 100, 200)],
    "classes": [dataclasses.replace(_BASE, classes=n) for n in (1, 20, 80, 320)],
}
# The size of the train step that is divided among devices.
_DEVICES_BATCH, _DEVICES_CANVAS = 8, (256, 256)


def growth() -> dict[str, Any]:
    """Seconds of matching, losses and gradients of both arms, and the work of a device.

    The wall and CPU seconds are medians over turns; in each turn, every size of both arms is run
    once. The flops and bytes are those of XLA for the program of one device, in the train step of
    a ResNet-18 with a batch that is divided among all devices.
    """
    check_png()
    result: dict[str, Any] = {"base": dataclasses.asdict(_BASE)}
    for name, workloads in _GROWING.items():
        works = {
            (w, arm): ours.objective(dataclasses.replace(w, arm=arm))
            for w in workloads
            for arm in _ARMS
        }
        seconds = _seconds(works)
        result[name] = {
            str(_amount(name, workload)): {arm: seconds[workload, arm].figures() for arm in _ARMS}
            for workload in workloads
        }
    counts = [n for n in (1, 2, 4, 8) if n <= jax.device_count()]
    result["devices"] = {str(count): _cost_of_a_device(count) for count in counts}
    if PNG.value is not None:
        _draw(pathlib.Path(PNG.value), result)
    return result


def check_png() -> str:
    """A line that describes the measurement; raises `OSError` if the picture cannot be written."""
    if PNG.value is not None:
        files.check_file(pathlib.Path(PNG.value), "--png")
    return f"{', '.join(_GROWING)} and devices, drawn into {PNG.value or 'no file'}"


def _amount(name: str, workload: Workload) -> int:
    if name == "anchors":
        levels = anchors.retinanet_anchors((workload.height, workload.width))
        return sum(map(len, levels))
    field = {"images": "batch", "ground-truth slots": "boxes", "classes": "classes"}[name]
    amount: int = getattr(workload, field)
    return amount


def _seconds(work: Mapping[Any, Any]) -> dict[Any, Seconds]:
    """Returns the median times of each piece of work."""
    for run in work.values():
        run()  # compile
    turns: dict[Any, list[Seconds]] = {key: [] for key in work}
    for _ in range(REPEATS.value):
        for key, run in work.items():
            start = timing.now()
            run()
            turns[key].append(timing.now() - start)
    return {
        key: Seconds(*map(statistics.median, zip(*times, strict=True)))
        for key, times in turns.items()
    }


def _cost_of_a_device(count: int) -> dict[str, float]:
    config = defaults.get_config()
    config.model.backbone = "resnet18"
    config.data.canvases = (_DEVICES_CANVAS,)
    config.data.max_boxes = 50
    devices = jax.devices()[:count]
    made = tpu_plan.plan_step("train", config, 80, "cpu", _DEVICES_BATCH // count, devices)
    return {"flops": made.flops, "bytes accessed": made.bytes_accessed}


def _draw(path: pathlib.Path, result: dict[str, Any]) -> None:
    """Draws a log-log panel for each varied size, with a dotted line for proportional growth."""
    figure = Figure(figsize=(13, 7), dpi=DPI, layout="constrained")
    panels = list(figure.subplots(2, 3).flat)
    for axes, name in zip(panels, _GROWING, strict=False):
        amounts = np.array([int(amount) for amount in result[name]])
        for arm, color, marker in (("baseline", GRAY, "o"), ("both", ORANGE, "^")):
            seconds = np.array([row[arm]["wall, s"] for row in result[name].values()])
            axes.plot(amounts, 1e3 * seconds, color=color, marker=marker, label=arm)
        axes.plot(
            amounts,
            1e3 * seconds[-1] * amounts / amounts[-1],
            ":",
            color=BLUE,
            label="in proportion",
        )
        axes.set_title(f"Matching and losses, by {name}")
        axes.set_ylabel("milliseconds")
        _finish(axes, name, amounts)
    counts = np.array([int(count) for count in result["devices"]])
    for axes, key, unit in zip(panels[4:], ("flops", "bytes accessed"), (1e9, 1e9), strict=True):
        values = np.array([row[key] for row in result["devices"].values()]) / unit
        axes.plot(counts, values, color=ORANGE, marker="^", label="of one device")
        axes.plot(counts, values[0] / counts, ":", color=BLUE, label="in proportion")
        axes.set_title(f"Train step of 8 images: {key}")
        axes.set_ylabel("billions")
        _finish(axes, "devices", counts)
    figure.savefig(path, format="png")


def _finish(axes: Any, name: str, amounts: np.ndarray) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
    axes.minorticks_off()
    axes.set_xlabel(name)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    measured = np.concatenate([line.get_ydata() for line in axes.lines[:-1]])
    axes.set_ylim(0.7 * measured.min(), 1.5 * measured.max())
    tidy(axes)
    axes.legend(fontsize=9)
