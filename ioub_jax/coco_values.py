"""Meaning of single values in a COCO file: the common rules for all readers of such files.

Tools write ids as strings, flags as booleans, and null or nothing for unknown values. A value with
only one possible meaning is accepted; any other raises a `ValueError`, to which the reader adds the
location in the file.
"""

import math
import numbers
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

_INT64 = range(-(2**63), 2**63)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}(\.0*)?", re.ASCII)
_UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
_FLAGS = {"0": False, "1": True, "false": False, "true": True}
_FLAG = "is neither 0 nor 1"
# Upper bounds for an area, in square pixels, and a side, in pixels.
_LARGEST_AREA, _LARGEST_SIDE = 1e15, 2**31


def id_of(value: object) -> int | str | None:
    """Id of an image, a category or an annotation, read from a file's value.

    Args:
      value: the value in the file.

    Returns:
      An integer of 64 bits for an integer, a float such as 1.0 and a string such as '1'; any other
      string without surrounding spaces, as a name; None for anything that is not an id.
    """
    if isinstance(value, str):
        name = value.strip()
        if _INTEGER.fullmatch(name) and (number := int(name.partition(".")[0])) in _INT64:
            return number
        return name if is_text(name) else None
    if not is_number(value) or value != value // 1 or int(value) not in _INT64:
        return None
    return int(value)


def is_text(value: object) -> TypeGuard[str]:
    """True if a value is a non-empty string that can be written and shown.

    Control characters and those that change the writing direction could alter what a terminal or a
    table shows; a lone surrogate of UTF-16 cannot be written at all.
    """
    return isinstance(value, str) and bool(value.strip()) and not _UNFIT.search(value)


def are_texts(values: Sequence[str]) -> bool:
    """True if all strings satisfy `is_text`; hundreds of times faster than one call for each."""
    return all(map(str.strip, values)) and not _UNFIT.search("".join(values))


def is_number(value: object) -> TypeGuard[float]:
    """True if a value is a finite number, of Python or of numpy, and not a boolean."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and (isinstance(value, numbers.Integral) or math.isfinite(value))
    )


def flag_of(value: object) -> bool:
    """Flag that a value of `iscrowd`, `difficult` or `ignored` stands for.

    Args:
      value: the value in the file; None if it is missing.

    Returns:
      False for None and '', and the flag for 0 and 1 as a number, a boolean or a string.

    Raises:
      ValueError: the value is anything else; the message says what a flag is.
    """
    if is_absent(value):
        return False
    if isinstance(value, str):
        text = value.strip().lower().removesuffix(".0")
        if text in _FLAGS:
            return _FLAGS[text]
    elif isinstance(value, bool | np.bool_) or (is_number(value) and value in (0, 1)):
        return bool(value)
    raise ValueError(_FLAG)


def is_told_to_ignore(value: object) -> bool:
    """True if a value of `ignore` is 1, a key that converters write and pycocotools overwrites.

    The value is read like other flags. Since metrics do not use it, a value that is not a flag is
    not an error, and counts as False.
    """
    try:
        return flag_of(value)
    except ValueError:
        return False


def area_of(value: object) -> float | None:
    """Area in square pixels that a value of `area` stands for.

    Args:
      value: the value in the file; None if it is missing.

    Returns:
      The number, which may be written as a string; None if it is missing or negative, in which case
      the area of the box is used.

    Raises:
      ValueError: the value is anything else; the message says what an area is.
    """
    if is_absent(value):
        return None
    area = _number_of(value)
    if area is None or area > _LARGEST_AREA:
        raise ValueError("is not a finite number of square pixels")
    return area if area >= 0 else None


def side_of(value: object) -> int | None:
    """Side of an image in pixels that a value of `width` or `height` stands for.

    Args:
      value: the value in the file; None if it is missing.

    Returns:
      The integer, which may be written as a float or a string; None if it is missing or 0, which
      tools write for an unknown size.

    Raises:
      ValueError: the value is anything else.
    """
    side = None if is_absent(value) else _number_of(value)
    if is_absent(value) or side == 0:
        return None
    if side is None or not 0 < side < _LARGEST_SIDE or side != side // 1:
        raise ValueError("is not a size in pixels")
    return int(side)


def is_absent(value: object) -> bool:
    """True if a value means a missing one: null or the empty string."""
    return value is None or (isinstance(value, str) and not value.strip())


def rotation_of(annotation: Mapping[str, Any]) -> float:
    """Clockwise rotation of an annotation's box about its center, in degrees.

    CVAT writes it as `attributes.rotation`, other tools as `rotation`. A value that is not a number
    is an attribute with another meaning.
    """
    rotation = annotation.get("rotation")
    if rotation is None:
        attributes = annotation.get("attributes")
        rotation = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    degrees = None if rotation is None else _number_of(rotation)
    return 0.0 if degrees is None else degrees % 360.0


def upright_corners(corners: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """The upright boxes around rectangles that are rotated about their centers.

    Args:
      corners: float64 `[n, 4]`, xyxy in pixels of the rectangles before rotation.
      degrees: float64 `[n]`.

    Returns:
      float64 `[n, 4]`, xyxy.
    """
    centers = (corners[:, :2] + corners[:, 2:]) / 2
    width, height = ((corners[:, 2:] - corners[:, :2]) / 2).T
    # In floating point, the cosine of 90 degrees is 6e-17, which would move all corners.
    cosine, sine = (
        np.abs(np.round(function(np.deg2rad(degrees)), 15)) for function in (np.cos, np.sin)
    )
    halves = np.stack([width * cosine + height * sine, width * sine + height * cosine], axis=1)
    return np.hstack([centers - halves, centers + halves])


def describe_fault(key: str, value: object, fault: ValueError) -> str:
    """The part of a sentence that describes the fault of a value."""
    return f"has the {key} {reprlib.repr(value)}, which {fault}"


def _number_of(value: object) -> float | None:
    """Returns the finite number that a value or a string stands for; None for anything else."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return None
        # Python also accepts '1_0' and digits of other scripts, which no tool writes.
        return number if math.isfinite(number) and value.isascii() and "_" not in value else None
    try:
        return float(value) if is_number(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None
