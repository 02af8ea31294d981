"""A data set as the network will see it: boxes in pixels of the canvases, and the padding."""

import dataclasses
from typing import Any

import numpy as np

from ioub_jax.data.batching import MAX_CANVASES, create_resize
from ioub_jax.data.resizing import Resize, padding_share, suggest_canvases
from ioub_jax.data.sources.annotations import Annotations

Size = tuple[int, int]
# A further canvas is a further compilation; it must save this much padding, as a share of the
# images' pixels.
_WORTH_A_CANVAS = 0.02


@dataclasses.dataclass(frozen=True)
class ResizedBoxes:
    """The boxes of m objects at the size the network sees them, crowds left out.

    Attributes:
        objects: int64 `[m]`, positions among all objects of the data set.
        canvases: int64 `[m]`, positions in `config.data.canvases`.
        boxes: float32 `[m, 4]`, xyxy in pixels of the canvas.
    """

    objects: np.ndarray
    canvases: np.ndarray
    boxes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Canvases:
    """Canvases and what they cost.

    Attributes:
        canvases: Height and width of each.
        padding_share: Pixels of padding over pixels of image.
    """

    canvases: tuple[Size, ...]
    padding_share: float


def resize_boxes(annotations: Annotations, config: Any) -> ResizedBoxes:
    """Scales every box as its image is scaled for training, without augmentation.

    Args:
        annotations: Of n images.
        config: The whole configuration; of `data.resize.scales`, 1.0 is taken.

    Returns:
        The boxes.
    """
    rule, canvases = create_resize(config), canvases_of(config)
    # As many sizes as there are kinds of images, not as there are images.
    sizes, kind = np.unique(annotations.sizes, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    canvas_of = rule.assign(sizes, canvases)
    resized = np.array(
        [
            rule.size((height, width), canvases[canvas])
            for (height, width), canvas in zip(sizes.tolist(), canvas_of, strict=True)
        ]
    ).reshape(-1, 2)
    ratios = np.tile((resized / sizes)[:, ::-1], 2).astype(np.float32)
    kind_of_object = np.repeat(kind, annotations.counts)
    objects = np.flatnonzero(~annotations.crowd & ~annotations.ignored)
    kinds = kind_of_object[objects]
    return ResizedBoxes(objects, canvas_of[kinds], annotations.boxes[objects] * ratios[kinds])


def configured_canvases(sizes: np.ndarray, config: Any) -> Canvases:
    """What the canvases of the configuration cost.

    Args:
        sizes: `[n, 2]`, height and width of each image.
        config: The whole configuration.

    Returns:
        They and their padding.
    """
    canvases = canvases_of(config)
    return Canvases(canvases, padding_share(sizes, canvases, create_resize(config)))


def suggested_canvases(sizes: np.ndarray, config: Any) -> list[Canvases]:
    """Canvases that pad less than those of the configuration: as few as do, and more if they help.

    For 'fit' they are those of images whose shorter side becomes the shorter side of the first
    canvas unless the longer one exceeds its longer side: images are then seen at least as large.
    A stretched image has no padding.

    Args:
        sizes: `[n, 2]`, height and width of each image.
        config: The whole configuration.

    Returns:
        Sets of canvases, each with less padding than the one before.
    """
    rule = create_resize(config)
    if rule.mode == "stretch":
        return []
    wanted = rule
    if rule.mode == "fit":
        first = canvases_of(config)[0]
        wanted = Resize("short_side", min(first), max(first))
    found: list[Canvases] = []
    least = configured_canvases(sizes, config).padding_share
    for count in range(1, MAX_CANVASES + 1):
        canvases = suggest_canvases(sizes, wanted, count)
        share = padding_share(sizes, canvases, rule)
        if share < least - _WORTH_A_CANVAS:
            found.append(Canvases(canvases, share))
            least = share
    return found


def canvases_of(config: Any) -> tuple[Size, ...]:
    """`config.data.canvases` as pairs of int."""
    return tuple((int(height), int(width)) for height, width in config.data.canvases)
