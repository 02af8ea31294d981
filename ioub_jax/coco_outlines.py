"""Boxes for COCO annotations without one, around their masks, polygons or keypoints.

Tools for segmentation and poses omit `bbox` or leave it empty. A mask is in COCO's run-length
encoding, either compressed to a string or not.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax.coco_values import is_absent, is_number

# Polygons are lists of lists of numbers; no tool nests them more deeply.
_DEEPEST = 4


def has_no_box(bbox: object) -> bool:
    """True if the value of `bbox`, or None if it is missing, means that there is no box.

    Null, a missing value, an empty list and four zeros mean that there is no box. Any other value
    that is not a box is faulty.
    """
    if isinstance(bbox, list | tuple):
        return not bbox or (len(bbox) == 4 and all(is_number(side) and side == 0 for side in bbox))
    return is_absent(bbox)


def box_around(annotation: Mapping[str, Any]) -> list[float] | None:
    """The box around the outline that an annotation has instead of a box.

    Args:
      annotation: an annotation with `segmentation`, which is polygons or a mask, or else with
        `keypoints`, of which only labeled ones count (COCO's visibility is not 0).

    Returns:
      `[x, y, width, height]` in pixels; None if there is no outline, or none that can be read.
    """
    for key, around in (("segmentation", _around_segmentation), ("keypoints", _around_keypoints)):
        corners = around(annotation.get(key))
        if corners is not None:
            left, top, right, bottom = corners
            return [left, top, right - left, bottom - top]
    return None


_Corners = tuple[float, float, float, float]


def _around_segmentation(segmentation: object) -> _Corners | None:
    if isinstance(segmentation, Mapping):
        return _around_mask(segmentation.get("counts"), segmentation.get("size"))
    if not isinstance(segmentation, list | tuple):
        return None
    if segmentation and all(isinstance(part, Mapping) for part in segmentation):
        return _union([_around_mask(part.get("counts"), part.get("size")) for part in segmentation])
    return _around_points(_numbers_in(segmentation), 2)


def _around_keypoints(keypoints: object) -> _Corners | None:
    if not isinstance(keypoints, list | tuple):
        return None
    numbers = _numbers_in(keypoints)
    if len(numbers) % 3 or not _are_numbers(numbers):
        return None
    labeled = [numbers[place : place + 2] for place in range(0, len(numbers), 3)]
    flags = numbers[2::3]
    chosen = [xy for xy, flag in zip(labeled, flags, strict=True) if flag > 0]
    return _around_points([number for xy in chosen for number in xy], 1)


def _around_points(numbers: Sequence[Any], fewest: int) -> _Corners | None:
    """Returns the corners around x, y, x, y, ...; None for too few points."""
    if len(numbers) % 2 or len(numbers) < 2 * fewest or not _are_numbers(numbers):
        return None
    x, y = numbers[::2], numbers[1::2]
    return float(min(x)), float(min(y)), float(max(x)), float(max(y))


def _are_numbers(values: Sequence[Any]) -> bool:
    """True if all values are finite numbers; fast for Python's own numbers."""
    if {int, float}.issuperset(map(type, values)):
        try:
            return math.isfinite(sum(values))  # a sum keeps NaN and infinity
        except OverflowError:  # an integer of hundreds of digits
            return False
    return all(map(is_number, values))


def _numbers_in(values: Sequence[Any]) -> list[Any]:
    """Returns the items of nested lists, from left to right; fast for a list of lists."""
    if all(type(part) is list and list not in map(type, part) for part in values):
        return list(itertools.chain.from_iterable(values))
    return list(_flat(values))


def _flat(values: object, depth: int = 0) -> Iterator[Any]:
    """Yields the items of nested lists, from left to right; too deeply nested lists are kept."""
    if isinstance(values, list | tuple) and depth < _DEEPEST:
        for value in values:
            yield from _flat(value, depth + 1)
    else:
        yield values


def _around_mask(counts: object, size: object) -> _Corners | None:
    """Returns the corners around a mask; `size` is its height and width, `counts` its runs.

    The runs go down one column after another and alternate between 0 and 1.
    """
    runs = _runs(counts)
    if runs is None or not (isinstance(size, list | tuple) and len(size) == 2):
        return None
    if not all(is_number(side) and side == side // 1 and 0 < side < 2**31 for side in size):
        return None
    height, width = (int(side) for side in size)
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        return None
    ends = np.cumsum(np.array(runs, np.int64))
    ends = ends[: len(ends) // 2 * 2]
    first, last = ends[::2], ends[1::2] - 1  # first and last pixel of each run of 1
    is_run = last >= first
    if not is_run.any():
        return None
    first, last = first[is_run], last[is_run]
    left, right = int(first[0]) // height, int(last[-1]) // height + 1
    if np.any(first // height != last // height):  # a run continues in the next column
        return float(left), 0.0, float(right), float(height)
    top, bottom = int((first % height).min()), int((last % height).max()) + 1
    return float(left), float(top), float(right), float(bottom)


def _runs(counts: object) -> list[int] | None:
    """Returns the lengths of the runs; None if they are neither integers nor COCO's string."""
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    if isinstance(counts, str):
        return _decompressed(counts)
    if not isinstance(counts, list | tuple):
        return None
    if not all(is_number(run) and run == run // 1 for run in counts):
        return None
    return [int(run) for run in counts]


def _decompressed(text: str) -> list[int] | None:
    """Returns the runs in COCO's string, where each number is a run minus the one two before it.

    A character is '0' plus a value of six bits. Its highest bit says that more characters of the
    number follow, and the others are five bits of the number. In the last character, the highest of
    these five bits is the sign.
    """
    runs: list[int] = []
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    return None if shift else runs


def _union(parts: Sequence[_Corners | None]) -> _Corners | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        return None
    columns = list(zip(*known, strict=True))
    return min(columns[0]), min(columns[1]), max(columns[2]), max(columns[3])
