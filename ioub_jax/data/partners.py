"""Choice of images to join with an image: a function of the plan and of a generator.

The images are chosen from the same batch. Every image is then decoded once, however many images it
is joined with, and a mosaic of four images hardly slows the pipeline down. (mmdetection's
`CachedMosaic` and Ultralytics' buffer choose among the images loaded last for the same reason.
Those images depend on the process; the batch does not.)
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from ioub_jax.data.batching import PlannedBatch
from ioub_jax.data.sources.example import Example

#: Approximate number of images of a batch that are joined with each other, all of which are kept
#: decoded meanwhile.
_GROUP = 8
#: In groups with fewer images, the other images are chosen from the whole data set.
_FEWEST = 4


@dataclasses.dataclass(frozen=True)
class Others:
    """The examples that an example can be joined with.

    Attributes:
      choose: `choose(rng, count)` returns `count` of them, drawn by a generator.
      mosaic_draw: the function `mosaic_draw` for the image of an example, which may also be the
        example that is joined with others.
    """

    choose: Callable[[np.random.Generator, int], list[Example]]
    mosaic_draw: Callable[[Example], float]


def mosaic_draw(planned: PlannedBatch, seed: int, image_id: int) -> float:
    """Position of an image's factor between its limits, 0 to 1, in all mosaics of a batch.

    An image has the same factor in all mosaics of a batch, so that it can be decoded at a fraction
    of its size if the factor is small. Within a mosaic the factors of the four images are
    independent.

    Args:
      planned: the global batch.
      seed: the seed of the augmentation.
      image_id: the id of the image in the data set.
    """
    key = (seed, int(planned.epochs[0]), int(planned.indices[0]), image_id)
    # Creating a generator, one for each part of a mosaic, would take ten times as long.
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def group_of(row: int, batch_size: int) -> range:
    """The rows of a batch whose images are joined with that of a row.

    They are 8 to 15 rows, or all rows of a smaller batch.
    """
    groups = max(batch_size // _GROUP, 1)
    number = ((row + 1) * groups - 1) // batch_size
    return range(batch_size * number // groups, batch_size * (number + 1) // groups)


def choose_others(
    planned: PlannedBatch, row: int, num_images: int, rng: np.random.Generator, count: int
) -> list[int]:
    """Chooses the images that the image of a row is joined with.

    Args:
      planned: the global batch.
      row: the row of the batch.
      num_images: the number of images of the data set.
      rng: the generator that the choice is drawn from.
      count: the number of images to choose, at most three.

    Returns:
      positions in the source, either of other rows of the group or, if the group has fewer than
      four rows, of any images.
    """
    group = group_of(row, len(planned.indices))
    if len(group) < _FEWEST:
        return [int(index) for index in rng.integers(num_images, size=count)]
    places = rng.permutation(len(group) - 1)[:count]  # positions in the group without the row
    rows = [group.start + place + (group.start + place >= row) for place in places.tolist()]
    return [int(index) for index in planned.indices[rows]]
