"""The check of a configuration: every key by the table of `keys.py`, and keys that go together.

Keys that a configuration does not have, because it is of an earlier version or another family, are
not looked at, nor are those that are not in the table.
"""

import importlib.util
from typing import Any

import ml_collections

from ioub_jax.configs import keys
from ioub_jax.errors import ConfigError

_ABSENT = object()


def check(config: ml_collections.ConfigDict, *, to_train: bool = True) -> None:
    """Refuses what cannot be run, or would be something else than was meant.

    What depends on the data, the devices and the parts that are built is checked where they are.

    Args:
      config: the whole configuration, or some parts of one.
      to_train: whether a run is to be trained with it. What was trained with a schedule that is
        refused today can still be used.

    Raises:
      ConfigError: one sentence that names the first key, its value and what it must be.
    """
    _check_family(config)
    _check_keys(config)
    _check_backend(config)
    _check_matcher(config)
    _check_input_size(config)
    _check_frozen_norms(config)
    if to_train:
        _check_schedule(config)


def check_devices(config: ml_collections.ConfigDict, device_count: int) -> None:
    """Refuses batches that so many devices cannot share.

    Args:
      config: the whole configuration, which `check` has looked at.
      device_count: how many devices there are.

    Raises:
      ConfigError: one sentence that names the key.
    """
    _check_shared("batch_size", config.batch_size, device_count)
    images = config.batch_size // device_count
    parts = _value(config, "runtime.gradient_accumulation")
    if parts is not _ABSENT and images % parts:
        raise ConfigError(
            f"runtime.gradient_accumulation is {parts}, which cannot cut the {images} images of a "
            "device into equal parts; it must divide them."
        )
    _check_shared("evaluation.batch_size", config.evaluation.batch_size, device_count)


def _check_shared(key: str, batch_size: int, device_count: int) -> None:
    if batch_size % device_count:
        raise ConfigError(
            f"{key} is {batch_size}, which {device_count} devices cannot share evenly; make it a "
            "multiple, or set runtime.devices."
        )


# ------------------------------------------------------------------ every key for itself


def _value(config: Any, name: str) -> Any:
    """The value of a key with dots, `_ABSENT` where there is none."""
    for part in name.split("."):
        if not isinstance(config, ml_collections.ConfigDict) or part not in config:
            return _ABSENT
        config = config[part]
    return config


def _values(config: Any, *names: str) -> tuple[Any, ...] | None:
    """The values of several keys, None where one of them is not there."""
    values = tuple(_value(config, name) for name in names)
    return None if any(value is _ABSENT for value in values) else values


def _check_keys(config: Any) -> None:
    family = "ssd" if _value(config, "model.name") == "ssd" else "retinanet"
    for name, key in keys.of_family(family).items():
        value = _value(config, name)
        if value is _ABSENT:
            continue
        must_be = key.must_be.fault(value)
        if must_be is not None:
            raise ConfigError(f"{name} is {value!r}; it must be {must_be}.")


# ------------------------------------------------------------------ keys that go together


def _check_family(config: Any) -> None:
    """Whether an SSD has the keys of one: a RetinaNet does not become one by its name."""
    if _value(config, "model.name") == "ssd" and _value(config, "model.input_size") is _ABSENT:
        raise ConfigError(
            "model.name is 'ssd', but the configuration has the keys of a RetinaNet; start from "
            "ioub_jax/configs/ssd_defaults.py."
        )


def _check_backend(config: Any) -> None:
    """Without its package the first evaluation would fail, after hours of training."""
    backend = _value(config, "evaluation.backend")
    if backend == "faster_coco_eval" and importlib.util.find_spec(backend) is None:
        raise ConfigError(
            "evaluation.backend is 'faster_coco_eval', which is not installed: "
            "pip install 'ioub_jax[train]', or --config.evaluation.backend=pycocotools."
        )


def _check_matcher(config: Any) -> None:
    values = _values(config, "matcher.background_iou", "matcher.foreground_iou")
    if values is not None and values[0] > values[1]:
        raise ConfigError(
            f"config.matcher: background_iou={values[0]} and foreground_iou={values[1]} must "
            "satisfy 0 < background_iou <= foreground_iou <= 1."
        )


def _check_input_size(config: Any) -> None:
    """Whether images have the one size that an SSD is made for."""
    values = _values(config, "model.input_size", "data.canvases", "data.resize.mode")
    if values is None or _value(config, "model.name") != "ssd":
        return
    size, canvases, mode = values
    canvases = tuple(map(tuple, canvases))
    if canvases != ((size, size),) or mode != "stretch":
        raise ConfigError(
            f"model.input_size is {size}, but data.canvases is {canvases} and data.resize.mode "
            f"{mode!r}; an SSD sees every image stretched to one size, so they "
            f"must be (({size}, {size}),) and 'stretch'."
        )


def _check_frozen_norms(config: Any) -> None:
    if _values(config, "model.norm", "model.pretrained", "init_from") == ("frozen_bn", None, None):
        raise ConfigError(
            "model.norm is 'frozen_bn' but model.pretrained and init_from are None: frozen batch "
            "norm keeps the statistics it starts with, so without pretrained weights the network "
            "would not be normalised at all; set one of them, or model.norm to 'batch_norm' or "
            "'group_norm'."
        )


def _check_schedule(config: Any) -> None:
    """Whether the rate reaches its full value, and decays within the run."""
    values = _values(config, "schedule.images", "schedule.warmup_images", "batch_size")
    if values is not None:
        _check_warmup(*values)
    values = _values(config, "schedule.name", "schedule.decay_at")
    if values is not None and values[0] == "step":
        _check_decays(values[1])


def _check_warmup(images: int, warmup_images: int, batch_size: int) -> None:
    total, warmup = -(-images // batch_size), -(-warmup_images // batch_size)
    if warmup >= total:
        raise ConfigError(
            f"schedule.warmup_images is {warmup_images:,} and schedule.images {images:,}, in steps "
            f"of {batch_size:,} images: the warm-up takes the whole run, and the learning rate "
            "never reaches its full value; set "
            f"--config.schedule.warmup_images={total // 10 * batch_size}, or "
            f"--config.schedule.images above {warmup * batch_size}."
        )


def _check_decays(decay_at: tuple[float, ...]) -> None:
    inside = tuple(fraction for fraction in decay_at if 0 < fraction < 1)
    outside = [fraction for fraction in decay_at if not 0 < fraction < 1]
    if outside:
        raise ConfigError(
            f"schedule.decay_at has {outside[0]}, which is no fraction of the run, above 0 and "
            f"below 1; set --config.schedule.decay_at='{inside}', or leave out what is not."
        )
