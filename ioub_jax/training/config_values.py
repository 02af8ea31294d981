"""Values that no run can have, told before anything is opened; the rest is checked where it counts.

Keys that a configuration does not have, because it is of an earlier version or of another model,
are not looked at.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import ml_collections

from ioub_jax import matching
from ioub_jax.data.images import BIT_DEPTHS
from ioub_jax.errors import ConfigError

_OBJECTS = ("ignore", "drop", "keep")
_CHOICES: dict[str, tuple[str, ...]] = {
    "data.exif": ("ignore", "apply"),
    "data.on_error": ("raise", "skip"),
    "data.voc.unannotated": ("problem", "empty"),
    "evaluation.backend": ("faster_coco_eval", "pycocotools"),
    "matcher.crowd": _OBJECTS,
    "matcher.difficult": _OBJECTS,
    "model.dtype": ("float32", "bfloat16"),
}
#: The lowest value of a number.
_AT_LEAST = {
    "anchors.scales_per_octave": 1,
    "batch_size": 1,
    "data.max_boxes": 1,
    "data.shapes.num_train": 1,
    "data.shapes.num_val": 1,
    "evaluation.batch_size": 1,
    "evaluation.candidates_per_level": 1,
    "evaluation.every_images": 1,
    "evaluation.max_detections": 1,
    "loss.calibration_batches": 1,
    "model.fpn.channels": 1,
    "model.head.depth": 0,
    "model.head.width": 1,
    "model.norm_epsilon": 0,
    "model.width": 1,
    "runtime.checkpoint_every_images": 1,
    "runtime.devices": 1,
    "runtime.log_every_steps": 1,
    "runtime.workers": 0,
    "schedule.base_learning_rate": 0,
    "schedule.images": 1,
    "schedule.warmup_factor": 0,
    "schedule.warmup_images": 0,
    "seed": 0,
}
#: Numbers that must be above 0.
_POSITIVE = (
    "anchors.base_scale",
    "evaluation.nms_iou",
    "optimizer.clip_global_norm",
    "schedule.decay_factor",
    "schedule.reference_batch_size",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(value: Any) -> bool:
    return all(map(_is_number, value))


def _is_size(value: Any) -> bool:
    """Whether it is a height and a width of an image."""
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(side, int) and side > 0 for side in value)
    )


def _are_canvases(value: Any) -> bool:
    return len(value) > 0 and all(map(_is_size, value))


def _are_three_numbers(value: Any) -> bool:
    return len(value) == 3 and _are_numbers(value)


#: What a value must be, and how that is written.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "anchors.box_weights": (
        lambda value: len(value) == 4 and _are_numbers(value) and min(value) > 0,
        "four numbers above 0, as (1.0, 1.0, 1.0, 1.0)",
    ),
    "anchors.ratios": (lambda value: len(value) > 0, "at least one, as (0.5, 1.0, 2.0)"),
    "data.bit_depth": (lambda value: value in BIT_DEPTHS, "8, 10, 12, 14 or 16"),
    "data.canvases": (_are_canvases, "heights and widths in pixels, as ((800, 1344), (1344, 800))"),
    "data.resize.scales": (_are_numbers, "numbers, as (0.8, 1.0)"),
    "data.shapes.image_size": (_is_size, "a height and a width in pixels, as (128, 128)"),
    "model.head.prior_probability": (lambda value: 0 < value < 1, "above 0 and below 1"),
    "model.pixel_mean": (_are_three_numbers, "three numbers, of red, green and blue"),
    "model.pixel_std": (
        lambda value: _are_three_numbers(value) and min(value) > 0,
        "three numbers above 0, of red, green and blue",
    ),
    "schedule.decay_at": (_are_numbers, "fractions of the run, as (0.67, 0.92)"),
}


def check_values(config: ml_collections.ConfigDict) -> None:
    """Refuses values that no run can have.

    Raises:
      ConfigError: names the first key, its value and what it must be.
    """
    for key, choices in _CHOICES.items():
        value = _value(config, key)
        if value is not None and value not in choices:
            _refuse(key, value, f"one of {', '.join(choices)}")
    for key, lowest in _AT_LEAST.items():
        value = _value(config, key)
        if value is not None and not value >= lowest:
            _refuse(key, value, f"at least {lowest}")
    for key in _POSITIVE:
        value = _value(config, key)
        if value is not None and not (value > 0 and math.isfinite(value)):
            _refuse(key, value, "above 0")
    for key, (is_right, words) in _RULES.items():
        value = _value(config, key)
        if value is not None and not is_right(value):
            _refuse(key, value, words)
    _check_matcher(config.matcher)
    _check_backend(config.evaluation.backend)


def _value(config: Any, key: str) -> Any:
    """The value of a key with dots, None where there is none."""
    for name in key.split("."):
        if config is None or name not in config:
            return None
        config = config[name]
    return config


def _refuse(key: str, value: Any, words: str) -> None:
    raise ConfigError(f"{key} is {value!r}; it must be {words}.")


def _check_matcher(matcher: ml_collections.ConfigDict) -> None:
    try:
        matching.check_options(
            matcher.foreground_iou, matcher.background_iou, matcher.low_quality, matcher.ignore_iof
        )
    except ValueError as error:
        raise ConfigError(f"config.matcher: {error}") from error


def _check_backend(backend: str) -> None:
    """Without its package the first evaluation would fail, after hours of training."""
    if backend == "faster_coco_eval" and importlib.util.find_spec(backend) is None:
        raise ConfigError(
            "evaluation.backend is 'faster_coco_eval', which is not installed: "
            "pip install 'ioub_jax[train]', or --config.evaluation.backend=pycocotools."
        )
