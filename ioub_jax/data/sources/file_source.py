"""Base classes of data sets with annotations in memory, and of those with image files."""

import copy
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Self

import numpy as np

from ioub_jax.data.checks import Problem
from ioub_jax.data.images import Reading, read_image
from ioub_jax.data.sources.annotations import Annotations, collect_annotations
from ioub_jax.data.sources.example import Census, Example, HeldOut, Source


def scale_to_image(example: Example, image: np.ndarray, size: tuple[int, int]) -> Example:
    """Gives an example its pixels, which may have been decoded at a fraction of their size.

    Args:
      example: the objects, in pixels of an image of `size`.
      image: uint8 `[h, w, 3]`.
      size: height and width of the image to which the boxes refer.

    Returns:
      the example with `image`, its boxes and areas in pixels of `image`.
    """
    reduction = next(
        reduction
        for reduction in (1, 2, 4, 8)
        if image.shape[:2] == tuple(-(-side // reduction) for side in size)
    )
    # A side that is not divisible by the reduction is rounded up; the scale of the pixels is
    # exactly 1/reduction nevertheless.
    return dataclasses.replace(
        example,
        image=image,
        boxes=example.boxes / reduction,
        area=example.area / reduction**2,
    )


class AnnotatedImages:
    """Base class of sources that keep their annotations in memory and decode on access.

    Subclasses load and describe images. In `select`, they also select what they store per image.

    Args:
      annotations: the objects of n images.
      classes: class names in the order of the labels.
      category_ids: the data set's own id of each class.
      skipped: what was left out while reading the annotations.
      census: what the files list; None if that is what the annotations hold.
      written_ids: for images whose id in the files differs from their number in the annotations,
        the id in the files, by that number.

    Attributes:
      reading: how the images are decoded to pixels.
      held_out: numbers of the images and objects in other parts of the data set.
    """

    reading = Reading()
    held_out = HeldOut()

    def __init__(
        self,
        annotations: Annotations,
        classes: Sequence[str],
        category_ids: Sequence[int | str],
        skipped: list[Problem],
        census: Census | None = None,
        written_ids: Mapping[int, int | str] | None = None,
    ) -> None:
        self._annotations = annotations
        self.sizes = annotations.sizes
        self.classes = tuple(classes)
        self.category_ids = tuple(
            written if isinstance(written, str) else int(written) for written in category_ids
        )
        self.skipped = skipped
        self.census = census or Census(len(annotations), len(annotations.boxes))
        self.written_ids: Mapping[int, int | str] = written_ids or {}

    def __len__(self) -> int:
        """The number of images."""
        return len(self._annotations)

    def __getitem__(self, index: int) -> Example:
        """Decodes image `index`; raises `DataError` if that fails or its size is unexpected."""
        return self.load(index)

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """The example as from `source[index]`, possibly at 1/2, 1/4 or 1/8 of its size.

        Args:
          index: the image.
          at_least: height and width that suffice; None for the image at full size.
        """
        raise NotImplementedError

    @property
    def channels(self) -> int:
        """Number of channels with which the images are read."""
        return self.reading.channels

    def open_image(self, index: int) -> BinaryIO:
        """The encoded image, for inspection; raises `OSError` if there is none."""
        raise NotImplementedError

    def describe(self, index: int) -> str:
        """Name of an image in error messages."""
        raise NotImplementedError

    def read_with(self, reading: Reading) -> Self:
        """The same data set with another reading of its images."""
        other = copy.copy(self)
        other.reading = reading
        return other

    def annotations(self, index: int) -> Example:
        """The objects of image `index`, without its pixels."""
        return self._annotations.example(index)

    def image_id(self, index: int) -> int:
        """The data set's own number of an image."""
        return int(self._annotations.image_ids[index])

    def boxes_of_classes(self) -> np.ndarray:
        """int64 `[C]`, the number of boxes of each class, crowds included."""
        labels = self._annotations.labels
        return np.bincount(labels[labels >= 0], minlength=len(self.classes))

    def with_labels(
        self, new_labels: np.ndarray, classes: Sequence[str], category_ids: Sequence[int | str]
    ) -> Self:
        """The same data set with other labels.

        Args:
          new_labels: int64 `[C]`, the new label for each present one; -1 for a label without boxes.
          classes: class names in the order of the new labels.
          category_ids: the id of each class.
        """
        chosen = self.select(np.arange(len(self)))
        labels = chosen._annotations.labels
        moved = np.where(labels < 0, labels, new_labels[labels]).astype(np.int32)
        chosen._annotations = dataclasses.replace(chosen._annotations, labels=moved)
        chosen.classes, chosen.category_ids = tuple(classes), tuple(category_ids)
        return chosen

    def select(self, images: np.ndarray) -> Self:
        """The same data set with some of its images only, in the order of `images`."""
        chosen = object.__new__(type(self))
        chosen.__dict__ |= self.__dict__
        chosen._annotations = self._annotations.select(images)
        chosen.sizes = chosen._annotations.sizes
        return chosen


def annotations_of(source: Source) -> Annotations:
    """The annotations of all images of a data set, read one by one if they are not in memory."""
    if isinstance(source, AnnotatedImages):
        return source._annotations
    return collect_annotations(
        [source.annotations(index) for index in range(len(source))], source.sizes
    )


class FileSource(AnnotatedImages):
    """A `Source` whose images are files on disk.

    Args:
      annotations: the objects of n images.
      paths: the file of each image.
      classes: class names in the order of the labels.
      category_ids: the data set's own id of each class.
      skipped: what was left out while reading the annotations; an empty list if nothing was.
      census: what the files list; None if that is what the annotations hold.
      written_ids: for images whose id in the files differs from their number in the annotations,
        the id in the files, by that number.
    """

    def __init__(
        self,
        annotations: Annotations,
        paths: Sequence[str],
        classes: Sequence[str],
        category_ids: Sequence[int | str],
        skipped: list[Problem],
        census: Census | None = None,
        written_ids: Mapping[int, int | str] | None = None,
    ) -> None:
        super().__init__(annotations, classes, category_ids, skipped, census, written_ids)
        self._paths = list(paths)

    def load(self, index: int, at_least: tuple[int, int] | None = None) -> Example:
        """Implements `AnnotatedImages.load` by reading the image file."""
        height, width = (int(side) for side in self.sizes[index])
        path = pathlib.Path(self._paths[index])
        image = read_image(path, (height, width), at_least, reading=self.reading)
        return scale_to_image(self.annotations(index), image, (height, width))

    def open_image(self, index: int) -> BinaryIO:
        """Implements `AnnotatedImages.open_image`."""
        return open(self._paths[index], "rb")

    def describe(self, index: int) -> str:
        """The path of the image file."""
        return self._paths[index]

    def select(self, images: np.ndarray) -> Self:
        """The same data set with some of its images only, in the order of `images`."""
        chosen = super().select(images)
        chosen._paths = [self._paths[index] for index in images]
        return chosen
