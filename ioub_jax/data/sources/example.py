"""One labeled image, and the common interface of all data sets."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ioub_jax.data.checks import Problem


@dataclasses.dataclass(frozen=True)
class Example:
    """An image and its objects.

    Attributes:
      image: uint8 `[H, W, 3]` RGB, or with other channels if the data set has them; None if only
        the annotations were asked for.
      boxes: float32 `[n, 4]`, xyxy in pixels of the image, right and bottom edge exclusive.
      labels: int32 `[n]`, contiguous classes 0..C-1.
      crowd: bool `[n]`, COCO's iscrowd.
      difficult: bool `[n]`, VOC's difficult.
      ignored: bool `[n]`, regions that are neither objects nor background, since an object there
        was left out under `on_error='skip'`. The label of a region whose class is not known is -1.
      area: float32 `[n]`, the data set's own area of each object in square pixels.
      image_id: the data set's own number of the image.
    """

    image: np.ndarray | None
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    ignored: np.ndarray
    area: np.ndarray
    image_id: int


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Numbers of images and objects of a data set that are in other parts of it (`splits`).

    Attributes:
      images: number of images in the other parts.
      boxes: number of boxes in these images.
      regions: number of regions to ignore in these images.
      words: a sentence on how the data set was split; empty if it is whole.
    """

    images: int = 0
    boxes: int = 0
    regions: int = 0
    words: str = ""


@dataclasses.dataclass(frozen=True)
class Census:
    """Numbers of images and boxes that the files of a data set list, before anything is left out.

    Attributes:
      images: number of images that are listed.
      boxes: number of boxes that are listed, including those of images and classes left out.
      other_classes: number of boxes of classes that the configuration does not choose.
      changes: number of corrections made while reading, by the keys of `checks.CHANGES`.
    """

    images: int
    boxes: int
    other_classes: int = 0
    changes: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Source(Protocol):
    """A data set as a random-access sequence of examples; it can be pickled and shared by threads.

    Attributes:
      sizes: int64 `[len, 2]`, height and width of each image, available without decoding it.
      classes: class names in the order of the contiguous labels.
      category_ids: the data set's own id of each class, in the same order.
      written_ids: for images whose id in the files differs from their number (`image_id`), the id
        in the files, by that number. Results are written with these ids.
      skipped: everything left out because of `on_error='skip'`.
      census: what the files list; a selection of a source keeps the census of the whole.
    """

    sizes: np.ndarray
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    written_ids: Mapping[int, int | str]
    skipped: list[Problem]
    census: Census

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, index: int) -> Example:
        """The example with its pixels; raises `DataError` if the image cannot be read."""

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """The example as from `source[index]`, possibly decoded at a fraction of its size.

        Args:
          index: the image.
          at_least: height and width that suffice: a larger image may be returned at 1/2, 1/4 or
            1/8 of its size, with its boxes in pixels of the returned image. None: at full size.
        """

    def annotations(self, index: int) -> Example:
        """The example without its pixels (`image` is None), read without decoding the image."""

    def image_id(self, index: int) -> int:
        """The data set's own number of an image."""

    def describe(self, index: int) -> str:
        """Name of an image in error messages: its file, or how it was generated."""


def channels_of(source: Source) -> int:
    """Number of channels of a data set's images: its `channels`, or 3 if it has none."""
    return int(getattr(source, "channels", 3))


def create_example(
    boxes: np.ndarray,
    labels: np.ndarray,
    image_id: int,
    *,
    image: np.ndarray | None = None,
    crowd: np.ndarray | None = None,
    difficult: np.ndarray | None = None,
    ignored: np.ndarray | None = None,
    area: np.ndarray | None = None,
) -> Example:
    """Makes an `Example` with the documented shapes and dtypes; flags not given are False.

    Args:
      boxes: `[n, 4]` xyxy in pixels, or any sequence that reshapes to it, even an empty one.
      labels: `[n]`.
      image_id: the data set's own number of the image.
      image: uint8 `[H, W, channels]` or None.
      crowd: bool `[n]` or None.
      difficult: bool `[n]` or None.
      ignored: bool `[n]` or None.
      area: `[n]`, or None for the area of the boxes.

    Returns:
      the example.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    none = np.zeros(len(boxes), bool)
    if area is None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Example(
        image=image,
        boxes=boxes,
        labels=np.asarray(labels, np.int32).reshape(-1),
        crowd=none if crowd is None else np.asarray(crowd, bool),
        difficult=none.copy() if difficult is None else np.asarray(difficult, bool),
        ignored=none.copy() if ignored is None else np.asarray(ignored, bool),
        area=np.asarray(area, np.float32),
        image_id=image_id,
    )


def select_objects(example: Example, keep: np.ndarray) -> Example:
    """The example with the objects that `keep` (bool mask or indices) picks, in that order."""
    return dataclasses.replace(
        example,
        boxes=example.boxes[keep],
        labels=example.labels[keep],
        crowd=example.crowd[keep],
        difficult=example.difficult[keep],
        ignored=example.ignored[keep],
        area=example.area[keep],
    )


def largest_boxes(boxes: np.ndarray, count: int) -> np.ndarray:
    """Positions of the at most `count` largest of the boxes `[n, 4]`: int64, ascending."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.sort(np.argsort(-sides.prod(axis=-1), kind="stable")[:count])
