"""A RetinaNet's configuration, in which every key has its default; the table is `keys.py`.

The recipes start from these defaults.
"""

import ml_collections
from ml_collections import config_dict

from ioub_jax.configs import keys
from ioub_jax.configs.arms import ARMS
from ioub_jax.errors import ConfigError

__all__ = ["ARMS", "arms_of", "get_config", "halve_sizes", "make_small", "of_family", "set_arm"]

# Half of the size ranges in the paper on FCOS.
_HALF_RANGES = ((0.0, 32.0), (32.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 1e8))


def get_config(arm: str = "both") -> ml_collections.ConfigDict:
    """RetinaNet with the losses of an arm: one of baseline, cls, loc, both, loc_weight_only."""
    return of_family("retinanet", arm)


def of_family(family: str, arm: str) -> ml_collections.ConfigDict:
    """The defaults of a family of detectors, with the losses of an arm.

    Args:
      family: one of `keys.FAMILIES`.
      arm: one of `ARMS`.

    Raises:
      ValueError: there is no such arm.
    """
    if arm not in ARMS:
        raise ValueError(f"Unknown arm {arm!r}; it must be one of {', '.join(ARMS)}.")
    config = ml_collections.ConfigDict()
    for name, key in keys.of_family(family).items():
        *path, last = name.split(".")
        node = config
        for part in path:
            if part not in node:
                node[part] = ml_collections.ConfigDict()
            node = node[part]
        node[last] = _value(key, family)
    set_arm(config, arm)
    return config


def _value(key: keys.Key, family: str) -> object:
    default = key.default_of(family)
    if not key.must_be.optional and key.must_be.kind is not object:
        return default
    # A key that may be None, or may have one of several types, needs a placeholder with the type of
    # its possible values.
    value = config_dict.placeholder(key.must_be.kind)
    value.set(default)
    return value


def set_arm(config: ml_collections.ConfigDict, arm: str) -> None:
    """Sets the losses of a configuration to those of an arm; other keys stay unchanged.

    Raises:
      ConfigError: the arm is the control of a measured w_loc, but the family has none.
    """
    eta, lambda_, measured = ARMS[arm]
    if arm not in arms_of(config):
        raise ConfigError(
            f"The arm {arm!r} is the control of a measured w_loc, but model.name is "
            f"{config.model.name!r}, whose weights are normalized in every batch and keep the sum "
            "of the loss: their control is the arm 'baseline'."
        )
    classification = config.loss.classification
    # GFL's loss has the IoU as target and takes no weights, so an arm with weights replaces it.
    if eta != 0 and classification.name == "quality_focal":
        classification.name = "focal"
    elif eta == 0 and classification.eta != 0 and classification.name == "focal":
        classification.name = _default_in(config, "loss.classification.name") or "focal"
    classification.eta = eta
    localization = config.loss.localization
    localization.lambda_ = lambda_
    localization.w_loc = None if measured else 1.0
    localization.calibration_lambda = 1.5 if measured and lambda_ == 0.0 else None
    if localization.calibration_lambda is not None:
        localization.dynamic = False  # w_loc is not measured if every batch is normalized


def arms_of(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The arms that make sense for the family of a configuration."""
    is_dynamic = _default_in(config, "loss.localization.dynamic")
    return tuple(arm for arm in ARMS if not (arm == "loc_weight_only" and is_dynamic))


def _default_in(config: ml_collections.ConfigDict, name: str) -> object:
    """Returns the default of a key in the family of a configuration; None if it has none."""
    key = keys.of_family(config.model.name).get(name)
    return None if key is None else key.default_of(config.model.name)


def make_small(model: ml_collections.ConfigDict, *, width: int, channels: int) -> None:
    """Turns `config.model` into a narrow ResNet-18 that can be trained from scratch on a CPU."""
    model.update({"backbone": "resnet18", "width": width})
    model.fpn.update({"channels": channels, "norm": "group_norm"})
    model.head.update({"width": channels, "depth": 2, "norm": "group_norm"})


def halve_sizes(config: ml_collections.ConfigDict) -> None:
    """Halves the sizes of objects that each level learns, which are chosen for COCO."""
    if config.matcher.name == "fcos":
        config.matcher.size_ranges = _HALF_RANGES  # FCOS' anchors only set the unit of distances
    else:
        config.anchors.base_scale /= 2
