"""Losses on boxes by name: the penalties added to 1 - IoU, and the factor of the sum."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax import boxes as box_ops
from ioub_jax.losses import box_pairs
from ioub_jax.losses.argument_checks import check_number, check_real
from ioub_jax.losses.box_pairs import BoxPairs

#: Defaults of the hyperparameters of `iou_loss`. The image size has no default: it must be given.
DEFAULTS: Mapping[str, Any] = {
    "gamma": 0.5,
    "theta": 4.0,
    "scale": 0.0,
    "piou_lambda": 1.3,
    "image_size": None,
}

_Numbers = Mapping[str, Any]


class _Kind(NamedTuple):
    """A kind of loss.

    Attributes:
      penalties: function from pairs and hyperparameters to the terms added to 1 - IoU.
      factor: function from pairs and hyperparameters to the factor of the sum; None for 1.
      takes: the names of the hyperparameters of the kind.
    """

    penalties: Callable[[BoxPairs, _Numbers], tuple[jax.Array, ...]]
    factor: Callable[[BoxPairs, _Numbers], jax.Array] | None = None
    takes: tuple[str, ...] = ()


class Formula(NamedTuple):
    """A kind with its hyperparameters."""

    kind: _Kind
    numbers: _Numbers

    def penalties(self, pairs: BoxPairs) -> tuple[jax.Array, ...]:
        """Penalties added to 1 - IoU, each `[...]` and at least 0."""
        return self.kind.penalties(pairs, self.numbers)

    def factor(self, pairs: BoxPairs) -> jax.Array | None:
        """Factor of the sum, `[...]`, or None if there is none."""
        return None if self.kind.factor is None else self.kind.factor(pairs, self.numbers)


def formula_of(kind: str, **hyper_parameters: Any) -> Formula:
    """Formula of a kind with its hyperparameters.

    Args:
      kind: the name.
      **hyper_parameters: the values of all hyperparameters by the names in `DEFAULTS`; an image
        size of None is not given.

    Raises:
      TypeError: a hyperparameter is not a number.
      ValueError: there is no such kind, a number is out of its range, or a hyperparameter that the
        kind does not have is not at its default.
    """
    check_kind(kind)
    check_taken(kind, hyper_parameters)
    numbers = {name: hyper_parameters[name] for name in KINDS[kind].takes}
    for name, value in numbers.items():
        check_hyper_parameter(name, value)
    return Formula(KINDS[kind], numbers)


def check_kind(kind: str) -> None:
    """Refuses a kind that `iou_loss` does not know.

    Raises:
      ValueError: there is no such kind.
    """
    if kind in ("wiou", "wiou_v2", "wiou_v3"):
        raise ValueError(
            f"{kind!r} has a running mean, which iou_loss does not have: use wise_iou_loss, or "
            "'wiou_v1' here."
        )
    if kind == "nwd":
        raise ValueError("'nwd' is not a kind of iou_loss: use normalized_wasserstein_distance.")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"iou_loss knows the kinds {', '.join(KINDS)}, not {kind!r}.")


def check_taken(kind: str, hyper_parameters: Mapping[str, Any]) -> None:
    """Refuses hyperparameters that are set although the kind does not have them.

    Raises:
      ValueError: a hyperparameter is set that the kind does not have.
    """
    for name, value in hyper_parameters.items():
        default = DEFAULTS[name]
        if name != "image_size" and isinstance(value, jax.Array | np.ndarray):
            check_number(name, value)
        is_set = value is not None if default is None else value is not default and value != default
        if is_set and name not in KINDS[kind].takes:
            having = ", ".join(repr(other) for other, each in KINDS.items() if name in each.takes)
            raise ValueError(
                f"{name} is {value}, but the kind {kind!r} has none; leave it at {default}, or "
                f"take {having}."
            )


def check_hyper_parameter(name: str, value: Any) -> None:
    """Refuses a hyperparameter that is not in its range.

    Raises:
      TypeError: the value is not a number.
      ValueError: the value is out of its range.
    """
    if name == "image_size":
        _check_image_size(value)
    elif name == "theta":
        check_number(name, value, at_least=1)
    elif name == "piou_lambda":
        check_number(name, value, above=0)
    else:
        check_number(name, value, at_least=0)


def check_focaler(interval: Sequence[float]) -> None:
    """Refuses a `focaler` that is not an interval within 0 and 1.

    Raises:
      TypeError: the ends of the interval are not numbers.
      ValueError: it is not an interval within 0 and 1.
    """
    if isinstance(interval, jax.Array | np.ndarray) and not isinstance(interval, jax.core.Tracer):
        interval = np.asarray(interval).tolist()
    if not isinstance(interval, Sequence) or isinstance(interval, str) or len(interval) != 2:
        raise ValueError(f"focaler is {interval!r}; it must be two numbers, d and u.")
    for end in interval:
        check_number("focaler", end, at_least=0, at_most=1)
    if not interval[0] < interval[1]:
        raise ValueError(f"focaler is {tuple(interval)}; d must be below u.")


def _check_image_size(size: Any) -> None:
    if size is None:
        raise ValueError(
            "image_size is not given; 'mpdiou' needs the height and the width of the images, in "
            "pixels."
        )
    check_real(image_size=size)
    shape = np.shape(size)
    if not shape or shape[-1] != 2:
        raise ValueError(f"image_size has shape {shape}; it must be [..., 2]: height and width.")
    known = None if isinstance(size, jax.core.Tracer) else np.asarray(size)
    if known is not None and not np.all((known > 0) & np.isfinite(known)):
        raise ValueError(f"image_size is {size}; both numbers must be finite and above 0.")


def _of_centers(pairs: BoxPairs) -> jax.Array:
    return box_ops.center_distance_penalty(pairs.boxes, pairs.targets)


def _eiou(pairs: BoxPairs, numbers: _Numbers) -> tuple[jax.Array, ...]:
    return _of_centers(pairs), box_pairs.of_width(pairs), box_pairs.of_height(pairs)


def _focus(pairs: BoxPairs, numbers: _Numbers) -> jax.Array:
    iou = jax.lax.stop_gradient(box_ops.aligned_iou(pairs.boxes, pairs.targets))
    return box_pairs.power_or_zero(iou, numbers["gamma"])


def _mpdiou(pairs: BoxPairs, numbers: _Numbers) -> tuple[jax.Array, ...]:
    size = jnp.asarray(numbers["image_size"]).astype(pairs.boxes.dtype)
    return box_pairs.of_corners(pairs, jnp.sum(jnp.square(size), axis=-1))


def _piou(pairs: BoxPairs, numbers: _Numbers) -> tuple[jax.Array, ...]:
    return (-jnp.expm1(-jnp.square(box_pairs.mean_edge_distance(pairs))),)


#: Name -> kind.
KINDS: Mapping[str, _Kind] = {
    "iou": _Kind(lambda pairs, _: ()),
    "giou": _Kind(lambda pairs, _: (box_ops.hull_penalty(pairs.boxes, pairs.targets),)),
    "diou": _Kind(lambda pairs, _: (_of_centers(pairs),)),
    "ciou": _Kind(
        lambda pairs, _: (
            _of_centers(pairs),
            box_ops.aspect_ratio_penalty(pairs.boxes, pairs.targets),
        )
    ),
    "eiou": _Kind(_eiou),
    "focal_eiou": _Kind(_eiou, _focus, ("gamma",)),
    "siou": _Kind(
        lambda pairs, numbers: (
            box_pairs.of_angle_and_distance(pairs),
            box_pairs.of_shape(pairs, numbers["theta"]),
        ),
        takes=("theta",),
    ),
    "mpdiou": _Kind(_mpdiou, takes=("image_size",)),
    "wiou_v1": _Kind(lambda pairs, _: (), lambda pairs, _: box_pairs.pull_of_centers(pairs)),
    "shape_iou": _Kind(
        lambda pairs, numbers: (
            box_pairs.of_weighed_distance(pairs, numbers["scale"]),
            box_pairs.of_weighed_shape(pairs, numbers["scale"], numbers["theta"]),
        ),
        takes=("scale", "theta"),
    ),
    "piou": _Kind(_piou),
    "piou2": _Kind(
        _piou,
        lambda pairs, numbers: box_pairs.attention(
            box_pairs.mean_edge_distance(pairs), numbers["piou_lambda"]
        ),
        ("piou_lambda",),
    ),
}
