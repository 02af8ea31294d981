"""Measures the cost of models and compiled programs, and speed.

python -m experiments.benchmark models
python -m experiments.benchmark matching
python -m experiments.benchmark losses --png=loss_curves.png
python -m experiments.benchmark arms --losses=giou,siou
python -m experiments.benchmark families
python -m experiments.benchmark arm_times --config=configs/shapes_retinanet.py:baseline
python -m experiments.benchmark family_times --config=configs/shapes_retinanet.py:baseline
python -m experiments.benchmark gradients --config=configs/shapes_retinanet.py:baseline
python -m experiments.benchmark weights --weights=resnet50-11ad3fa6.pth --backbone=resnet50
python -m experiments.benchmark input --config=configs/coco_retinanet.py
python -m experiments.benchmark growth --png=growth.png
python -m experiments.benchmark export --config=configs/shapes_retinanet.py --repeats=100
python -m experiments.benchmark export --config=... --runtime=onnxruntime --runtime=openvino
python -m experiments.benchmark mixed --config=configs/shapes_retinanet.py
python -m experiments.benchmark saving --config=configs/coco_retinanet.py
python -m experiments.benchmark metrics
python -m experiments.benchmark libraries --ground_truth=instances_val.json --results=found.json
python -m experiments.benchmark report
python -m experiments.benchmark merging
python -m experiments.benchmark huge
python -m experiments.benchmark open
python -m experiments.benchmark start
python -m experiments.benchmark step --peer=torchvision --detector=fcos
python -m experiments.benchmark layers --direct
python -m experiments.benchmark compile
python -m experiments.benchmark gpu --folder=runs/gpu

`models`, `matching`, `losses`, `arms`, `families` and `libraries` are not timed, so any machine
will do. The others are timed: compare figures within one run, not with those of another machine.
`step`, `inference`, `objective`, `nms` and `iou` are timed beside a peer, whose environment
`make peers` creates. `compile` measures the compilation of our train step; `libraries` creates a
separate environment.
"""

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax

from experiments.benchmark import (
    beside_peer,
    compiled,
    detection_metrics,
    exported,
    first_gradients,
    gpu,
    growth,
    huge_images,
    layer_rates,
    loss_curves,
    merging,
    metric_libraries,
    mixed_sizes,
    opening,
    rates,
    report_cost,
    saving,
    start,
    step_turns,
)
from ioub_jax.commands import command_line

_MEASUREMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "models": compiled.model_cost,
    "matching": compiled.matching_cost,
    "losses": loss_curves.loss_cost_and_curves,
    "arms": compiled.arms_cost,
    "families": compiled.families_cost,
    "arm_times": step_turns.arm_times,
    "family_times": step_turns.family_times,
    "gradients": first_gradients.first_gradients,
    "weights": rates.import_cost,
    "input": rates.input_rates,
    "growth": growth.growth,
    "export": exported.exported_beside_jitted,
    "saving": saving.saving_cost,
    "metrics": detection_metrics.metrics_cost,
    "libraries": metric_libraries.compare_libraries,
    "report": report_cost.report_cost,
    "merging": merging.merging_rules,
    "mixed": mixed_sizes.mixed_beside_alike,
    "huge": huge_images.reading_cost,
    "layers": layer_rates.layer_rates,
    "compile": beside_peer.compile_cost,
    "gpu": gpu.gpu_rates,
    "open": opening.opening_cost,
    "start": start.start_cost,
    **{name: functools.partial(beside_peer.compare, name) for name in beside_peer.NAMES},
}

#: Measurements in separate processes, which report the device that they run on.
_IN_WORKERS = ("compile", "gpu", *beside_peer.NAMES)

#: Checks and descriptions of the inputs of measurements whose inputs depend on flags.
_CHECKS: dict[str, Callable[[], str]] = {
    "weights": rates.check_weights,
    "input": rates.check_input,
    "losses": loss_curves.check_png,
    "arms": compiled.check_arms,
    "arm_times": step_turns.check_arms,
    "family_times": step_turns.check_families,
    "growth": growth.check_png,
    "export": exported.check_configuration,
    "gradients": exported.check_configuration,
    "saving": saving.check_saving,
    "metrics": detection_metrics.check_metrics_input,
    "libraries": metric_libraries.check_libraries,
    "report": detection_metrics.check_metrics_input,
    "merging": merging.check_merging,
    "mixed": exported.check_configuration,
    "huge": huge_images.check_reading,
    "layers": layer_rates.check_layers,
    "compile": beside_peer.check_compile,
    "gpu": gpu.check_gpu,
    "open": opening.check_opening,
    "start": start.check_start,
    **{name: functools.partial(beside_peer.check_peer, name) for name in beside_peer.NAMES},
}


def main(measurement: str) -> None:
    """Runs the measurement that the only argument names."""
    result = _MEASUREMENTS[measurement]()
    if measurement not in _IN_WORKERS:  # jax would allocate the device's memory here, too
        result = {"jax": jax.__version__, "backend": jax.default_backend()} | result
    table = result.pop("markdown", [])
    print("\n".join([json.dumps(result, indent=2), *table]))


def dry_run(measurement: str) -> Sequence[str]:
    """Lines that describe what would be measured."""
    described = _CHECKS[measurement]() if measurement in _CHECKS else "compiled, not run"
    return [f"Measurement: {measurement}: {described}.", "The figures are printed as JSON."]


if __name__ == "__main__":
    command_line.parse_flags()
    command_line.run(main, dry_run, choices=tuple(_MEASUREMENTS))
