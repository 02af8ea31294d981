"""A run's configuration as JSON in the workdir, and the keys that may change on resume."""

import functools
import json
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from ioub_jax import files
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoint_folders

logger = logging.getLogger("ioub_jax")

#: The parts of a configuration that may be changed when a trained run is used.
CHANGEABLE = ("data", "evaluation", "runtime")


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The configuration as plain nested dicts for JSON, tuples as lists."""
    return as_json(config.to_dict())


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts as they come back from a JSON file: tuples as lists."""
    copied: dict[str, Any] = json.loads(json.dumps(values))
    return copied


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value


def from_dict(values: dict[str, Any]) -> ml_collections.FrozenConfigDict:
    """The inverse of `to_dict`; sequences come back as tuples."""
    return ml_collections.FrozenConfigDict(_with_tuples(values))


# Keys that say where the training data is stored. Its content is identified by its fingerprint
# (`resumption`). Validation and test data may be any data with the run's classes.
_WHERE_DATA_LIES = re.compile(
    r"data\.\w+\.(root|data_dir|cache|\w*folders?|\w*images|\w*annotations|num_val|(val|test)_\w+)"
)
_LABELS = re.compile(r"data\.\w+\.classes")
# Keys that runs of earlier versions lack, with the values that describe what those versions did.
_ADDED = {
    "matcher.name": "iou",
    "matcher.topk": 9,
    "matcher.center_radius": 1.5,
    "matcher.size_ranges": None,
    "matcher.center_rule": "authors",
    "loss.localization.instance_weights": "none",
    "model.in_channels": 3,
    "model.norm_momentum": 0.9,
    "model.fpn.top_down": True,
    "data.exif": "ignore",
    "data.bit_depth": None,
    "data.voc.pixels": None,
    "data.voc.unannotated": "problem",
    "data.yolo.train_split": "train",
    "data.yolo.classes": None,
    "data.tiles.size": None,
    "data.tiles.overlap": 0.2,
    "data.tiles.visibility": 0.5,
    "data.tiles.zoom": 1.0,
    "data.tiles.keep_empty": 0.1,
    "evaluation.coco_detections": 100,
    "evaluation.average_classes": [],
    "data.augmentation.rotation": 0.0,
    "data.augmentation.affine_scale": [1.0, 1.0],
    "data.augmentation.translation": 0.0,
    "data.augmentation.shear": 0.0,
    "data.augmentation.rotated_boxes": "ellipse",
    "data.augmentation.hsv": [0.0, 0.0, 0.0],
    "data.augmentation.blur": 0.0,
    "data.augmentation.cutout": 0.0,
    "data.augmentation.mosaic": 0.0,
    "data.augmentation.mosaic_scale": [0.5, 1.5],
    "data.augmentation.mixup": 0.0,
    "data.augmentation.copy_paste": 0.0,
    "data.augmentation.close_after": 0.9,
    "data.augmentation.min_visibility": 0.25,
    "data.repeat_threshold": None,
    "data.split.val": 0.0,
    "data.split.test": 0.0,
    "data.split.seed": 0,
    "evaluation.patience": None,
    "evaluation.min_delta": 0.0,
    "evaluation.every_epochs": None,
    "evaluation.suppression": "nms",
    "evaluation.soft_nms_sigma": None,
    "evaluation.class_agnostic": False,
    "schedule.epochs": None,
    "schedule.warmup_epochs": None,
    "loss.classification.class_weights": None,
    "loss.classification.effective_number_beta": 0.999,
    "matcher.similarity": "iou",
    "matcher.nwd_constant": 12.8,
    "loss.localization.inner": None,
    "loss.localization.focaler": None,
    "loss.localization.gamma": 0.5,
    "loss.localization.theta": 4.0,
    "loss.localization.scale": 0.0,
    "loss.localization.piou_lambda": 1.3,
    "loss.localization.nwd_constant": 12.8,
    "loss.localization.wiou_momentum": 0.01,
    "loss.localization.wiou_alpha": 1.7,
    "loss.localization.wiou_delta": 2.7,
    "loss.classification.delta": None,
    "loss.classification.bins": 10,
    "loss.classification.correlation_weight": 0.0,
    "loss.classification.correlation_kind": "concordance",
    "optimizer.name": "sgd",
    "optimizer.betas": None,
    "optimizer.backbone_factor": 1.0,
    "optimizer.layer_decay": 1.0,
}
# Numbers that None stands for, and which earlier versions wrote out: for every loss of a part, also
# for those that have no such number, but for the losses that were published with another one.
_PUBLISHED: tuple[tuple[str, str, float, dict[str, float]], ...] = (
    ("classification", "alpha", 0.25, {"varifocal": 0.75}),
    ("classification", "gamma", 2.0, {"mal": 1.5}),
    ("localization", "beta", 0.11, {"balanced_l1": 1.0}),
)
# Keys that leave to the files what earlier versions fixed for all data sets.
_PIXELS, _LEFT_OPEN = "data.voc.pixels", ("data.voc.pixels", "data.voc.unannotated")
# The length of a run, in either unit.
_LENGTH = ("schedule.images", "schedule.epochs")
#: Keys that change neither the training nor its metrics.
SAME_RESULTS = {
    "evaluation.batch_size",
    "evaluation.backend",
    "evaluation.losses",
    "evaluation.pictures",
}
# Keys that only check the data and do not change the training.
_CHECKS = ("data.allow_empty_classes", "data.allow_same_images")


def differing_keys(
    old: dict[str, Any], new: dict[str, Any], *, evaluated: bool = False
) -> list[str]:
    """Keys whose differences forbid resuming a run of the configuration `old` with `new`.

    `runtime.*`, `evaluation.*`, the length of the run (`schedule.images`, `schedule.epochs`) and
    the location of the data may change.

    Args:
      old: the configuration of the run, as `to_dict` returns it.
      new: the configuration to resume it with.
      evaluated: whether the result must stay the same. Then `evaluation.*` and the length may not
        change, except that a run may become longer.

    Returns:
      One 'key: old -> new' for each difference, sorted.
    """
    from flax import traverse_util  # imports jax, and every command imports this module

    before, after = (
        _ADDED | traverse_util.flatten_dict(_with_keys_of_today(values), sep=".")
        for values in (old, new)
    )
    missing = object()
    differences = []
    for key in sorted(before.keys() | after.keys()):
        first, second = before.get(key, missing), after.get(key, missing)
        if first == second or key.startswith("runtime.") or key in _CHECKS:
            continue
        if _WHERE_DATA_LIES.fullmatch(key):
            continue
        if key in _LEFT_OPEN and second is None:
            continue
        # `pixel_convention` knows which convention the run has used.
        if key == _PIXELS and first is None and not evaluated:
            continue
        if evaluated and key in SAME_RESULTS:
            continue
        if not evaluated and (key.startswith("evaluation.") or key in _LENGTH):
            continue
        if key in _LENGTH and _is_longer(first, second):
            continue
        shown = ["absent" if value is missing else repr(value) for value in (first, second)]
        differences.append(f"{key}: {shown[0]} -> {shown[1]}")
    return differences


def _with_keys_of_today(values: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration of an earlier version with the current keys of the same meaning."""
    values = _with_published_numbers(values)
    voc = values.get("data", {}).get("voc", {})
    if "one_based" not in voc:
        return values
    others = {key: value for key, value in voc.items() if key != "one_based"}
    pixels = "devkit" if voc["one_based"] else "zero_based"
    return values | {"data": values["data"] | {"voc": {"pixels": pixels} | others}}


def _with_published_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration with None for the numbers of a loss that are the published ones."""
    loss = dict(values.get("loss", {}))
    for part, key, number, others in _PUBLISHED:
        of_part = loss.get(part, {})
        if of_part.get(key) == others.get(of_part.get("name"), number):
            loss[part] = of_part | {key: None}
    return values | {"loss": loss} if loss else values


def _is_longer(before: Any, now: Any) -> bool:
    """True if a length in one unit has grown; a length in the other unit is None."""
    return all(isinstance(length, int | float) for length in (before, now)) and now > before


def is_to_be_longer(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """True if `new` has a longer run than `old`; both are as `to_dict` returns them."""
    schedules = [values["schedule"] for values in (old, new)]
    lengths = [[schedule.get(key.partition(".")[2]) for schedule in schedules] for key in _LENGTH]
    return any(_is_longer(*pair) for pair in lengths)


def check_workdir(
    workdir: pathlib.Path, settings: dict[str, Any], *, evaluated: bool = False
) -> None:
    """Checks that a workdir is new or holds the run of a configuration.

    Args:
      workdir: the run's folder.
      settings: the configuration, as `to_dict` returns it.
      evaluated: as in `differing_keys`.

    Raises:
      ConfigError: the workdir has a run with another configuration.
    """
    stored = read_stored(workdir)
    if stored is None:
        return
    differences = differing_keys(stored, settings, evaluated=evaluated)
    if (workdir / "classes.json").exists():  # it determines the labels, whatever is configured
        differences = [line for line in differences if not _LABELS.match(line)]
    if differences:
        raise ConfigError(
            f"{workdir} has a run with another configuration ({'; '.join(differences)}); "
            "choose another --workdir, or resume with its original configuration."
        )


def claim_workdir(workdir: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes `config.json` into the workdir, or checks that the run there has this configuration.

    Raises:
      ConfigError: the workdir has a run with another configuration.
    """
    check_workdir(workdir, settings)
    files.check_can_write(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(workdir / "config.json", settings, indent=2)


def read_stored(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The configuration of the run in a workdir, or None.

    If `config.json` is missing or broken, the configuration in the newest checkpoint is read
    instead. A configuration of an earlier version is returned with the current keys.

    Raises:
      ConfigError: the file is broken, and there is no checkpoint.
    """
    stored = _read_as_stored(workdir)
    return stored if stored is None else _with_keys_of_today(stored)


def _read_as_stored(workdir: pathlib.Path) -> dict[str, Any] | None:
    path, broken = workdir / "config.json", None
    if path.exists():
        try:
            return _read_configuration(path)
        except ConfigError as error:
            broken = error
    stored = checkpoint_folders.stored_configuration(workdir)
    if stored is not None:
        _tell_of_lost(path, "broken" if broken else "gone")
    elif broken:
        raise broken
    return stored


def _read_configuration(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file, and checks that it can be a configuration."""
    content: dict[str, Any] = read_json(path)
    try:
        from_dict(_with_keys_of_today(content))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a configuration ({' '.join(str(error).split())}); put back what ioub "
            "train wrote."
        ) from None
    return content


@functools.cache  # warns once, however often the configuration is read
def _tell_of_lost(path: pathlib.Path, what: str) -> None:
    logger.warning("%s is %s: the configuration is taken from the newest checkpoint.", path, what)


def read_json(path: pathlib.Path) -> Any:
    """Contents of a JSON file of a workdir.

    Raises:
      ConfigError: the file is broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}); restore the original file.") from None


def read_workdir(workdir: pathlib.Path) -> ml_collections.FrozenConfigDict:
    """The configuration of the run in a workdir.

    Raises:
      ConfigError: the workdir has no run.
    """
    stored = read_stored(workdir)
    if stored is None:
        raise ConfigError(
            f"{workdir} has no run (no config.json); give the --workdir that ioub train wrote."
        )
    return from_dict(stored)


def is_optional(node: ml_collections.ConfigDict, key: str) -> bool:
    """True if a key of a part of a configuration is a placeholder, so that it may be None."""
    field = dict(node.items(preserve_field_references=True))[key]
    # A field of type object is no placeholder: it accepts both strings and tuples.
    return isinstance(field, config_dict.FieldReference) and field.get_type() is not object


def with_changes(
    config: ml_collections.FrozenConfigDict, changes: Mapping[str, Any]
) -> ml_collections.FrozenConfigDict:
    """A run's configuration with other values for some keys, to use the run on other data.

    Args:
      config: the run's configuration, as `read_workdir` returns it.
      changes: key with dots -> value. The keys belong to `data`, `evaluation` or `runtime`; the
        rest of the configuration was fixed by the training. A key that the configuration of an
        earlier version lacks is added.

    Raises:
      ConfigError: a key belongs to another part.
    """
    for key in changes:
        if key.split(".")[0] not in CHANGEABLE:
            raise ConfigError(
                f"{key} was fixed by the training; only keys of "
                f"{', '.join(CHANGEABLE)} can be changed."
            )
    from flax import traverse_util  # as in `differing_keys`

    values = traverse_util.flatten_dict(config.to_dict(), keep_empty_nodes=True, sep=".")
    return from_dict(traverse_util.unflatten_dict(values | changes, sep="."))
