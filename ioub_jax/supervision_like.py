"""Detections in the form of the package supervision, without that package.

Its tools for drawing, counting and tracking use the attributes and a few methods of detections, but
do not check their class.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Name of a place in supervision's `Position` -> its position as shares of width and height.
_PLACES = {
    "CENTER": (0.5, 0.5),
    "CENTER_LEFT": (0.0, 0.5),
    "CENTER_RIGHT": (1.0, 0.5),
    "TOP_CENTER": (0.5, 0.0),
    "TOP_LEFT": (0.0, 0.0),
    "TOP_RIGHT": (1.0, 0.0),
    "BOTTOM_CENTER": (0.5, 1.0),
    "BOTTOM_LEFT": (0.0, 1.0),
    "BOTTOM_RIGHT": (1.0, 1.0),
}


@dataclasses.dataclass(eq=False)
class SupervisionLike:
    """k detections with the attributes of `supervision.Detections`, in the same order.

    `supervision.Detections(**vars(this))` creates the real one.

    Attributes:
      xyxy: float32 `[k, 4]` in pixels of the image.
      mask: None, since there are no masks.
      confidence: float32 `[k]`.
      class_id: int64 `[k]`, positions in the detector's classes.
      tracker_id: None until a tracker sets it.
      data: `class_name`, `[k]` strings.
      metadata: data for all detections together; empty.
    """

    xyxy: np.ndarray
    mask: np.ndarray | None = None
    confidence: np.ndarray | None = None
    class_id: np.ndarray | None = None
    tracker_id: np.ndarray | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Number of detections, k."""
        return len(self.xyxy)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterates over `(xyxy, mask, confidence, class_id, tracker_id, data)` of detections."""
        rows = (self.mask, self.confidence, self.class_id, self.tracker_id)
        for index, box in enumerate(self.xyxy):
            values = (None if row is None else row[index] for row in rows)
            yield (
                box,
                *values,
                {key: np.asarray(value)[index] for key, value in self.data.items()},
            )

    def __getitem__(self, index: Any) -> Any:
        """Detections at an index, indices, a slice or a mask; for a string, its `data`."""
        return self.data.get(index) if isinstance(index, str) else self.select(index)

    def select(self, index: Any) -> "SupervisionLike":
        """Detections at an index, indices, a slice or a mask."""
        if isinstance(index, int | np.integer):
            index = [int(index)]
        if isinstance(index, list) and not index:
            index = np.zeros(0, int)
        rows: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else value[index]
            for name in ("xyxy", "mask", "confidence", "class_id", "tracker_id")
        }
        data = {key: np.asarray(value)[index] for key, value in self.data.items()}
        return dataclasses.replace(self, data=data, **rows)

    def get_data(self, key: str) -> Any:
        """Entry of `data` with a name, or None."""
        return self.data.get(key)

    def is_empty(self) -> bool:
        """True if there are no detections."""
        return len(self) == 0

    @property
    def area(self) -> np.ndarray:
        """Areas of the boxes, `[k]`."""
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        areas: np.ndarray = sides[:, 0] * sides[:, 1]
        return areas

    @property
    def box_area(self) -> np.ndarray:
        """As `area`."""
        return self.area

    @property
    def box_aspect_ratio(self) -> np.ndarray:
        """Width divided by height, `[k]`; NaN where the height is 0."""
        width, height = (self.xyxy[:, 2:] - self.xyxy[:, :2]).astype(np.float64).T
        return np.divide(width, height, out=np.full(len(self), np.nan), where=height != 0)

    def get_anchors_coordinates(self, anchor: Any) -> np.ndarray:
        """Coordinates x and y of a place in each box, `[k, 2]`.

        Args:
          anchor: the place, one of supervision's `Position`.

        Raises:
          ValueError: boxes have no such place.
        """
        name = getattr(anchor, "value", anchor)
        if name not in _PLACES:
            raise ValueError(f"A box has no {name}; it has {', '.join(_PLACES)}.")
        shares = np.array(_PLACES[name], np.float32)
        return self.xyxy[:, :2] + shares * (self.xyxy[:, 2:] - self.xyxy[:, :2])
