"""Rows of YOLO label files: a class and a box, or a polygon around the object."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.sources.yolo_labels import is_number

# A number larger than this is not taken for a fraction of an image's side: the box of a careless
# tool may stick out of its image, but not by a whole image.
_MOST = 2.0
_LARGEST_ID = 2**31
# At most this many characters of a row are shown in a sentence.
_MOST_SHOWN = 60
_REPAIR = "repair the row"
_ROWS = "class cx cy w h, or class x1 y1 x2 y2 x3 y3 ..."
_NO_BOX = (math.nan,) * 4

#: xmin, ymin, xmax, ymax as fractions of the image's width and height.
_Corners = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class RowFault:
    """Fault of a row.

    Attributes:
      kind: a key of `checks.KINDS`.
      row: the text of the row, shortened.
      words: what is wrong and the way out, as part of a sentence; '' if a number is too large to be
        a fraction of a side.
      largest: for such a row, the largest absolute value of its numbers.
    """

    kind: str
    row: str
    words: str
    largest: float = 0.0


@dataclasses.dataclass(frozen=True)
class Rows:
    """The m rows of many label files, file after file.

    Attributes:
      owners: int64 `[m]`, the number of each row's file.
      lines: int64 `[m]`, the line number of each row, from 1.
      classes: int64 `[m]`, the class id; -1 if it is invalid.
      corners: float64 `[m, 4]`, xyxy as fractions of the image's width and height, as written: they
        may lie outside 0 to 1; NaN if the row has no valid box.
      faults: the faults of rows, by the position of the row.
      scored: number of rows of detections, which end in a confidence; it is not used.
    """

    owners: np.ndarray
    lines: np.ndarray
    classes: np.ndarray
    corners: np.ndarray
    faults: dict[int, RowFault]
    scored: int


class _Fault(ValueError):
    """A row that cannot be read."""

    def __init__(self, words: str, largest: float = 0.0) -> None:
        super().__init__(words)
        self.words = words
        self.largest = largest


class RowReader:
    """Reads the rows of one label file after another.

    A row is `class cx cy w h`, or `class x1 y1 x2 y2 ...` with at least three points, the corners
    of an oriented box or a segmentation, which is read as the box around the points. Either may be
    followed by a confidence, as Ultralytics' `save_conf` writes it. A row with keypoints is
    `class cx cy w h` followed by the keypoints; only the yaml distinguishes it from a polygon.

    Args:
      keypoint_numbers: how many numbers the keypoints of an object have; 0 if there are none.
    """

    def __init__(self, keypoint_numbers: int = 0) -> None:
        self._keypoint_numbers = keypoint_numbers
        self._table: list[tuple[float, ...]] = []
        self._faults: dict[int, RowFault] = {}
        self._scored = 0

    def add(self, owner: int, text: str) -> int:
        """Reads the text of the label file with the number `owner`; returns the number of rows."""
        before = len(self._table)
        for line, row in enumerate(text.splitlines(), start=1):
            fields = row.split()
            if fields:
                self._table.append((owner, line, *self._read(fields)))
        return len(self._table) - before

    def rows(self) -> Rows:
        """All rows read so far."""
        table = np.array(self._table, np.float64).reshape(-1, 7)
        owners, lines, classes = table[:, :3].astype(np.int64).T
        return Rows(owners, lines, classes, table[:, 3:], self._faults, self._scored)

    def _read(self, fields: Sequence[str]) -> tuple[float, float, float, float, float]:
        """The class and the corners of a row; -1 and NaN if these are invalid."""
        class_id, corners = -1.0, _NO_BOX
        try:
            class_id = _class_id(fields[0])
            corners = self._corners(fields)
            if class_id < 0:
                first = _shown(fields[0])
                raise _Fault(f"begins with {first}, which is not the id of a class; {_REPAIR}")
        except _Fault as fault:
            kind = "unknown_category" if corners is not _NO_BOX else "bad_box"
            row = _shown(" ".join(fields))
            self._faults[len(self._table)] = RowFault(kind, row, fault.words, fault.largest)
        return class_id, *corners

    def _corners(self, fields: Sequence[str]) -> _Corners:
        """The corners of a row's box, or of the box around its polygon."""
        numbers = _numbers(fields)
        count, keypoints = len(numbers), self._keypoint_numbers
        is_scored = count in (5, 5 + keypoints) if keypoints else count % 2 == 1 and count > 4
        is_box = count - is_scored in (4, 4 + keypoints)
        if keypoints and not is_box:
            raise _Fault(
                f"has {count} numbers after its class, but the yaml's kpt_shape requires "
                f"{4 + keypoints}; {_REPAIR}"
            )
        if count < 4:
            advice = f"a row is {_ROWS}"
            if "," in "".join(fields):
                advice = "separate numbers by spaces, not commas"
            raise _Fault(f"has {count} numbers after its class; {advice}")
        if count > 6 and not keypoints and _may_have_keypoints(numbers):
            raise _Fault(
                f"may be a box with {(count - 4) // 3} keypoints; state that in the yaml with "
                f"kpt_shape: [{(count - 4) // 3}, 3]"
            )
        if is_scored and not 0 <= numbers.pop() <= 1:
            raise _Fault(
                f"ends with {fields[-1]}, which is not a confidence, 0 to 1, after {count - 1} "
                f"numbers; a row is {_ROWS}"
            )
        largest = max(map(abs, numbers))
        if largest > _MOST:
            raise _Fault("", largest)
        self._scored += is_scored
        if is_box:
            x, y, width, height = numbers[:4]
            return x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return min(numbers[0::2]), min(numbers[1::2]), max(numbers[0::2]), max(numbers[1::2])


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")


def _numbers(fields: Sequence[str]) -> list[float]:
    """The numbers in a row after the class."""
    try:
        numbers = [float(field) for field in fields[1:]]
    except ValueError:
        faulty = next(field for field in fields[1:] if not is_number(field))
        advice = "write decimal points, not commas" if "," in faulty else _REPAIR
        raise _Fault(f"has {_shown(faulty)}, which is not a number; {advice}") from None
    if not math.isfinite(sum(numbers)):
        raise _Fault(f"has a number that is not finite; {_REPAIR}")
    return numbers


def _class_id(field: str) -> float:
    """The class id at the beginning of a row, which may be written as 2.0; -1 if it is invalid."""
    try:
        number = float(field)
    except ValueError:
        return -1.0
    return number if 0 <= number < _LARGEST_ID and number == number // 1 else -1.0


def _may_have_keypoints(numbers: Sequence[float]) -> bool:
    """True if every third number after a box is 0, 1 or 2, like the visibility of a keypoint.

    A polygon has a few such numbers by chance if points lie on the edge of the image, but not many.
    """
    visible = numbers[6::3]
    if len(numbers) % 3 != 1 or not all(number in (0, 1, 2) for number in visible):
        return False
    return len(numbers) % 2 == 1 or len(visible) > 2 or 2 in visible
