"""Checks of a configuration: of every key by the table of `keys.py`, and of combinations of keys.

Keys that a configuration does not have, because it is from an earlier version or of another family,
are not checked, and neither are keys that are not in the table.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

import ml_collections

from ioub_jax.configs import keys
from ioub_jax.configs.ssd_boxes import LITE_STRIDES, lite_sizes
from ioub_jax.errors import ConfigError

#: Name with dots -> value.
Values = Mapping[str, Any]

# The input size of an SSDLite to which the defaults of `anchors.sizes` belong.
_LITE_SIZE = 320
# At most this many characters of a value are shown; lists of classes may be longer.
_LONGEST_SHOWN = 200


def check(config: ml_collections.ConfigDict, *, to_train: bool = True) -> None:
    """Refuses a configuration that cannot be run, or would not do what it seems to ask for.

    Properties that depend on the data, the devices or the components of a detector are checked
    where these are opened or built.

    Args:
      config: the whole configuration, or some parts of one.
      to_train: whether a run is to be trained with it. A trained run can be used even if its
        schedule would be refused today.

    Raises:
      ConfigError: names the first key with an error, its value and what the value must be.
    """
    values = flat(config)
    _check_keys(values)
    _check_tiles(values)
    _check_backend(values)
    _check_suppression(values)
    _check_matcher(values)
    _check_frozen_norms(values)
    _check_tail(values)
    _check_channels(values)
    _check_split(values)
    if to_train:
        _check_tiles_of_files(values)
        _check_sizes_of_lite(values)
        _check_coarsest_norms(values)
        _check_pyramid(values)
        _check_quality(values)
        _check_lengths(values)
        _check_schedule(values)


def check_devices(config: ml_collections.ConfigDict, device_count: int) -> None:
    """Refuses batch sizes that cannot be divided among this number of devices.

    Args:
      config: the whole configuration, which `check` has accepted.
      device_count: number of devices.

    Raises:
      ConfigError: a batch cannot be divided; the message names the key.
    """
    values = flat(config)
    _check_shared("batch_size", values, device_count)
    images = values["batch_size"] // device_count
    parts = values.get("runtime.gradient_accumulation", 1)
    if images % parts:
        raise ConfigError(
            f"runtime.gradient_accumulation is {parts}, which does not divide the {images} images "
            "of a device into equal parts; give a divisor."
        )
    _check_shared("evaluation.batch_size", values, device_count)


def _check_shared(key: str, values: Values, device_count: int) -> None:
    batch_size = values[key]
    if batch_size % device_count:
        raise ConfigError(
            f"{key} is {batch_size}, which {device_count} devices cannot share evenly; give a "
            "multiple, or set runtime.devices."
        )


# ------------------------------------------------------------------ single keys


def flat(config: ml_collections.ConfigDict, prefix: str = "") -> Values:
    """The name with dots -> value of every key; a section that is not a ConfigDict is a value."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _values(values: Values, *names: str) -> tuple[Any, ...] | None:
    """The values of several keys, or None if one of them is missing."""
    return tuple(values[name] for name in names) if values.keys() >= set(names) else None


def _check_keys(values: Values) -> None:
    for name, key in keys.of_family(values.get("model.name", keys.FAMILIES[0])).items():
        must_be = key.must_be.fault(values[name]) if name in values else None
        if must_be is not None:
            raise ConfigError(f"{name} is {shown(values[name])}; it must be {must_be}.")


def shown(value: Any) -> str:
    """The representation of a value, shortened if it is long."""
    written = repr(value)
    return written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}..."


# ------------------------------------------------------------------ combinations of keys


def _check_backend(values: Values) -> None:
    """Refuses a backend whose package is missing, which would fail only after hours of training."""
    backend = values.get("evaluation.backend")
    if backend == "faster_coco_eval" and importlib.util.find_spec(backend) is None:
        raise ConfigError(
            "evaluation.backend is 'faster_coco_eval', which is not installed: "
            "pip install 'ioub_jax[train]', or --config.evaluation.backend=pycocotools."
        )


def _check_suppression(values: Values) -> None:
    sigma = values.get("evaluation.soft_nms_sigma")
    method = values.get("evaluation.suppression", "nms")
    if sigma is not None and method != "soft_nms_gaussian":
        raise ConfigError(
            f"evaluation.soft_nms_sigma is {sigma:g}, which evaluation.suppression={method} does "
            "not use; leave it unset, or set --config.evaluation.suppression=soft_nms_gaussian."
        )


def _check_tiles(values: Values) -> None:
    """Refuses an invalid section of tiles, which may have been assigned as a whole."""
    if "data.tiles" in values:
        raise ConfigError(
            f"data.tiles is {values['data.tiles']!r}; it has several keys: set the side of a tile "
            "by --config.data.tiles.size=640, or data.tiles to {'size': 640, 'overlap': 0.2}."
        )
    known = [key.name for key in keys.KEYS if key.name.startswith("data.tiles.")]
    for name in values:
        if name.startswith("data.tiles.") and name not in known:
            raise ConfigError(f"There is no key {name}; the keys are {', '.join(known)}.")


def _check_tiles_of_files(values: Values) -> None:
    if values.get("data.tiles.size") is not None and values.get("data.source") == "shapes":
        raise ConfigError(
            f"data.tiles.size is {values['data.tiles.size']}, but data.source is 'shapes', whose "
            "small images are drawn: tiles are cut from image files, so leave it unset."
        )


def _check_matcher(values: Values) -> None:
    found = _values(values, "matcher.background_iou", "matcher.foreground_iou")
    if found is not None and found[0] > found[1]:
        raise ConfigError(
            f"config.matcher: background_iou={found[0]} and foreground_iou={found[1]} must "
            "satisfy 0 < background_iou <= foreground_iou <= 1."
        )


def _check_frozen_norms(values: Values) -> None:
    if _values(values, "model.norm", "model.pretrained", "init_from") == ("frozen_bn", None, None):
        raise ConfigError(
            "model.norm is 'frozen_bn' but model.pretrained and init_from are None: frozen batch "
            "norm keeps the statistics it starts with, so without pretrained weights the network "
            "would not be normalized at all; set one of them, or model.norm to 'batch_norm' or "
            "'group_norm'."
        )


def _check_tail(values: Values) -> None:
    """Refuses a reduced tail with the weights of a classifier, which have all channels.

    Weights from a file or a run are checked when they are read.
    """
    if _values(values, "model.reduced_tail", "model.pretrained") == (True, "mobilenet_v3_large"):
        raise ConfigError(
            "model.reduced_tail is True, but model.pretrained is 'mobilenet_v3_large', whose last "
            "stage has all its channels; set --config.model.reduced_tail=False, or "
            "--config.model.pretrained=None."
        )


def _check_sizes_of_lite(values: Values) -> None:
    """Refuses the default boxes of an SSDLite of 320 pixels for another input size."""
    found = _values(values, "model.name", "model.input_size", "anchors.sizes")
    if found is None or found[0] != "ssdlite" or found[1] == _LITE_SIZE:
        return
    if tuple(found[2]) == lite_sizes(_LITE_SIZE):
        sizes = ",".join(f"{size:g}" for size in lite_sizes(found[1]))
        raise ConfigError(
            f"model.input_size is {found[1]}, but anchors.sizes are those for {_LITE_SIZE} pixels; "
            f"set --config.anchors.sizes='({sizes})'."
        )


def _check_coarsest_norms(values: Values) -> None:
    """Refuses batches in which a batch norm of the coarsest level would see a single value.

    The variance of a single value is 0, and so would be the running variance used for detection.
    """
    found = _values(values, "batch_size", "model.name", "model.norm")
    if found is None or found[1] != "ssdlite" or found[2] == "group_norm":
        return
    if values.get("model.input_size", 0) > LITE_STRIDES[-1]:
        return
    parts = values.get("runtime.gradient_accumulation", 1)
    if found[0] <= parts:
        raise ConfigError(
            f"batch_size is {found[0]} in {parts} part{'s' * (parts > 1)}, but the coarsest level "
            "of an SSDLite has one cell, so its batch norms would see one value; give a part two "
            "images or more, or set --config.model.norm=group_norm."
        )


def _check_pyramid(values: Values) -> None:
    """Refuses levels of their own for a backbone whose finer features have seen little."""
    found = _values(values, "model.fpn.top_down", "model.backbone")
    if found is not None and not found[0] and not found[1].startswith(("vit_", "dinov2_")):
        raise ConfigError(
            f"model.fpn.top_down is False, but the stages of {found[1]} differ, so that its finest "
            "level would have the features of an early stage only; set "
            "--config.model.fpn.top_down=True, or model.backbone to a ViT, whose levels are made "
            "of the same features."
        )


def _check_quality(values: Values) -> None:
    """Refuses an IoU-aware RetinaNet that does not predict the IoU."""
    found = _values(values, "model.name", "loss.quality.target")
    if found is not None and found[0] == "iou_aware_retinanet" and found[1] != "iou":
        raise ConfigError(
            f"loss.quality.target is {found[1]!r}, but model.name is 'iou_aware_retinanet', which "
            "predicts the IoU; set --config.loss.quality.target=iou, or start from a recipe of "
            "another detector."
        )


def _check_channels(values: Values) -> None:
    """Checks that pixel statistics and color augmentations match the channels of the images."""
    channels = values.get("model.in_channels", 3)
    for name in ("model.pixel_mean", "model.pixel_std"):
        count = len(values.get(name, (0, 0, 0)))
        if count not in (3, channels):
            raise ConfigError(
                f"{name} has {count} numbers, where model.in_channels is {channels}; give "
                f"{channels}, or RGB's three, from which the others are made."
            )
    if channels == 3:
        return
    if values.get("data.augmentation.photometric_distortion"):
        raise ConfigError(
            "data.augmentation.photometric_distortion changes the hue and saturation of RGB, but "
            f"model.in_channels is {channels}; set it to False, and for the brightness "
            "--config.data.augmentation.hsv='(0.0, 0.0, 0.4)'."
        )
    hue, saturation, value = values.get("data.augmentation.hsv", (0.0, 0.0, 0.0))
    if hue or saturation:
        raise ConfigError(
            f"data.augmentation.hsv changes the hue and saturation of RGB, but model.in_channels "
            f"is {channels}; set --config.data.augmentation.hsv='(0.0, 0.0, {value})'."
        )


def _check_split(values: Values) -> None:
    """Checks that images are left to train on, and that all options of the split are known."""
    known = {"data.split.val", "data.split.test", "data.split.seed"}
    for name, value in values.items():
        if name == "data.split" or (name.startswith("data.split.") and name not in known):
            raise ConfigError(
                f"{name} is {value!r}, but data.split has only the keys val, test and seed; images "
                "that are not held out are used for training."
            )
    held = {name: values.get(name, 0.0) for name in ("data.split.val", "data.split.test")}
    if sum(held.values()) >= 1:
        words = " and ".join(f"{name} is {share:g}" for name, share in held.items())
        raise ConfigError(f"{words}, which leaves no images to train on; give smaller shares.")


#: Pairs of keys for the same length, the first in images and the second in epochs.
LENGTHS = (
    ("schedule.images", "schedule.epochs"),
    ("schedule.warmup_images", "schedule.warmup_epochs"),
    ("evaluation.every_images", "evaluation.every_epochs"),
)


def _check_lengths(values: Values) -> None:
    """Checks that each length is given once, in images or in epochs."""
    for in_images, in_epochs in LENGTHS:
        if in_images not in values:
            continue
        images, epochs = values[in_images], values.get(in_epochs)
        if images is None and epochs is None:
            raise ConfigError(f"{in_images} and {in_epochs} are None; set one of them.")
        if images is not None and epochs is not None:
            raise ConfigError(
                f"{in_images} is {images:,} and {in_epochs} {epochs:g}, but only one of them can "
                f"set the length; set --config.{in_images}=None or --config.{in_epochs}=None."
            )


def _check_schedule(values: Values) -> None:
    """Checks that the learning rate reaches its full value, and decays within the run."""
    found = _values(values, "schedule.images", "schedule.warmup_images", "batch_size")
    if found is not None and None not in found:  # lengths in epochs are checked with the data
        check_warmup(*found)
    found = _values(values, "schedule.name", "schedule.decay_at")
    if found is not None and found[0] == "step":
        _check_decays(found[1])


def check_warmup(images: int, warmup_images: int, batch_size: int) -> None:
    """Refuses a warm-up that takes the whole run; lengths are in images.

    Raises:
      ConfigError: the warm-up takes the whole run.
    """
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
            f"schedule.decay_at has {outside[0]}, which is not a fraction of the run, above 0 and "
            f"below 1; set --config.schedule.decay_at='{inside}', or leave it out."
        )
