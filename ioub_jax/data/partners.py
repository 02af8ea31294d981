"""Choice of images to join with an image: a function of the plan and of a generator.

They are images of the same batch, so that every image is decoded once, however many it is joined
with, and the pipeline with a mosaic of four takes little longer than without. (mmdetection's
`CachedMosaic` and Ultralytics' buffer choose among the images loaded last for the same reason; what
those are depends on the process, the batch does not.)
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from ioub_jax.data.batching import PlannedBatch
from ioub_jax.data.sources.example import Example

#: About so many images of a batch are joined with each other: all are held decoded meanwhile.
_GROUP = 8
#: Of batches that are smaller any image of the data set can be one of the others.
_FEWEST = 4


@dataclasses.dataclass(frozen=True)
class Others:
    """The examples that an example can be joined with.

    Attributes:
      choose: gives so many of them, chosen by a generator.
      mosaic_draw: `mosaic_draw` of an example, which may be the one itself.
    """

    choose: Callable[[np.random.Generator, int], list[Example]]
    mosaic_draw: Callable[[Example], float]


def mosaic_draw(planned: PlannedBatch, seed: int, image_id: int) -> float:
    """Position of an image's factor between its limits, 0 to 1, in all mosaics of a batch.

    With one for all, an image that is small in them is small enough to be decoded at a fraction of
    its size. Within a mosaic the factors of the four are independent.

    Args:
      planned: the global batch.
      seed: of the augmentation.
      image_id: the data set's own number of the image.
    """
    key = (seed, int(planned.epochs[0]), int(planned.indices[0]), image_id)
    # A generator takes ten times as long to make, and one is needed for each part of a mosaic.
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def group_of(row: int, batch_size: int) -> range:
    """The rows of a batch whose images are joined, 8 to 15 of them where it has as many."""
    groups = max(batch_size // _GROUP, 1)
    number = ((row + 1) * groups - 1) // batch_size
    return range(batch_size * number // groups, batch_size * (number + 1) // groups)


def choose_others(
    planned: PlannedBatch, row: int, num_images: int, rng: np.random.Generator, count: int
) -> list[int]:
    """Chooses the images that the image of a row is joined with.

    Args:
      planned: the global batch.
      row: of it.
      num_images: how many the data set has.
      rng: chooses.
      count: how many are wanted, at most three.

    Returns:
      positions in the source: of other rows of the group, or where the batch is smaller than four
      of any images.
    """
    group = group_of(row, len(planned.indices))
    if len(group) < _FEWEST:
        return [int(index) for index in rng.integers(num_images, size=count)]
    places = rng.permutation(len(group) - 1)[:count]  # in the group without the row
    rows = [group.start + place + (group.start + place >= row) for place in places.tolist()]
    return [int(index) for index in planned.indices[rows]]
