"""Which other images an image is joined with: a function of the plan and of a generator.

They are images of the same batch, so that every image is decoded once, however many it is joined
with, and the pipeline with a mosaic of four takes little longer than without. (mmdetection's
`CachedMosaic` and Ultralytics' buffer choose among the images loaded last for the same reason; what
those are depends on the process, the batch does not.)
"""

from collections.abc import Callable

import numpy as np

from ioub_jax.data.batching import PlannedBatch
from ioub_jax.data.sources.example import Example

#: Gives so many other examples, chosen by a generator.
Others = Callable[[np.random.Generator, int], list[Example]]
#: About so many images of a batch are joined with each other: all are held decoded meanwhile.
_GROUP = 8
#: Of batches that are smaller any image of the data set can be one of the others.
_FEWEST = 4


def group_of(row: int, batch_size: int) -> range:
    """The rows of a batch, of 8 to 15 where it has as many, whose images are joined."""
    groups = max(batch_size // _GROUP, 1)
    bounds = [batch_size * number // groups for number in range(groups + 1)]
    number = int(np.searchsorted(bounds, row, side="right")) - 1
    return range(bounds[number], bounds[number + 1])


def choose_others(
    planned: PlannedBatch, row: int, num_images: int, rng: np.random.Generator, count: int
) -> list[int]:
    """The images that the one of a row is joined with.

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
    rows = [other for other in group_of(row, len(planned.indices)) if other != row]
    if len(rows) + 1 < _FEWEST:
        return [int(index) for index in rng.integers(num_images, size=count)]
    return [int(planned.indices[other]) for other in rng.choice(rows, count, replace=False)]
