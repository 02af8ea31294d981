"""A data set at the scale of the network: boxes in pixels of the canvases, and the padding."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.batching import MAX_CANVASES
from ioub_jax.data.resizing import Resize, Size, padding_share, suggest_canvases
from ioub_jax.data.sources.annotations import Annotations

# Every canvas costs a compilation, so another one must save at least this much padding, as a share
# of the images' pixels.
_WORTH_A_CANVAS = 0.02


@dataclasses.dataclass(frozen=True)
class ResizedBoxes:
    """The boxes of m objects at the size at which the network sees them.

    Crowds and regions to ignore are left out.

    Attributes:
      objects: int64 `[m]`, positions among all objects of the data set.
      canvases: int64 `[m]`, the position of each object's canvas among the canvases.
      boxes: float32 `[m, 4]`, xyxy in pixels of the canvas.
    """

    objects: np.ndarray
    canvases: np.ndarray
    boxes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Canvases:
    """Canvases and their cost.

    Attributes:
      canvases: height and width of each.
      padding_share: number of padding pixels divided by number of image pixels.
    """

    canvases: tuple[Size, ...]
    padding_share: float


def resize_boxes(
    annotations: Annotations, resize: Resize, canvases: Sequence[Size]
) -> ResizedBoxes:
    """Scales every box as its image is scaled for training, without augmentation.

    Args:
      annotations: the objects of n images.
      resize: how images are scaled; the random factor of a batch's size is taken as 1.
      canvases: height and width of each canvas.

    Returns:
      the scaled boxes.
    """
    # Many images share a size, so each different size is computed once.
    sizes, kind = np.unique(annotations.sizes, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    canvas_of = resize.assign(sizes, canvases)
    resized = np.array(
        [
            resize.size((height, width), canvases[canvas])
            for (height, width), canvas in zip(sizes.tolist(), canvas_of, strict=True)
        ]
    ).reshape(-1, 2)
    ratios = np.tile((resized / sizes)[:, ::-1], 2).astype(np.float32)
    kind_of_object = np.repeat(kind, annotations.counts)
    objects = np.flatnonzero(~annotations.crowd & ~annotations.ignored)
    kinds = kind_of_object[objects]
    return ResizedBoxes(objects, canvas_of[kinds], annotations.boxes[objects] * ratios[kinds])


def with_padding(sizes: np.ndarray, resize: Resize, canvases: Sequence[Size]) -> Canvases:
    """Canvases with their cost.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      resize: how images are scaled.
      canvases: height and width of each canvas.

    Returns:
      the canvases and their padding.
    """
    return Canvases(tuple(canvases), padding_share(sizes, canvases, resize))


def suggested_canvases(
    sizes: np.ndarray, resize: Resize, canvases: Sequence[Size]
) -> list[Canvases]:
    """Sets of canvases with less padding than the configured ones, from few canvases to many.

    For the mode 'fit' they suit images whose shorter side is scaled to the shorter side of the
    first canvas, unless the longer side would then exceed its longer side. Images are then at least
    as large as before. There are no suggestions for stretched images, which have no padding, and
    for tiles, whose canvas is their own size.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      resize: how images are scaled.
      canvases: the configured canvases.

    Returns:
      sets of canvases, each with less padding than the one before.
    """
    if resize.mode in ("stretch", "zoom"):
        return []
    wanted = resize
    if resize.mode == "fit":
        first = canvases[0]
        wanted = Resize("short_side", min(first), max(first))
    found: list[Canvases] = []
    least = padding_share(sizes, canvases, resize)
    for count in range(1, MAX_CANVASES + 1):
        other = with_padding(sizes, resize, suggest_canvases(sizes, wanted, count))
        if other.padding_share < least - _WORTH_A_CANVAS:
            found.append(other)
            least = other.padding_share
    return found
