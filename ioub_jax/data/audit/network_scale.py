"""A data set at the scale of the network: boxes in pixels of the canvases, and the padding."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.batching import MAX_CANVASES
from ioub_jax.data.resizing import Resize, Size, padding_share, suggest_canvases
from ioub_jax.data.sources.annotations import Annotations

# A further canvas is a further compilation; it must save this much padding, as a share of the
# images' pixels.
_WORTH_A_CANVAS = 0.02


@dataclasses.dataclass(frozen=True)
class ResizedBoxes:
    """The boxes of m objects at the size the network sees them, crowds left out.

    Attributes:
      objects: int64 `[m]`, positions among all objects of the data set.
      canvases: int64 `[m]`, positions among the canvases.
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
      padding_share: pixels of padding over pixels of image.
    """

    canvases: tuple[Size, ...]
    padding_share: float


def resize_boxes(
    annotations: Annotations, resize: Resize, canvases: Sequence[Size]
) -> ResizedBoxes:
    """Scales every box as its image is scaled for training, without augmentation.

    Args:
      annotations: of n images.
      resize: how images are scaled; where a batch draws a factor of that, it is 1 here.
      canvases: height and width of each canvas.

    Returns:
      the boxes.
    """
    # As many sizes as there are kinds of images, not as there are images.
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
      they and their padding.
    """
    return Canvases(tuple(canvases), padding_share(sizes, canvases, resize))


def suggested_canvases(
    sizes: np.ndarray, resize: Resize, canvases: Sequence[Size]
) -> list[Canvases]:
    """Canvases that pad less than the configured ones: as few as possible, more if they help.

    For 'fit' they are those of images whose shorter side becomes the shorter side of the first
    canvas unless the longer one exceeds its longer side: images are then seen at least as large.
    A stretched image has no padding, and tiles have the canvas of their size.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      resize: how images are scaled.
      canvases: the present ones.

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
