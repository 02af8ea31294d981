"""Examples joined from several: mosaic, mixup and copy-paste.

The others come at any size and are not changed. All objects of all examples are carried with their
flags and areas; the number of the image is that of the first.
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
#: Where the four images of a mosaic meet, as shares of its sides: none is a sliver.
_MIDDLE = (0.25, 0.75)
#: Of the weight of the first image in a mixup, about .5: Ultralytics' Beta(32, 32).
_MIXUP_BETA = 32.0
#: How many of the objects of an image are pasted into the other: each with even odds.
_PASTED = 0.5


def join_objects(examples: Sequence[Example], image: np.ndarray) -> Example:
    """One example with the objects of several, in pixels of an image that shows them all."""
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
    colour: tuple[int, ...],
    out: np.ndarray,
) -> Example:
    """Four images in the four quarters around a random point (Bochkovskiy et al. 2020, YOLOv4).

    The point lies in the middle half of each side. Every image is scaled by a factor of its own.
    One that is larger than its quarter is cut, at random, and only the
    part that is seen is ever resized; a smaller one touches the lines that meet at the point and
    leaves the rim to the colour. In Ultralytics and YOLOX all four share a factor, and each is cut
    at its far side.

    What lies in the rest of a cut object's box is not there: of which less than `min_visibility`
    is left, those become regions to ignore.

    Args:
      examples: four of them, at any size.
      rng: gives 10 numbers.
      size_of: from the height and width of an image to those that it has at factor 1.
      factors: of the size, one of each.
      min_visibility: share of an object's box that must be inside of its quarter.
      colour: of what no image covers, a number for each channel.
      out: uint8 `[H, W, channels]`: what the mosaic is painted to, all of it.

    Returns:
      the mosaic, its pixels in `out`.
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
        if quarter.size == 0:  # of an image of one pixel
            continue
        place_draws = draws[2 + 2 * number :][:2]
        part = _seen_part(example, size_of, factors[number], quarter.shape[:2], place_draws)
        top = 0 if is_low else quarter.shape[0] - part.size[0]
        left = 0 if is_right else quarter.shape[1] - part.size[1]
        if part.size != quarter.shape[:2]:
            fill(quarter, colour)
        place = quarter[top : top + part.size[0], left : left + part.size[1]]
        shrink_quickly(part.pixels, part.size, place)
        parts.append(part.at(left + is_right * middle[1], top + is_low * middle[0]))
    return _place_objects(parts, out, min_visibility)


class _Part(NamedTuple):
    """The visible part of an image in a mosaic.

    Attributes:
      example: the image.
      window: left, top, right and bottom of what is seen of it.
      size: height and width that this has in the mosaic.
      left: where it begins there.
      top: where it begins there.
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
        """Of boxes: the window's corner, the factors, the sizes and the place, twice two each."""
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
    # An even window is halved in one go.
    bottom -= (bottom - top) % 2 and bottom - top < height
    right -= (right - left) % 2 and right - left < width
    return _Part(example, (left, top, right, bottom), (new_height, new_width))


def _place_objects(parts: Sequence[_Part], image: np.ndarray, min_visibility: float) -> Example:
    """The objects of all parts, where they are in the mosaic; there are few, so calls count."""
    counts = [len(part.example.labels) for part in parts]
    joined = join_objects([part.example for part in parts], image)
    of_parts = np.array([part.transform for part in parts], np.float32)
    of_boxes = np.repeat(of_parts, counts, axis=0)
    corner, ratio, size, start = (of_boxes[:, k : k + 4] for k in (0, 4, 8, 12))
    # Clipped before the shift: a coordinate on the window's edge comes out exact.
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


def fill(image: np.ndarray, colour: tuple[int, ...]) -> None:
    """Paints an image uint8 `[H, W, channels]` in one colour."""
    # Numpy copies whole lines of pixels, but sets one pixel after the other.
    image[:] = np.tile(np.array(colour, np.uint8), (image.shape[1], 1))


def mixup(
    example: Example, other: Example, rng: np.random.Generator, *, min_visibility: float
) -> Example:
    """Blends two images (Zhang et al. 2018, for detection as in YOLOX and Zhang et al. 2019).

    The weight is about a half (Beta(32, 32), Ultralytics'), and every object of both is learned
    as if it were alone: no loss is weighted by the blend. Pixels beyond the other image stay.

    Args:
      example: the example.
      other: another one; what of it lies beyond the first is cut off.
      rng: gives the weight.
      min_visibility: as in `occlusion.cut`, for what is cut off.

    Returns:
      the blend, of the size of the first.
    """
    weight = float(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
    image = pixels(example).copy()
    height, width = (
        min(sides) for sides in zip(image.shape[:2], pixels(other).shape[:2], strict=True)
    )
    other = cut(other, (0, 0, width, height), min_visibility)
    # Channels side by side, however many there are.
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

    Each object of the donor is taken with even odds, but no crowd, difficult object or region to
    ignore, with the pixels of its box, to a random place where it lies inside of the image. One
    that would cover what was pasted before, or does not fit, is not pasted. Whatever else of the
    donor is seen in the rectangle comes with it; of which less than `min_visibility` is seen, those
    are regions to ignore. So become the objects of the image of which less is left uncovered; the
    others keep their boxes.

    Args:
      example: the example.
      donor: whose objects are pasted, at the size that they are to have.
      rng: gives three numbers for each object of the donor.
      min_visibility: share of an object's box that must be visible.

    Returns:
      the example with the objects of both.
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
