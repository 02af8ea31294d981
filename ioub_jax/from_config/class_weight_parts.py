"""Class weights from `config.loss.classification.class_weights` and a data set."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from ioub_jax import losses
from ioub_jax.data.sources import Source
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import sampling_parts
from ioub_jax.printing import listed

_KEY = "loss.classification.class_weights"
_BETA_KEY = "effective_number_beta"
# The most classes that a message names.
_MOST_TOLD = 8


def class_weights_of(
    config: Any, source: Source, kept: Mapping[str, float] | None = None
) -> dict[str, float] | None:
    """The weight of each class in the loss, by name; None without weights.

    Args:
      config: the whole configuration.
      source: the training data.
      kept: the weights of a run that has begun; they are returned unchanged.

    Raises:
      ConfigError: the weights do not match the classes of the data.
    """
    chosen = _chosen(config)
    if chosen is None:
        return None
    if kept is not None and list(kept) == list(source.classes):
        return dict(kept)
    if chosen == "effective_number":
        counts = sampling_parts.boxes_of_classes(config, source)
        weights = losses.effective_number_weights(counts, beta=_beta(config))
        return dict(zip(source.classes, weights.tolist(), strict=True))
    values = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    if all(isinstance(value, str) for value in values):
        return _by_name(values, source.classes)
    if len(values) != len(source.classes):
        raise ConfigError(
            f"{_KEY} has {len(values)} numbers for the {len(source.classes)} classes "
            f"{listed(source.classes, _MOST_TOLD)}; give one for each of them in this order, or by "
            f"name, such as {source.classes[0]}=2.0."
        )
    return dict(zip(source.classes, map(float, values), strict=True))


def _chosen(config: Any) -> Any:
    """Returns the configured weights; None if there are none, as in runs of earlier versions."""
    loss = config.get("loss")
    classification = None if loss is None else loss.get("classification")
    chosen = None if classification is None else classification.get("class_weights")
    return None if chosen is None or len(chosen) == 0 else chosen


def _beta(config: Any) -> float:
    return float(config.loss.classification.get(_BETA_KEY, 0.999))


def _by_name(values: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """Parses weights written as name=number; classes that are not named have the weight 1."""
    weights = dict.fromkeys(classes, 1.0)
    named = set()
    for value in values:
        name, _, number = value.rpartition("=")
        if name not in weights:
            near = difflib.get_close_matches(name, classes, 1)
            meant = f", perhaps meant as {near[0]!r}" if near else ""
            raise ConfigError(
                f"{_KEY} names {name!r}{meant}, which is not a class of the training data; its "
                f"classes are {listed(classes, _MOST_TOLD)}."
            )
        if name in named:
            raise ConfigError(f"{_KEY} names {name!r} twice; give each class one weight.")
        named.add(name)
        weights[name] = float(number)
    return weights


def with_class_weights(config: Any, weights: Mapping[str, float] | None) -> Any:
    """The configuration with the weights as numbers for the loss.

    Args:
      config: the whole configuration.
      weights: the weights that `class_weights_of` returned.
    """
    if _chosen(config) is None and weights is None:
        return config
    copied = ml_collections.ConfigDict(config.to_dict())
    classification = copied.loss.classification
    with classification.ignore_type():
        classification.class_weights = None if weights is None else tuple(weights.values())
    return copied


def class_weight_lines(config: Any, weights: Mapping[str, float] | None) -> list[str]:
    """One line with the weights in descending order; no line if there are none."""
    if weights is None:
        return []
    order = sorted(weights, key=lambda name: -weights[name])
    told = [f"{name} {weights[name]:.3g}" for name in order[:_MOST_TOLD]]
    if len(order) > _MOST_TOLD:
        told.append(f"down to {weights[order[-1]]:.3g} for {order[-1]}")
    origin = "by hand"
    if _chosen(config) == "effective_number":
        origin = f"by effective number, beta {_beta(config):g}"
    return [f"Class weights: {', '.join(told)} ({origin})."]
