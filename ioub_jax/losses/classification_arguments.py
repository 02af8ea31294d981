"""Checks of the arguments of classification losses, made while a program is traced."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from ioub_jax.boxes import as_int32
from ioub_jax.losses.argument_checks import check_mask, check_number, check_real


def check_logits(
    logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None, **of_anchors: ArrayLike
) -> None:
    """Refuses labels that are not integers, or not one label for each row of logits.

    Args:
      logits: `[..., C]`.
      labels: `[...]` int.
      where: a mask of the labels; None is skipped.
      **of_anchors: arrays that must have the shape of the labels, by the names of the arguments.

    Raises:
      TypeError: logits are not real, or labels are not integers.
      ValueError: a shape is not that of the logits without their last dimension.
    """
    check_real(logits=logits)
    shape = np.shape(logits)
    if not shape:
        raise ValueError("logits has shape (); it must be [..., C], with a last dimension.")
    as_int32(labels)
    check_shape("labels", labels, shape[:-1], f"one for each row of logits, which has {shape}")
    check_of_labels(labels, where=where, **of_anchors)


def check_of_labels(
    labels: ArrayLike, *, where: ArrayLike | None = None, **of_anchors: ArrayLike
) -> None:
    """Refuses an array that does not have one number, or one flag, for each label.

    Args:
      labels: `[...]` int.
      where: a mask of the labels; None is skipped.
      **of_anchors: arrays by the names of the arguments.

    Raises:
      TypeError: labels are not integers, `where` is not of bools, or another array is not
        of real numbers.
      ValueError: a shape is not that of the labels.
    """
    as_int32(labels)
    masks = {} if where is None else {"where": where}
    check_real(**of_anchors)
    check_mask(**masks)
    for name, array in (of_anchors | masks).items():
        check_shape(name, array, np.shape(labels), "one for each of labels")


def check_shape(name: str, array: ArrayLike, wanted: Sequence[int], why: str) -> None:
    """Refuses an array that has another shape.

    Args:
      name: the name of the argument.
      array: anything with a shape.
      wanted: the required shape.
      why: the end of the message, such as 'one for each of labels'.

    Raises:
      ValueError: the array has another shape.
    """
    found = np.shape(array)
    if found != tuple(wanted):
        raise ValueError(f"{name} has shape {found}; it must be {tuple(wanted)}, {why}.")


def check_class_weights(class_weights: ArrayLike | None, classes: int | None = None) -> None:
    """Refuses weights that are not one number for each class.

    Args:
      class_weights: `[C]`, or None.
      classes: C; None if it is unknown.

    Raises:
      TypeError: the weights are not real numbers.
      ValueError: the weights have another shape, or one is below 0 or not finite.
    """
    if class_weights is None:
        return
    check_real(class_weights=class_weights)
    found = np.shape(class_weights)
    if len(found) != 1 or 0 in found or classes not in (None, found[0]):
        wanted = "[C]" if classes is None else f"({classes},)"
        raise ValueError(
            f"class_weights has shape {found}; it must be {wanted}, one for each class."
        )
    if isinstance(class_weights, jax.core.Tracer):
        return
    known = np.asarray(class_weights)
    if not np.all((known >= 0) & np.isfinite(known)):
        raise ValueError(f"class_weights is {class_weights}; all must be finite and at least 0.")


def check_exponents(**numbers: ArrayLike) -> None:
    """Refuses hyperparameters that are not finite and at least 0; they may be traced.

    Args:
      **numbers: the hyperparameters by the names of the arguments.

    Raises:
      TypeError: a hyperparameter is not a number.
      ValueError: a hyperparameter is below 0 or not finite, or has dimensions.
    """
    for name, number in numbers.items():
        check_number(name, number, at_least=0.0, may_be_traced=True)


def check_shares(**numbers: ArrayLike) -> None:
    """Refuses hyperparameters that are not in 0..1; they may be traced.

    Args:
      **numbers: the hyperparameters by the names of the arguments.

    Raises:
      TypeError: a hyperparameter is not a number.
      ValueError: a hyperparameter is out of its range, or has dimensions.
    """
    for name, number in numbers.items():
        check_number(name, number, at_least=0.0, at_most=1.0, may_be_traced=True)
