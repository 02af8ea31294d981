"""Cost of models and compiled programs, which are not run, so that any machine will do."""

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from configs import torchvision
from experiments.benchmark import looped_cost, loss_arms
from ioub_jax import anchors as anchor_grids
from ioub_jax import assigners, detectors, matching, models
from ioub_jax.configs import defaults, small_data
from ioub_jax.devices.placement import abstract_batch
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts
from ioub_jax.models import cost

_CANVAS = (800, 1344)
# The counts are those of XLA's operations and do not depend on the optimization of machine code.
_NO_MACHINE_CODE_EFFORT: Any = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
BATCH = flags.DEFINE_integer("batch", None, "Images in a batch.", lower_bound=1)
IMAGES = flags.DEFINE_integer("images", None, "Images of a whole data set.", lower_bound=1)
BOXES = flags.DEFINE_integer(
    "boxes", None, "Ground-truth slots of an image, or boxes of a whole file.", lower_bound=1
)
CLASSES = flags.DEFINE_integer("classes", None, "Number of classes.", lower_bound=1)
LOSSES = flags.DEFINE_list("losses", None, "Losses to compare with the baseline; by default all.")
PNG = flags.DEFINE_string("png", None, "A file for the curves of `growth` or `losses`.")
BACKBONE = flags.DEFINE_string(
    "backbone", "resnet50", "Backbone of the training step, or of the weights."
)


def _sizes() -> tuple[int, int, int]:
    """Returns the numbers of images, ground-truth slots and classes, by default those of COCO."""
    return BATCH.value or 8, BOXES.value or 100, CLASSES.value or 80


def matching_cost() -> dict[str, Any]:
    """Temporary memory, flops and bytes of the compiled matching and of every assigner.

    Every slot holds a box. The anchors are those of a RetinaNet, and one square at each location,
    which is what the assigners use.
    """
    levels = detectors.create(defaults.get_config(), num_classes=1).levels(_CANVAS)
    of_retinanet = anchor_grids.place(levels)
    squares = anchor_grids.retinanet_anchors(
        _CANVAS, base_scale=8.0, scales_per_octave=1, ratios=(1.0,)
    )
    images, slots, classes = _sizes()
    # The slots are visited five at a time.
    measured = functools.partial(looped_cost.looped_cost, turns=-(-slots // 5))

    def matched(grid: Sequence[Any], rule: Any) -> dict[str, float]:
        together = jax.ShapeDtypeStruct((sum(map(len, grid)), 4), jnp.float32)
        _, *truth = _arguments(grid, images, slots)
        return measured(functools.partial(matching.match, low_quality=rule), together, *truth)

    arguments = _arguments(squares, images, slots)
    predicted = [
        tuple(jax.ShapeDtypeStruct((images, len(level), size), jnp.float32) for level in squares)
        for size in (classes, 4)
    ]
    return {
        "canvas": _CANVAS,
        "batch": images,
        "slots": slots,
        f"{sum(map(len, of_retinanet))} anchors": {
            f"match, {rule}": matched(of_retinanet, rule)
            for rule in ("authors", "torchvision", "none")
        },
        f"{sum(map(len, squares))} anchors": {
            "match, none": matched(squares, "none"),
            "atss": measured(assigners.atss, *arguments),
            "fcos": measured(assigners.fcos, *arguments),
            "task_aligned": measured(assigners.task_aligned, *arguments, *predicted),
            "sim_ota": measured(assigners.sim_ota, *arguments, *predicted),
        },
    }


def _arguments(grid: Sequence[Any], images: int, slots: int) -> tuple[Any, ...]:
    """Returns the shapes of the anchors, level by level, and of the ground truth."""
    flag = jax.ShapeDtypeStruct((images, slots), bool)
    return (
        tuple(jax.ShapeDtypeStruct(level.shape, jnp.float32) for level in grid),
        jax.ShapeDtypeStruct((images, slots, 4), jnp.float32),
        jax.ShapeDtypeStruct((images, slots), jnp.int32),
        flag,
        flag,
    )


def train_step_cost(
    arm: str,
    *,
    with_metrics: bool,
    keys: Mapping[str, Any] | None = None,
    family: str = "retinanet",
) -> dict[str, float]:
    """Flops and bytes accessed of the compiled train step of an arm.

    Without the metrics, XLA removes the operations that only they need: the IoUs of the plain
    losses.

    Args:
      arm: an arm of `configs.arms`.
      with_metrics: whether the step returns the metrics.
      keys: further keys of `config.loss` and their values, as in `loss_arms`.
      family: the family of detectors.
    """
    config = defaults.of_family(family, arm)
    config.loss.update_from_flattened_dict(dict(keys or {}))
    config.model.backbone = BACKBONE.value
    batch_size, boxes, classes = _sizes()
    config.batch_size = config.evaluation.batch_size = batch_size
    config.data.max_boxes = boxes
    config.runtime.devices = 1
    detector = training_parts.detector_of(config, classes)
    trainer = training_parts.trainer_of(config, detector)
    batch = abstract_batch(batch_size, _CANVAS, boxes)
    anchors = jax.eval_shape(lambda: detector.anchors_of(_CANVAS))
    state, step = trainer.abstract_state, trainer.train_step
    if not with_metrics:
        step = jax.jit(lambda *arguments, step=step: step(*arguments)[0], donate_argnums=0)
    compiled: Any = step.lower(state, batch, anchors).compile(_NO_MACHINE_CODE_EFFORT)
    cost = compiled.cost_analysis()
    memory = compiled.memory_analysis()
    return {
        "flops": cost["flops"],
        "bytes accessed": cost["bytes accessed"],
        "temporary GiB": memory.temp_size_in_bytes / 2**30,
    }


def loss_cost() -> dict[str, Any]:
    """Cost that both IoU-balanced losses add to the train step with the plain losses."""
    result: dict[str, Any] = {"canvas": _CANVAS}
    for with_metrics in (False, True):
        plain = train_step_cost("baseline", with_metrics=with_metrics)
        both = train_step_cost("both", with_metrics=with_metrics)
        result["with metrics" if with_metrics else "losses alone"] = {
            "baseline": plain,
            "both": both,
            "overhead": _overhead(both, plain),
        }
    return result


def families_cost() -> dict[str, Any]:
    """Cost of the train step of every family of detectors, and its difference from RetinaNet's."""
    plain = train_step_cost("baseline", with_metrics=True)
    result: dict[str, Any] = {"canvas": _CANVAS, "retinanet": plain}
    for family in small_data.DETECTORS[1:]:
        cost = train_step_cost("baseline", with_metrics=True, family=family)
        result[family] = {**cost, "over retinanet": _overhead(cost, plain)}
    return result


def arms_cost() -> dict[str, Any]:
    """Overhead of every loss of the league over the train step with focal loss and smooth L1.

    The steps include the metrics, as in a training run. The metrics compute the IoU of every
    positive for smooth L1, too.

    Raises:
      ConfigError: `--losses` names an unknown arm.
    """
    check_arms()
    plain = train_step_cost("baseline", with_metrics=True)
    result: dict[str, Any] = {"canvas": _CANVAS, "baseline": plain}
    for arm in LOSSES.value or loss_arms.ALL:
        cost = train_step_cost("baseline", with_metrics=True, keys=loss_arms.ALL[arm])
        result[arm] = _overhead(cost, plain)
        # An arm takes half a minute, so its result is printed at once.
        print(f"{arm}: {json.dumps(result[arm])}", file=sys.stderr, flush=True)
    return result


def check_arms() -> str:
    """A line that describes what would be compiled; raises `ConfigError` for an unknown arm."""
    unknown = [arm for arm in LOSSES.value or () if arm not in loss_arms.ALL]
    if unknown:
        raise ConfigError(
            f"--losses={','.join(unknown)}: there is no such loss; there are "
            f"{', '.join(loss_arms.ALL)}."
        )
    return f"{len(LOSSES.value or loss_arms.ALL)} train steps beside the baseline's, compiled only"


def _overhead(cost: Mapping[str, float], plain: Mapping[str, float]) -> dict[str, str]:
    return {key: f"{cost[key] / plain[key] - 1:+.4%}" for key in plain}


# Parameters of the whole network with its classifier, and multiply-adds in billions at 224x224: the
# num_params and _ops of torchvision's weights. If torchvision has none, timm's parameters.
_PUBLISHED_BACKBONES = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnext101_32x4d": (44_177_704, None),
    "resnext101_64x4d": (83_455_272, 15.46),
    "efficientnet_lite0": (4_652_008, None),
    "mobilenet_v3_large": (5_483_032, 0.217),
    "convnext_tiny": (28_589_128, 4.456),
    "convnext_small": (50_223_688, 8.684),
    # timm's parameters, multiply-adds of arXiv 2201.03545, table 3.
    "vit_small": (22_050_664, 4.6),
    "vit_base": (86_567_656, 17.6),
}
# num_params and _ops of torchvision's detectors with 91 outputs; the image size is not stated.
_PUBLISHED_DETECTORS = {
    "retinanet_resnet50_fpn": (34_014_999, 151.54),
    "retinanet_resnet50_fpn_v2": (38_198_935, 152.238),
    "fcos_resnet50_fpn": (32_269_600, 128.207),
    "ssd300_vgg16": (35_641_826, 34.858),
    "ssdlite320_mobilenet_v3_large": (3_440_060, 0.583),
}


def model_cost() -> dict[str, Any]:
    """Parameters and multiply-adds of every model's forward pass, beside the published numbers."""
    result: dict[str, Any] = {"backbones at 224x224, without their classifier": {}, "detectors": {}}
    backbones = result["backbones at 224x224, without their classifier"]
    for name, published in _PUBLISHED_BACKBONES.items():
        norm = "layer_norm" if name.startswith(("convnext", "vit")) else "batch_norm"
        backbone = models.create_backbone(name, norm=norm)
        backbones[name] = _cost_of(backbone, (224, 224), published)
    for name, published in _PUBLISHED_DETECTORS.items():
        config = torchvision.get_config(name)
        is_ssd = config.model.name in ("ssd", "ssdlite")
        canvas = config.data.canvases[0] if is_ssd else (800, 800)
        # One of the 91 outputs of an SSD is the background.
        model = detectors.create(config, 90 if is_ssd else 91).network
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
