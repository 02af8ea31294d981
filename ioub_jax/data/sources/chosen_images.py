"""Selection of some images of a data set to look at."""

import numpy as np

from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.example import Example, Source


def evenly(positions: np.ndarray, count: int) -> np.ndarray:
    """Picks `count` of the positions, evenly spread, in order; all if there are fewer."""
    positions = np.asarray(positions, np.int64)
    if not len(positions) or count < 1:
        return positions[:0]
    return positions[np.unique(np.linspace(0, len(positions) - 1, count, dtype=int))]


def to_look_at(
    annotations: Annotations,
    count: int,
    *,
    per_class: int | None = None,
    order: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses images with objects, spread over a data set, or the first images of an order.

    With `per_class`, images are chosen for every class, starting with the rarest; an image counts
    for each class of which it has an object. If no image has an object, images without objects are
    chosen.

    Args:
      annotations: the annotations of all images; regions to ignore do not count as objects.
      count: how many images; with `per_class` only used if no image has an object.
      per_class: how many images with an object of each class, if there are that many.
      order: `[n]`, all positions, the most wanted first; None for no preference.

    Returns:
      int64 positions, in the given order, or ascending if there is none.
    """
    annotations = annotations.without_ignored()
    ranks = np.arange(len(annotations)) if order is None else np.argsort(order)

    def some(wanted: np.ndarray, number: int) -> np.ndarray:
        if order is None:
            return evenly(wanted, number)
        return wanted[np.argsort(ranks[wanted], kind="stable")][: max(number, 0)]

    labeled = np.flatnonzero(annotations.counts)
    everything = labeled if len(labeled) and order is None else np.arange(len(annotations))
    if per_class is None or not len(labeled):
        return some(everything, count)
    of_class = _images_of_classes(annotations)
    taken = np.zeros(len(annotations), bool)
    for images in sorted(of_class, key=len):
        taken[some(images[~taken[images]], per_class - int(taken[images].sum()))] = True
    chosen = np.flatnonzero(taken)
    return chosen[np.argsort(ranks[chosen], kind="stable")]


def _images_of_classes(annotations: Annotations) -> list[np.ndarray]:
    """The positions of the images with an object of each class, for classes that have objects."""
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    labels = np.unique(annotations.labels)
    return [np.unique(images[annotations.labels == label]) for label in labels if label >= 0]


class ChosenImages:
    """A `Source` of some of the images of another source.

    Args:
      source: the other source.
      positions: the positions of the images in the other source, in their new order.
    """

    def __init__(self, source: Source, positions: np.ndarray) -> None:
        self._source, self._positions = source, np.asarray(positions, np.int64)
        self.sizes = source.sizes[self._positions]
        self.classes, self.category_ids = source.classes, source.category_ids
        self.written_ids = source.written_ids
        self.skipped, self.census = source.skipped, source.census

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._of(index)]

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """Calls `load` of the other source."""
        return self._source.load(self._of(index), at_least)

    def annotations(self, index: int) -> Example:
        """Calls `annotations` of the other source."""
        return self._source.annotations(self._of(index))

    def image_id(self, index: int) -> int:
        """Calls `image_id` of the other source."""
        return self._source.image_id(self._of(index))

    def describe(self, index: int) -> str:
        """Calls `describe` of the other source."""
        return self._source.describe(self._of(index))

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return int(getattr(self._source, "channels", 3))

    def _of(self, index: int) -> int:
        return int(self._positions[index])
