"""What is told of configurations that are possible, but rarely meant."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_collections

from ioub_jax.configs import keys
from ioub_jax.configs.refusals import Values, flat, shown


class _Use(NamedTuple):
    """When some keys are used.

    Attributes:
      names: the keys.
      deciders: other keys; those that a family does not have decide nothing.
      uses: whether a value of a decider uses the keys; the value of one decider is enough.
    """

    names: tuple[str, ...]
    deciders: tuple[str, ...]
    uses: Callable[[Any], bool]


def _among(*choices: str) -> Callable[[Any], bool]:
    return lambda value: value in choices


def _is_set(value: Any) -> bool:
    return value is not None


def _below(section: str) -> tuple[str, ...]:
    return tuple(key.name for key in keys.KEYS if key.name.startswith(f"{section}."))


_USES = (
    _Use(("optimizer.momentum",), ("optimizer.name",), _among("sgd")),
    _Use(("optimizer.betas",), ("optimizer.name",), _among("adamw", "lion")),
    _Use(("schedule.decay_at", "schedule.decay_factor"), ("schedule.name",), _among("step")),
    _Use(
        ("loss.localization.beta",),
        ("loss.localization.name",),
        _among("smooth_l1", "balanced_l1"),
    ),
    _Use(
        ("loss.localization.carl_k", "loss.localization.carl_bias"),
        ("loss.localization.carl_weight",),
        bool,
    ),
    _Use(
        ("loss.classification.negatives_per_positive",),
        ("loss.classification.name",),
        _among("softmax"),
    ),
    _Use(
        ("loss.classification.isr_p_k", "loss.classification.isr_p_bias"),
        ("loss.classification.isr_p",),
        bool,
    ),
    _Use(
        ("loss.classification.correlation_kind",),
        ("loss.classification.correlation_weight",),
        bool,
    ),
    _Use(
        ("loss.classification.effective_number_beta",),
        ("loss.classification.class_weights",),
        _among("effective_number"),
    ),
    _Use(
        ("loss.quality.weight", "evaluation.score_exponents"),
        ("loss.quality.target",),
        _among("centreness", "iou"),
    ),
    _Use(
        ("data.resize.short_side", "data.resize.long_side"),
        ("data.resize.mode",),
        _among("short_side"),
    ),
    _Use(
        tuple(name for name in _below("data.tiles") if name != "data.tiles.size"),
        ("data.tiles.size",),
        _is_set,
    ),
    _Use(("data.split.seed",), ("data.split.val", "data.split.test"), bool),
    _Use(("data.augmentation.mosaic_scale",), ("data.augmentation.mosaic",), bool),
    _Use(
        ("data.augmentation.rotated_boxes",),
        ("data.augmentation.rotation", "data.augmentation.shear"),
        bool,
    ),
    _Use(
        ("data.augmentation.close_after",),
        tuple(f"data.augmentation.{name}" for name in ("mosaic", "mixup", "copy_paste")),
        bool,
    ),
    *(_Use(_below(f"data.{source}"), ("data.source",), _among(source)) for source in keys.SOURCES),
    _Use(("evaluation.min_delta",), ("evaluation.patience",), _is_set),
    _Use(
        ("evaluation.nms_iou",),
        ("evaluation.suppression",),
        _among("nms", "soft_nms_linear", "weighted_box_fusion"),
    ),
)


#: Classification losses whose scores stay near those of an untrained detector in short runs.
LOW_SCORES = ("rank_and_sort", "bucketed_rank_and_sort")


def warnings(config: ml_collections.ConfigDict) -> list[str]:
    """A sentence for each key without effect, and for a threshold above most scores.

    Args:
      config: the whole configuration, which `refusals.check` has accepted.
    """
    values = flat(config)
    return [*_without_effect(values), *_above_the_scores(values)]


def _above_the_scores(values: Values) -> list[str]:
    """A sentence for a score threshold that leaves out most detections."""
    loss = values.get("loss.classification.name")
    threshold = values.get("evaluation.score_threshold", 0.0)
    if loss not in LOW_SCORES or threshold <= 0.0:
        return []
    return [
        f"loss.classification.name is {shown(loss)}, which orders scores but leaves them low, so "
        f"evaluation.score_threshold={threshold:g} may leave out most detections; set it to 0."
    ]


def _without_effect(values: Values) -> list[str]:
    """A sentence for each key that differs from its default, but has no effect.

    Another key selects what does not use it. Of the hyperparameters of losses, most are refused by
    a loss that does not have them.
    """
    defaults = _defaults(values["model.name"])
    return [
        f"{name} is {shown(values[name])}, which has no effect: {_why(deciders, values)}."
        for use in _USES
        if (deciders := [name for name in use.deciders if name in values])
        if not any(use.uses(values[name]) for name in deciders)
        for name in use.names
        if name in values and _plain(values[name]) != _plain(defaults.get(name, values[name]))
    ]


def _defaults(family: str) -> dict[str, Any]:
    """The name -> default of each key of a family, or of those that all families share."""
    known = family if family in keys.FAMILIES else keys.FAMILIES[0]
    return {name: key.default_of(known) for name, key in keys.of_family(family).items()}


def _plain(value: Any) -> Any:
    """A value as it is in JSON, whose lists are tuples in a configuration."""
    return [_plain(member) for member in value] if isinstance(value, tuple | list) else value


def _why(deciders: list[str], values: Values) -> str:
    return " and ".join(f"{name} is {shown(values[name])}" for name in deciders)
