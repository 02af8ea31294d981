"""Checks of the arguments of losses, made while a program is traced, at no cost at run time."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# Also for Python's integers, which may be too large to be converted.
_LARGEST = sys.float_info.max


def check_real(**arrays: ArrayLike) -> None:
    """Refuses arrays that are not of real numbers.

    Args:
      **arrays: the arrays by the names of the arguments.

    Raises:
      TypeError: an array is of bools, complex numbers, strings or objects.
    """
    for name, array in arrays.items():
        dtype = _dtype_of(array)
        if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
            raise TypeError(f"{name} is of {dtype}; it must be of real numbers, such as float32.")


def check_mask(**masks: ArrayLike) -> None:
    """Refuses masks that are not of bools: integers would select or weight something else.

    Args:
      **masks: the masks by the names of the arguments.

    Raises:
      TypeError: a mask is not of bools.
    """
    for name, mask in masks.items():
        dtype = _dtype_of(mask)
        if not (dtype == np.bool_ or np.size(mask) == 0):
            raise TypeError(
                f"{name} is of {dtype}; it must be of bools, such as labels >= 0 for positives."
            )


def check_alike(**arrays: ArrayLike) -> None:
    """Refuses arrays that are not of real numbers or do not broadcast against the first one.

    It also refuses `[n, 1]` together with `[n]`, which would broadcast to a table `[n, n]` of all
    pairs. For such a table, give both arrays the same number of dimensions, `[n, 1]` and `[1, n]`.

    Args:
      **arrays: the arrays by the names of the arguments.

    Raises:
      TypeError: an array is not of real numbers.
      ValueError: two shapes are incompatible.
    """
    check_real(**arrays)
    (first, shape), *others = ((name, np.shape(array)) for name, array in arrays.items())
    for name, other in others:
        if not _broadcast(shape, other):
            raise ValueError(
                f"{name} has shape {other}; it must be that of {first}, {shape}, or broadcast to "
                "it."
            )
        table = np.broadcast_shapes(shape, other)
        if len(shape) != len(other) and table not in (shape, other):
            raise ValueError(
                f"{name} has shape {other} and {first} {shape}, which would be broadcast to "
                f"{table}, every one with every other; give both the same shape."
            )


def check_boxes(**boxes: ArrayLike) -> None:
    """Refuses arrays that are not boxes `[..., 4]`, or not pairs of boxes.

    Args:
      **boxes: the arrays by the names of the arguments.

    Raises:
      TypeError: an array is not of real numbers.
      ValueError: a last dimension is not 4, or two shapes are incompatible.
    """
    check_real(**boxes)
    for name, array in boxes.items():
        shape = np.shape(array)
        if not shape or shape[-1] != 4:
            raise ValueError(
                f"{name} has shape {shape}; it must be [..., 4]: xmin, ymin, xmax, ymax of each "
                "box."
            )
    check_alike(**boxes)


def check_of_each(boxes: str, shape: Sequence[int], **scalars: ArrayLike) -> None:
    """Refuses an array that does not have one number, or one flag, for each box.

    Args:
      boxes: the name of the argument with the boxes.
      shape: the shape of the boxes, `[..., 4]`.
      **scalars: the arrays by the names of the arguments.

    Raises:
      ValueError: the boxes have no dimension, or a shape does not broadcast to that of the boxes
        without its last one.
    """
    if not shape:
        raise ValueError(f"{boxes} has shape (); it must be [..., 4]: the deltas of each box.")
    why = f"one for each box of {boxes}, which has shape {tuple(shape)}"
    check_broadcasts(shape[:-1], why, **scalars)


def check_broadcasts(
    wanted: Sequence[int], why: str, **arrays: ArrayLike | Sequence[float]
) -> None:
    """Refuses an array that does not broadcast to a shape.

    Args:
      wanted: the shape.
      why: the end of the message, such as 'one for each of ious'.
      **arrays: the arrays by the names of the arguments.

    Raises:
      ValueError: a shape does not broadcast to the wanted one.
    """
    wanted = tuple(wanted)
    for name, array in arrays.items():
        found = np.shape(array)
        if not _broadcast(wanted, found) or np.broadcast_shapes(wanted, found) != wanted:
            raise ValueError(f"{name} has shape {found}; it must be {wanted}, {why}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
    may_be_traced: bool = False,
) -> None:
    """Refuses a hyperparameter that is not a finite number in its range.

    Args:
      name: the name of the argument.
      value: a number, or an array without dimensions.
      above: exclusive lower bound.
      at_least: inclusive lower bound.
      below: exclusive upper bound.
      at_most: inclusive upper bound.
      may_be_traced: True to also accept a traced number, whose value is unknown.

    Raises:
      TypeError: the value is not a number, or is traced although it may not be.
      ValueError: the value is out of range, or an array with dimensions.
    """
    if isinstance(value, jax.Array | np.ndarray):
        if np.shape(value) != ():
            raise ValueError(f"{name} has shape {np.shape(value)}; it must be one number.")
        check_real(**{name: value})
        if isinstance(value, jax.core.Tracer):
            if may_be_traced:
                return
            raise TypeError(
                f"{name} is traced; it must be a number that is known before compilation."
            )
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{name} is {value!r}; it must be a number.")
    if not (
        above < value < below and at_least <= value <= at_most and -_LARGEST <= value <= _LARGEST
    ):
        words = [
            f"{word} {limit:g}"
            for word, limit in (
                *(("above", above), ("at least", at_least)),
                *(("below", below), ("at most", at_most)),
            )
            if math.isfinite(limit)
        ]
        raise ValueError(f"{name} is {value}; it must be {' and '.join(words) or 'finite'}.")


def check_flag(name: str, value: Any) -> None:
    """Refuses an option that is neither True nor False.

    Raises:
      TypeError: the option is not a bool.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be True or False.")


def check_axis(axis: Any, name: str, shape: Sequence[int]) -> None:
    """Refuses axes that an array does not have.

    Args:
      axis: a number, several numbers, or None for all axes.
      name: the argument whose axes they are.
      shape: its shape.

    Raises:
      TypeError: an axis is not a whole number.
      ValueError: an axis is out of range, or given twice.
    """
    if axis is None:
        return
    rank = len(shape)
    given = list(axis) if isinstance(axis, Sequence) and not isinstance(axis, str) else [axis]
    for number in given:
        if not isinstance(number, int | np.integer) or isinstance(number, bool):
            raise TypeError(f"axis is {axis!r}; it must be a number, several numbers or None.")
        if not -rank <= number < rank:
            have = f"the axes 0 to {rank - 1}" if rank else "no axis"
            raise ValueError(f"axis is {axis!r}; {name} has shape {tuple(shape)}, so {have}.")
    if len({number % rank for number in given}) < len(given):
        raise ValueError(f"axis is {axis!r}, which has an axis twice.")


def _dtype_of(array: ArrayLike) -> np.dtype:
    try:
        return np.dtype(getattr(array, "dtype", None) or np.asarray(array).dtype)
    except (TypeError, ValueError):  # such as a list with rows of different lengths
        return np.dtype(object)


def _broadcast(first: Sequence[int], second: Sequence[int]) -> bool:
    try:
        np.broadcast_shapes(tuple(first), tuple(second))
    except ValueError:
        return False
    return True
