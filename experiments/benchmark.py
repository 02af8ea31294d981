"""What models and compiled programs need, and how fast the input pipeline is.

python -m experiments.benchmark models
python -m experiments.benchmark matching
python -m experiments.benchmark losses
python -m experiments.benchmark weights --weights=resnet50-11ad3fa6.pth --backbone=resnet50
python -m experiments.benchmark input --config=configs/coco_retinanet.py

For `models`, `matching` and `losses` nothing is run, so any machine will do. `weights` and `input`
are timed: compare the figures of one run with each other, not with those of another machine.
"""

import functools
import json
import pathlib
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from configs import defaults, torchvision
from experiments import command_line
from ioub_jax import matching, models
from ioub_jax.data import sources, throughput
from ioub_jax.models import cost, pretrained, vgg
from ioub_jax.training.detector import (
    canvas_anchors,
    canvas_levels,
    create_detector,
    create_trainer,
)

_CANVAS = (800, 1344)
_BATCH = flags.DEFINE_integer("batch", 8, "Images.", lower_bound=1)
_BOXES = flags.DEFINE_integer("boxes", 100, "Ground-truth slots of an image.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 80, "Classes.", lower_bound=1)
_CONFIG = command_line.define_config(required=False)
_BATCHES = flags.DEFINE_integer("batches", 8, "Batches of input, each time.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Times it is measured.", lower_bound=1)
_BACKBONE = flags.DEFINE_string("backbone", "resnet50", "Of the train step, or of the weights.")
_WEIGHTS = flags.DEFINE_string("weights", None, "File or name of a backbone or of a detector.")


def matching_cost() -> dict[str, Any]:
    """Temporary memory of the compiled matching, for every low-quality rule."""
    anchors = jnp.concatenate(
        [jnp.asarray(level) for level in canvas_anchors(defaults.get_config(), _CANVAS)]
    )
    slots = (_BATCH.value, _BOXES.value)
    flag = jax.ShapeDtypeStruct(slots, bool)
    arguments = (
        jax.ShapeDtypeStruct(anchors.shape, jnp.float32),
        jax.ShapeDtypeStruct((*slots, 4), jnp.float32),
        jax.ShapeDtypeStruct(slots, jnp.int32),
        flag,
        flag,
    )
    result: dict[str, Any] = {"canvas": _CANVAS, "anchors": len(anchors), "batch": slots[0]}
    for rule in ("authors", "torchvision", "none"):
        match = functools.partial(matching.match, low_quality=rule)
        memory: Any = jax.jit(match).lower(*arguments).compile().memory_analysis()
        result[f"{rule}: temporary MiB"] = round(memory.temp_size_in_bytes / 2**20, 1)
    return result


def train_step_cost(arm: str, *, with_metrics: bool) -> dict[str, float]:
    """Flops and bytes accessed of the compiled train step of an arm.

    Without the metrics, XLA leaves out what they alone need: the IoUs of the plain losses.
    """
    config = defaults.get_config(arm)
    config.model.backbone = _BACKBONE.value
    config.batch_size = _BATCH.value
    config.evaluation.batch_size = _BATCH.value
    config.data.max_boxes = _BOXES.value
    config.runtime.devices = 1
    detector = create_detector(config, _CLASSES.value)
    trainer = create_trainer(detector)
    slots = (_BATCH.value, _BOXES.value)
    batch = {
        "image": jax.ShapeDtypeStruct((_BATCH.value, *_CANVAS, 3), jnp.uint8),
        "boxes": jax.ShapeDtypeStruct((*slots, 4), jnp.float32),
        "labels": jax.ShapeDtypeStruct(slots, jnp.int32),
        **{name: jax.ShapeDtypeStruct(slots, bool) for name in ("valid", "crowd", "difficult")},
    }
    anchors = jax.eval_shape(
        lambda: tuple(jnp.asarray(level) for level in canvas_anchors(config, _CANVAS))
    )
    state, step = jax.eval_shape(trainer.create_state), trainer.train_step
    if not with_metrics:
        step = jax.jit(lambda *arguments, step=step: step(*arguments)[0], donate_argnums=0)
    compiled: Any = step.lower(state, batch, anchors).compile()
    cost = compiled.cost_analysis()
    memory = compiled.memory_analysis()
    return {
        "flops": cost["flops"],
        "bytes accessed": cost["bytes accessed"],
        "temporary GiB": memory.temp_size_in_bytes / 2**30,
    }


def loss_cost() -> dict[str, Any]:
    """What both IoU-balanced losses add to the whole train step of the plain ones."""
    result: dict[str, Any] = {"canvas": _CANVAS}
    for with_metrics in (False, True):
        plain = train_step_cost("baseline", with_metrics=with_metrics)
        both = train_step_cost("both", with_metrics=with_metrics)
        result["with metrics" if with_metrics else "losses alone"] = {
            "baseline": plain,
            "both": both,
            "overhead": {key: f"{both[key] / plain[key] - 1:+.4%}" for key in plain},
        }
    return result


def import_cost() -> dict[str, Any]:
    """Time and memory of reading a file of weights and of making our variables of them.

    The time ends with the variables on the device; it is the median of repeats, after one that the
    system has read the file for. The memory is the most that Python and numpy hold at once on the
    way to the device: most variables are views of the mapped file until then.
    """
    if _WEIGHTS.value is None:
        sys.exit("Error: say which weights, --weights=FILE.")
    path = pretrained.find_weights(_WEIGHTS.value)
    seconds = []
    for _ in range(_REPEATS.value + 1):
        start = time.perf_counter()
        variables = jax.block_until_ready(jax.device_put(_import_weights(path)))
        seconds.append(time.perf_counter() - start)
    del variables
    tracemalloc.start()
    variables = _import_weights(path)
    _, peak = tracemalloc.get_traced_memory()
    return {
        "file MiB": round(path.stat().st_size / 2**20, 1),
        "variables MiB": round(sum(x.nbytes for x in jax.tree.leaves(variables)) / 2**20, 1),
        "seconds": round(statistics.median(seconds[1:]), 3),
        "peak MiB": round(peak / 2**20, 1),
    }


def _import_weights(path: pathlib.Path) -> Any:
    """The variables of the detector in a file, or else of the backbone that a flag names."""
    state_dict = pretrained.read_state_dict(path)
    try:
        return pretrained.detector_of(state_dict, name=str(path)).variables
    except pretrained.WeightsError:
        return pretrained.backbone_variables(
            state_dict, _backbone_template(), backbone=_BACKBONE.value, name=str(path)
        )


@functools.cache
def _backbone_template() -> Any:
    config = defaults.get_config().model
    config.backbone = _BACKBONE.value
    images = jnp.zeros((1, 64, 64, 3), jnp.float32)
    if config.backbone == "vgg16":
        return jax.eval_shape(lambda: vgg.VGG16().init(jax.random.key(0), images))
    backbone = models.create_backbone(config)
    return jax.eval_shape(lambda: backbone.init(jax.random.key(0), images, train=False))


def input_rates() -> dict[str, Any]:
    """Images/s of the input pipeline beside a bare loop of decoding and resizing.

    The bare loop and every pipeline take turns; a ratio is the median of those of each turn.
    """
    config = _CONFIG.value
    if config is None:
        sys.exit("Error: give the configuration whose input is to be measured, --config=FILE.")
    source = sources.create_source(config.data, "train")
    try:
        benchmark = throughput.InputBenchmark(config, source, _BATCHES.value)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    turns = []
    for _ in range(_REPEATS.value):
        turn = {"bare loop": benchmark.bare_loop()} | benchmark.stages()
        for workers in (0, 1, 2):
            whole = benchmark.whole_pipeline(workers)
            turn[f"pipeline, {workers} workers"] = whole["images/s"]
            turn[f"MiB a worker, {workers} workers"] = whole["MiB a worker"]
        turns.append(turn)
    one, two, bare = "pipeline, 1 workers", "pipeline, 2 workers", "bare loop"
    return {
        "images": len(benchmark),
        "images/s": {
            name: round(statistics.median(turn[name] for turn in turns), 1) for name in turns[0]
        },
        "one worker over the bare loop": _median_ratio(turns, one, bare),
        "two workers over one": _median_ratio(turns, two, one),
    }


def _median_ratio(turns: list[dict[str, float]], first: str, second: str) -> dict[str, float]:
    ratios = sorted(round(turn[first] / turn[second], 3) for turn in turns)
    return {"median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}


# Parameters of the whole network and multiply-adds in billions at 224x224, classifier included: the
# num_params and _ops of torchvision's weights; where torchvision has none, timm's parameters.
_PUBLISHED_BACKBONES = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnext101_32x4d": (44_177_704, None),
    "resnext101_64x4d": (83_455_272, 15.46),
    "efficientnet_lite0": (4_652_008, None),
}
# num_params and _ops of torchvision's detectors, 91 outputs; at which size is not said there.
_PUBLISHED_DETECTORS = {
    "retinanet_resnet50_fpn": (34_014_999, 151.54),
    "retinanet_resnet50_fpn_v2": (38_198_935, 152.238),
    "ssd300_vgg16": (35_641_826, 34.858),
}


def model_cost() -> dict[str, Any]:
    """Parameters and multiply-adds of every model's forward pass, beside the published ones."""
    result: dict[str, Any] = {"backbones at 224x224, without their classifier": {}, "detectors": {}}
    backbones = result["backbones at 224x224, without their classifier"]
    for name, published in _PUBLISHED_BACKBONES.items():
        config = defaults.get_config().model
        config.backbone = name
        backbones[name] = _cost_of(models.create_backbone(config), (224, 224), published)
    for name, published in _PUBLISHED_DETECTORS.items():
        config = torchvision.get_config(name)
        canvas = (300, 300) if name == "ssd300_vgg16" else (800, 800)
        levels = canvas_levels(config, canvas)
        model = models.create_model(
            config.model,
            num_classes=90 if name == "ssd300_vgg16" else 91,
            anchors_per_location=[len(level.cell) for level in levels],
        )
        result["detectors"][f"{name}, {canvas[0]}x{canvas[1]}"] = _cost_of(model, canvas, published)
    return result


def _cost_of(
    model: Any, canvas: tuple[int, int], published: tuple[int | None, float | None]
) -> dict[str, Any]:
    images = jax.ShapeDtypeStruct((1, *canvas, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, images)
    products = cost.multiply_adds(lambda v, x: model.apply(v, x, train=False), variables, images)
    return {
        "parameters": cost.parameter_count(variables["params"]),
        "published parameters": published[0],
        "multiply-adds, billions": round(products / 1e9, 3),
        "published multiply-adds, billions": published[1],
    }


_MEASUREMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "models": model_cost,
    "matching": matching_cost,
    "losses": loss_cost,
    "weights": import_cost,
    "input": input_rates,
}


def main(measurement: str) -> None:
    """Measures what the one argument names."""
    result = {"jax": jax.__version__, "backend": jax.default_backend()}
    print(json.dumps(result | _MEASUREMENTS[measurement](), indent=2))


if __name__ == "__main__":
    command_line.run(main, choices=tuple(_MEASUREMENTS))
