"""Examples joined from several: mosaic, mixup and copy-paste.

The joined examples may have any size and are not changed. The result has the objects of all
examples with their flags and areas, and the image id of the first example.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ioub_jax.data.occlusion import areas, cover, cut
from ioub_jax.data.sources.example import Example
from ioub_jax.data.transforms import SMALLEST_SIDE, jittered, pixels, shrink_quickly

Size = tuple[int, int]
#: Range of the point where the four images of a mosaic meet, as shares of the mosaic's sides. It
#: excludes images that would be slivers.
_MIDDLE = (0.25, 0.75)
#: Parameter of the Beta distribution of the first image's weight in a mixup, which is about .5.
#: Ultralytics uses Beta(32, 32) too.
_MIXUP_BETA = 32.0
#: Probability that an object is pasted into the other image.
_PASTED = 0.5


def join_objects(examples: Sequence[Example], image: np.ndarray) -> Example:
    """One example with the objects of several, whose boxes are in pixels of the given image."""
    fields = ("boxes", "labels", "crowd", "difficult", "ignored", "area")
    return Example(
        image=image,
        image_id=examples[0].image_id,
        **{
            name: np.concatenate([getattr(example, name) for example in examples])
            for name in fields
        },
    )


def mosaic(
    examples: Sequence[Example],
    rng: np.random.Generator,
    *,
    size_of: Callable[[Size], Size],
    factors: Sequence[float],
    min_visibility: float,
    color: tuple[int, ...],
    out: np.ndarray,
) -> Example:
    """Four images in the four quarters around a random point (Bochkovskiy et al. 2020, YOLOv4).

    The point lies in the middle half of each side. Every image is scaled by its own factor. An
    image that is larger than its quarter is cut at random, and only its visible part is resized. A
    smaller image is placed at the corner of its quarter where the four images meet, and the rest of
    the quarter is filled with the color. In Ultralytics and YOLOX all four images share a factor,
    and each is cut at its outer side.

    Objects of which less than `min_visibility` is left after cutting become regions to ignore.

    Args:
      examples: four examples of any size.
      rng: the generator; 10 numbers are drawn from it.
      size_of: maps the height and width of an image to those at factor 1.
      factors: the factor of each image's size.
      min_visibility: share of an object's box that must be inside of its quarter.
      color: the color of the parts that no image covers, a number for each channel.
      out: uint8 `[H, W, channels]`, which the mosaic overwrites completely.

    Returns:
      the mosaic, with its pixels in `out`.
    """
    draws = rng.random(10)
    size_of = functools.cache(size_of)
    middle = [
        min(max(round((_MIDDLE[0] + draw * (_MIDDLE[1] - _MIDDLE[0])) * side), 1), side)
        for side, draw in zip(out.shape[:2], draws[:2], strict=True)
    ]
    parts = []
    for number, example in enumerate(examples):
        is_low, is_right = divmod(number, 2)
        rows = slice(middle[0], None) if is_low else slice(middle[0])
        columns = slice(middle[1], None) if is_right else slice(middle[1])
        quarter = out[rows, columns]
        if quarter.size == 0:  # the mosaic is one pixel high or wide
            continue
        place_draws = draws[2 + 2 * number :][:2]
        part = _seen_part(example, size_of, factors[number], quarter.shape[:2], place_draws)
        top = 0 if is_low else quarter.shape[0] - part.size[0]
        left = 0 if is_right else quarter.shape[1] - part.size[1]
        if part.size != quarter.shape[:2]:
            fill(quarter, color)
        place = quarter[top : top + part.size[0], left : left + part.size[1]]
        shrink_quickly(part.pixels, part.size, place)
        parts.append(part.at(left + is_right * middle[1], top + is_low * middle[0]))
    return _place_objects(parts, out, min_visibility)


class _Part(NamedTuple):
    """The visible part of an image in a mosaic.

    Attributes:
      example: the example of the image.
      window: left, top, right and bottom of the visible part, in pixels of the image.
      size: height and width of the visible part in the mosaic.
      left: left edge of the visible part in the mosaic.
      top: top edge of the visible part in the mosaic.
    """

    example: Example
    window: tuple[int, int, int, int]
    size: Size
    left: int = 0
    top: int = 0

    @property
    def pixels(self) -> np.ndarray:
        left, top, right, bottom = self.window
        return pixels(self.example)[top:bottom, left:right]

    @property
    def transform(self) -> tuple[float, ...]:
        """Parameters that map boxes to the mosaic, 16 numbers.

        They are the corner of the window, the factors of the size, the size and the position in the
        mosaic. Each has two numbers, which are repeated for the second corner of a box.
        """
        left, top, right, bottom = self.window
        height, width = self.size
        across, down = width / (right - left), height / (bottom - top)
        return (
            *(left, top, left, top),
            *(across, down, across, down),
            *(width, height, width, height),
            *(self.left, self.top, self.left, self.top),
        )

    def at(self, left: int, top: int) -> "_Part":
        return self._replace(left=left, top=top)


def _seen_part(
    example: Example,
    size_of: Callable[[Size], Size],
    factor: float,
    room: Sequence[int],
    positions: np.ndarray,
) -> _Part:
    """The part of an image that is visible in the given space."""
    height, width = pixels(example).shape[:2]
    wanted = size_of((height, width))
    top, bottom, new_height = jittered(height, factor * wanted[0], room[0], positions[0])
    left, right, new_width = jittered(width, factor * wanted[1], room[1], positions[1])
    # Windows with even sides can be halved in a single step.
    bottom -= (bottom - top) % 2 and bottom - top < height
    right -= (right - left) % 2 and right - left < width
    return _Part(example, (left, top, right, bottom), (new_height, new_width))


def _place_objects(parts: Sequence[_Part], image: np.ndarray, min_visibility: float) -> Example:
    """The objects of all parts at their places in the mosaic.

    All parts are processed together: with few objects, the number of numpy calls determines the
    time.
    """
    counts = [len(part.example.labels) for part in parts]
    joined = join_objects([part.example for part in parts], image)
    of_parts = np.array([part.transform for part in parts], np.float32)
    of_boxes = np.repeat(of_parts, counts, axis=0)
    corner, ratio, size, start = (of_boxes[:, k : k + 4] for k in (0, 4, 8, 12))
    # Clipped before the shift, so that a coordinate on the window's edge is exact.
    whole = (joined.boxes - corner) * ratio
    clipped = np.minimum(np.maximum(whole, 0), size)
    sides = clipped[:, 2:] - clipped[:, :2]
    visible = sides[:, 0] * sides[:, 1] / np.maximum(areas(whole), np.finfo(np.float32).tiny)
    keep = sides.min(axis=1) >= SMALLEST_SIDE
    return dataclasses.replace(
        joined,
        boxes=(clipped + start)[keep],
        labels=joined.labels[keep],
        crowd=joined.crowd[keep],
        difficult=joined.difficult[keep],
        ignored=(joined.ignored | (visible < min_visibility))[keep],
        area=(joined.area * visible * ratio[:, 0] * ratio[:, 1])[keep],
    )


def _shifted(example: Example, left: int, top: int) -> Example:
    shift = np.array([left, top, left, top], np.float32)
    return dataclasses.replace(example, boxes=example.boxes + shift)


def fill(image: np.ndarray, color: tuple[int, ...]) -> None:
    """Paints an image uint8 `[H, W, channels]` in one color."""
    # Numpy copies a line of pixels at once, but would assign a color pixel by pixel.
    image[:] = np.tile(np.array(color, np.uint8), (image.shape[1], 1))


def mixup(
    example: Example, other: Example, rng: np.random.Generator, *, min_visibility: float
) -> Example:
    """Blends two images (Zhang et al. 2018; for detection Zhang et al. 2019, YOLOX).

    The weight is about a half (Beta(32, 32), as in Ultralytics). The objects of both images are
    learned with full weight, whatever the weight of the blend. Pixels outside of the other image
    stay unchanged.

    Args:
      example: the example.
      other: the other example; parts that exceed the first image are cut off.
      rng: the generator; the weight is drawn from it.
      min_visibility: as in `occlusion.cut`, for the objects of the other example.

    Returns:
      the blended example, of the size of the first.
    """
    weight = float(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
    image = pixels(example).copy()
    height, width = (
        min(sides) for sides in zip(image.shape[:2], pixels(other).shape[:2], strict=True)
    )
    other = cut(other, (0, 0, width, height), min_visibility)
    # The channels are flattened into the width, so that there may be any number of them.
    first, second = (
        np.ascontiguousarray(part[:height, :width]).reshape(height, -1)
        for part in (image, pixels(other))
    )
    blended = cv2.addWeighted(first, weight, second, 1 - weight, 0.0)
    image[:height, :width] = blended.reshape(height, width, -1)
    return join_objects([example, other], image)


def copy_paste(
    example: Example, donor: Example, rng: np.random.Generator, *, min_visibility: float
) -> Example:
    """Pastes objects of another image as rectangles (Ghiasi et al. 2021, without their masks).

    Each object of the donor is chosen with probability 1/2, except crowds, difficult objects and
    regions to ignore. The pixels of its box are pasted at a random place inside of the image. An
    object that does not fit, or would cover one that was pasted before, is not pasted. Other
    objects of the donor that are visible in the rectangle are pasted with it; those of which less
    than `min_visibility` is visible become regions to ignore. Likewise, objects of the image of
    which less than `min_visibility` remains uncovered become regions to ignore; the others keep
    their boxes.

    Args:
      example: the example.
      donor: the example whose objects are pasted, at the size at which they are pasted.
      rng: the generator; three numbers are drawn for each object of the donor.
      min_visibility: share of an object's box that must be visible.

    Returns:
      the example with its own and the pasted objects.
    """
    draws = rng.random((len(donor.labels), 3))
    takes = (draws[:, 0] < _PASTED) & ~(donor.crowd | donor.difficult | donor.ignored)
    image = pixels(example).copy()
    parts: list[Example] = []
    places: list[list[int]] = []
    for number in np.flatnonzero(takes).tolist():
        window = _pixels_of(donor, number)
        part_height, part_width = window[3] - window[1], window[2] - window[0]
        free = image.shape[0] - part_height, image.shape[1] - part_width
        if min(free) < 0 or min(part_height, part_width) < 1:
            continue
        top, left = (
            int(draw * (side + 1)) for draw, side in zip(draws[number, 1:], free, strict=True)
        )
        place = [left, top, left + part_width, top + part_height]
        if any(_overlap(place, other) for other in places):
            continue
        part = cut(donor, window, min_visibility)
        image[top : place[3], left : place[2]] = part.image
        parts.append(_shifted(part, left, top))
        places.append(place)
    if not parts:
        return example
    return join_objects([cover(example, np.array(places), min_visibility), *parts], image)


def _pixels_of(example: Example, number: int) -> tuple[int, int, int, int]:
    """The window of all pixels that the box of an object touches."""
    height, width = pixels(example).shape[:2]
    left, top, right, bottom = example.boxes[number].tolist()
    return (
        max(int(np.floor(left)), 0),
        max(int(np.floor(top)), 0),
        min(int(np.ceil(right)), width),
        min(int(np.ceil(bottom)), height),
    )


def _overlap(first: Sequence[int], second: Sequence[int]) -> bool:
    across = min(first[2], second[2]) > max(first[0], second[0])
    return across and min(first[3], second[3]) > max(first[1], second[1])
