"""The annotations of a whole data set as a few flat arrays."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.sources.example import Example, create_example


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The objects of n images, m in all, image after image.

    A few arrays are used instead of one Python object per image, so that the annotations of COCO's
    118,000 images are copied into a worker process in a fraction of a second.

    Attributes:
      image_ids: int64 `[n]`, the data set's own ids.
      sizes: int64 `[n, 2]`, height and width of each image in pixels.
      offsets: int64 `[n + 1]`; image i has the objects `offsets[i]` to `offsets[i + 1] - 1`.
      boxes: float32 `[m, 4]`, xyxy in pixels of the image, right and bottom edge exclusive.
      labels: int32 `[m]`, contiguous classes 0..C-1.
      crowd: bool `[m]`, COCO's iscrowd.
      difficult: bool `[m]`, VOC's difficult.
      ignored: bool `[m]`, regions that are neither objects nor background.
      area: float32 `[m]`, the data set's own area of each object in square pixels.
    """

    image_ids: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    ignored: np.ndarray
    area: np.ndarray

    def __len__(self) -> int:
        """The number of images."""
        return len(self.image_ids)

    @property
    def counts(self) -> np.ndarray:
        """Number of objects in each image, int64 `[n]`."""
        return np.diff(self.offsets)

    def images_with(self, chosen: np.ndarray) -> np.ndarray:
        """True where an image has an object chosen by the mask, bool `[n]`."""
        chosen_before = np.concatenate([[0], np.cumsum(chosen)])
        return np.diff(chosen_before[self.offsets]) > 0

    def example(self, index: int) -> Example:
        """The objects of image `index`, without its pixels."""
        objects = slice(self.offsets[index], self.offsets[index + 1])
        return create_example(
            self.boxes[objects],
            self.labels[objects],
            int(self.image_ids[index]),
            crowd=self.crowd[objects],
            difficult=self.difficult[objects],
            ignored=self.ignored[objects],
            area=self.area[objects],
        )

    def select(self, images: np.ndarray) -> "Annotations":
        """The annotations of some images, in the order of `images` (int64 positions)."""
        counts = self.counts[images]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        if np.all(images[1:] > images[:-1]):
            # A mask takes an eighth of the memory that positions take.
            is_chosen = np.zeros(len(self), bool)
            is_chosen[images] = True
            objects = np.repeat(is_chosen, self.counts)
        else:
            within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
            objects = np.repeat(self.offsets[:-1][images], counts) + within
        return Annotations(
            self.image_ids[images], self.sizes[images], offsets, **self._of_objects(objects)
        )

    def without_ignored(self) -> "Annotations":
        """The annotations of all images, without the regions to ignore."""
        kept = ~self.ignored
        kept_before = np.concatenate([[0], np.cumsum(kept)])
        return Annotations(
            self.image_ids, self.sizes, kept_before[self.offsets], **self._of_objects(kept)
        )

    def _of_objects(self, objects: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of the objects chosen by a mask or by positions."""
        return {name: getattr(self, name)[objects] for name in _PER_OBJECT}


_PER_OBJECT = ("boxes", "labels", "crowd", "difficult", "ignored", "area")


def joined(parts: Sequence[Annotations]) -> Annotations:
    """Concatenates the annotations of several data sets."""
    counts = np.concatenate([part.counts for part in parts])
    return Annotations(
        np.concatenate([part.image_ids for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_OBJECT},
    )


def collect_annotations(examples: Sequence[Example], sizes: np.ndarray) -> Annotations:
    """Joins the objects of many images.

    Args:
      examples: one for each of n images; their pixels are not used.
      sizes: `[n, 2]`, height and width of each image.

    Returns:
      the annotations.
    """
    empty = create_example(np.zeros(0), np.zeros(0), 0)
    joined = {
        name: np.concatenate([getattr(example, name) for example in (empty, *examples)])
        for name in _PER_OBJECT
    }
    counts = [len(example.labels) for example in examples]
    return Annotations(
        np.array([example.image_id for example in examples], np.int64),
        np.asarray(sizes, np.int64).reshape(-1, 2),
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        **joined,
    )
