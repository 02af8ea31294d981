"""Validation of the box corners in a file, for all objects of a data set at once."""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Boxes that leave their image by at most this many pixels do so through rounding and are not
# counted as clipped.
_ROUNDING = 0.1
_HUGE = 1e15  # pixels; no coordinate is larger


@dataclasses.dataclass(frozen=True)
class JudgedBoxes:
    """Verdicts on m boxes.

    Attributes:
      boxes: float32 `[m, 4]`, xyxy, with the corners in order and clipped to the image. The values
        of a faulty box have no meaning.
      faults: bool masks `[m]`, keyed by kinds of `checks.KINDS`: 'bad_box' (a number is missing),
        'no_area' and 'outside' (the whole box is outside its image). A box has at most one fault.
      exchanged: bool `[m]`, valid boxes whose corners were put in order.
      clipped: bool `[m]`, valid boxes that extend beyond their image by more than rounding.
      ordered: float64 `[m, 4]`, the corners as written, but in order.
    """

    boxes: np.ndarray
    faults: dict[str, np.ndarray]
    exchanged: np.ndarray
    clipped: np.ndarray
    ordered: np.ndarray

    @property
    def is_faulty(self) -> np.ndarray:
        """True where a box cannot be used, bool `[m]`."""
        return np.logical_or.reduce(list(self.faults.values()))


def judge_boxes(
    corners: np.ndarray, sizes: np.ndarray, subtracted: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
) -> JudgedBoxes:
    """Orders the corners of boxes, clips them and marks those that cannot be used.

    Args:
      corners: `[m, 4]`, xmin, ymin, xmax, ymax as written; NaN for a number that is missing.
      sizes: `[m, 2]`, height and width of each box's image.
      subtracted: pixels to subtract from xmin, ymin, xmax and ymax to convert them from another
        pixel convention: (1, 1, 0, 0) if the first pixel is 1 and the last one is part of the box
        (VOC's devkit).

    Returns:
      the boxes, 0-based with exclusive right and bottom edge.
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    limits = np.asarray(sizes, np.float64).reshape(-1, 2)[:, ::-1]
    is_known = np.abs(corners) < _HUGE  # False for NaN
    is_bad = np.logical_not(is_known.all(axis=1))
    corners = np.where(np.expand_dims(is_bad, 1), 0.0, corners)
    first = np.minimum(corners[:, :2], corners[:, 2:])
    last = np.maximum(corners[:, :2], corners[:, 2:])
    low, high = first - subtracted[:2], last - subtracted[2:]
    clipped = np.hstack([np.clip(low, 0, limits), np.clip(high, 0, limits)]).astype(np.float32)
    is_flat = (first == last).any(axis=1)
    is_outside = ~is_flat & ((high <= 0) | (low >= limits)).any(axis=1)
    # A box may also be too thin for float32.
    is_thin = ~is_outside & (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    faults = {
        "bad_box": is_bad,
        "no_area": ~is_bad & (is_flat | is_thin),
        "outside": ~is_bad & is_outside,
    }
    is_good = ~np.logical_or.reduce(list(faults.values()))
    leaves = np.hstack([-low, high - limits]).max(axis=1, initial=0)
    exchanged = (corners[:, :2] > corners[:, 2:]).any(axis=1)
    return JudgedBoxes(
        boxes=clipped,
        faults=faults,
        exchanged=is_good & exchanged,
        clipped=is_good & (leaves > _ROUNDING),
        ordered=np.hstack([first, last]),
    )


def find_repeated(images: np.ndarray, labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """True where an object has the image, label and box of an earlier one.

    Args:
      images: int64 `[m]`, the image of each object.
      labels: int64 `[m]`.
      boxes: `[m, 4]` of any number type.

    Returns:
      bool `[m]`.
    """
    numbers = np.asarray(boxes, np.float64).reshape(-1, 4) + 0.0  # -0 becomes 0
    keys = np.column_stack([images, labels, numbers.view(np.int64)]).astype(np.int64)
    # Each row becomes one opaque value: sorting those is many times faster than sorting rows.
    opaque = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.itemsize * keys.shape[1])))
    _, first = np.unique(opaque.reshape(-1), return_index=True)
    repeated = np.ones(len(keys), bool)
    repeated[first] = False
    return repeated
