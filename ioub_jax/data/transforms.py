"""Transforms of one example, which move its image and its boxes together.

Every transform is a pure function that does not change its input. A random transform draws the same
numbers from its generator whatever the image and the options are, so that changing one option of an
augmentation does not change the rest of it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ioub_jax.data.sources.example import Example, select_objects

#: A box is dropped if a side is shorter than this, in pixels, as by mmdetection's
#: `FilterAnnotations(min_gt_bbox_wh=(1e-2, 1e-2))` for large-scale jitter. Thinner boxes result
#: from rounding, and their regression targets would be huge.
SMALLEST_SIDE = 1e-2


def pixels(example: Example) -> np.ndarray:
    """The image of an example, uint8 `[H, W, channels]`.

    Raises:
      ValueError: the example has no image.
    """
    if example.image is None:
        raise ValueError(f"Image {example.image_id} was read without its pixels.")
    return example.image


def by_channels(function: Callable[[np.ndarray], Any], image: np.ndarray) -> np.ndarray:
    """Result of an OpenCV function for an image with any number of channels.

    OpenCV supports up to four channels in all functions, and drops the axis of a single channel.

    Args:
      function: maps an image to an image with the same number of channels.
      image: uint8 `[H, W, channels]`.

    Returns:
      uint8, with the same number of channels.
    """
    channels = image.shape[2]
    if channels <= 4:
        result: np.ndarray = function(image)
        return result if result.ndim == 3 else result[:, :, None]
    groups = (
        np.ascontiguousarray(image[:, :, start : start + 4]) for start in range(0, channels, 4)
    )
    return np.concatenate([by_channels(function, group) for group in groups], axis=2)


def _scaled(
    image: np.ndarray, size: tuple[int, int], out: np.ndarray | None, interpolation: int
) -> np.ndarray:
    """The image scaled to a size, written to `out` if it is given."""
    width_and_height = (int(size[1]), int(size[0]))
    if image.shape[2] == 3:
        return cv2.resize(image, width_and_height, dst=out, interpolation=interpolation)
    scaled = by_channels(
        lambda part: cv2.resize(part, width_and_height, interpolation=interpolation), image
    )
    if out is None:
        return scaled
    np.copyto(out, scaled)
    return out


def horizontal_flip(example: Example) -> Example:
    """Mirrors left and right: x becomes W - x."""
    image = pixels(example)
    width = np.float32(image.shape[1])
    left, top, right, bottom = example.boxes.T
    boxes = np.stack([width - right, top, width - left, bottom], axis=-1)
    return dataclasses.replace(example, image=_flipped(image, 1), boxes=boxes)


def vertical_flip(example: Example) -> Example:
    """Mirrors top and bottom: y becomes H - y."""
    image = pixels(example)
    height = np.float32(image.shape[0])
    left, top, right, bottom = example.boxes.T
    boxes = np.stack([left, height - bottom, right, height - top], axis=-1)
    return dataclasses.replace(example, image=_flipped(image, 0), boxes=boxes)


def _flipped(image: np.ndarray, code: int) -> np.ndarray:
    return by_channels(lambda part: cv2.flip(part, code), image)


def random_flips(
    example: Example, rng: np.random.Generator, *, horizontal: float, vertical: float
) -> Example:
    """Flips with the given probabilities.

    Args:
      example: the example.
      rng: the generator; two numbers are drawn from it.
      horizontal: probability of a horizontal flip.
      vertical: probability of a vertical flip, for images without a natural upright direction.

    Returns:
      the flipped example.
    """
    draws = rng.random(2)
    if draws[0] < horizontal:
        example = horizontal_flip(example)
    if draws[1] < vertical:
        example = vertical_flip(example)
    return example


def fitted_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same aspect ratio that fits a canvas.

    Args:
      size: height and width of an image.
      canvas: height and width to fit into.

    Returns:
      height and width, rounded to whole pixels, at least 1.
    """
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    height, width = (
        min(max(round(side * scale), 1), int(limit))
        for side, limit in zip(size, canvas, strict=True)
    )
    return height, width


def short_side_size(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """The size with a given shorter side, unless the longer one would exceed its limit.

    This is the `keep_ratio` rule of mmdetection and detectron2's `ResizeShortestEdge`, with the
    same rounding to the nearest whole pixel, halves up. (torchvision rounds down.)

    Args:
      size: height and width of an image.
      short_side: length of the shorter side of the result in pixels.
      long_side: largest length of the longer side of the result in pixels; if it limits the size,
        the shorter side is below `short_side`.

    Returns:
      height and width, at least 1.
    """
    scale = min(short_side / min(size), long_side / max(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width


def resize(
    example: Example,
    size: tuple[int, int],
    out: np.ndarray | None = None,
    *,
    quickly: bool = False,
) -> Example:
    """Scales an example to exactly the given size, whatever its aspect ratio.

    The boxes are scaled by the actual ratio along each axis, so they move exactly as the pixels do.
    Areas are scaled too.

    Args:
      example: the example.
      size: height and width of the result.
      out: uint8 `[H, W, channels]`, at least as large as the result, whose pixels are written to
        its top left corner. Writing to memory in use takes half the time of new memory.
      quickly: whether to use `shrink_quickly`.

    Returns:
      the example at that size; without `out`, the same object if it already has that size.
    """
    image = pixels(example)
    height, width = image.shape[:2]
    target = None if out is None else out[: size[0], : size[1]]
    if (height, width) == tuple(size):
        if target is None:
            return example
        np.copyto(target, image)
        return dataclasses.replace(example, image=target)
    if quickly:
        resized = np.empty((*size, *image.shape[2:]), np.uint8) if target is None else target
        shrink_quickly(image, size, resized)
    else:
        shrinks = size[0] <= height and size[1] <= width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = _scaled(image, size, target, interpolation)
    ratio = np.array([size[1] / width, size[0] / height], np.float32)
    # Rounding must not move an edge beyond the last pixel.
    limit = np.array([size[1], size[0]] * 2, np.float32)
    return dataclasses.replace(
        example,
        image=resized,
        boxes=np.minimum(example.boxes * np.tile(ratio, 2), limit),
        area=example.area * ratio.prod(),
    )


def shrink_quickly(image: np.ndarray, size: tuple[int, int], out: np.ndarray) -> None:
    """Scales pixels to a size; shrinking takes a quarter of the time of `resize`.

    While both sides of the image are at least twice those of the result, it is halved by averaging.
    The rest is interpolated. All pixels of the image contribute, but with different weights.

    Args:
      image: uint8 `[H, W, channels]`.
      size: height and width of the result.
      out: uint8 `[H, W, channels]` of that size, which the result is written to.
    """
    height, width = image.shape[:2]
    while 2 * size[0] <= height and 2 * size[1] <= width:
        # OpenCV has a fast path for averages of 2 x 2 pixels, which needs even sides.
        if height % 2 or width % 2:
            even = (height + height % 2, width + width % 2)
            image = _scaled(image, even, None, cv2.INTER_LINEAR)
        height, width = (height + 1) // 2, (width + 1) // 2
        image = _scaled(image, (height, width), None, cv2.INTER_AREA)
    _scaled(image, size, out, cv2.INTER_LINEAR)


def crop(example: Example, window: tuple[int, int, int, int]) -> Example:
    """Cuts a window out of an example.

    Boxes are clipped to the window. As in mmdetection, detectron2 and torchvision, an object is
    kept however little of it is visible. An object is dropped, with its label and flags, only if a
    side of its box is shorter than a hundredth of a pixel.

    Args:
      example: the example.
      window: left, top, right and bottom in whole pixels, right and bottom exclusive.

    Returns:
      the example in the window, its areas scaled by the visible share of each box.

    Raises:
      ValueError: the window is empty or not inside the image.
    """
    image = pixels(example)
    height, width = image.shape[:2]
    left, top, right, bottom = window
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"The window {window} is empty or not inside {width}x{height} pixels.")
    if window == (0, 0, width, height):
        return example
    corner = np.array([left, top], np.float32)
    limit = np.array([right - left, bottom - top], np.float32)
    # Clipped after the shift, so that a coordinate on the window's edge is exact.
    boxes = np.clip(example.boxes - np.tile(corner, 2), 0, np.tile(limit, 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    whole = example.boxes[:, 2:] - example.boxes[:, :2]
    visible = sides.prod(axis=-1) / np.maximum(whole.prod(axis=-1), np.finfo(np.float32).tiny)
    cropped = dataclasses.replace(
        example,
        image=image[top:bottom, left:right].copy(),
        boxes=boxes,
        area=example.area * visible,
    )
    return select_objects(cropped, (sides >= SMALLEST_SIDE).all(axis=-1))


def scale_jitter(
    example: Example,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    canvas: tuple[int, int],
    limits: tuple[float, float],
    out: np.ndarray | None = None,
) -> Example:
    """Large-scale jitter: resizes by a random factor and crops the parts that exceed the canvas.

    Ghiasi et al. 2021 (arXiv 2012.07177) use the limits (0.1, 2.0). The factor is uniform between
    the limits, as in their code, detectron2's `ResizeScale` and torchvision's `ScaleJitter`. If the
    scaled image exceeds the canvas, a random window of it is kept. (detectron2 draws one number for
    the position of the window along both axes, this function one for each axis.) Only that window
    is resized, so nothing larger than the canvas is created.

    Args:
      example: the example.
      rng: the generator; three numbers are drawn from it.
      size: height and width of the image at factor 1.
      canvas: largest height and width of the result.
      limits: smallest and largest factor.
      out: as in `resize`.

    Returns:
      the example at its new size, without padding; boxes are clipped and dropped as by `crop`.
    """
    height, width = pixels(example).shape[:2]
    draws = rng.random(3)
    factor = limits[0] + draws[0] * (limits[1] - limits[0])
    top, bottom, new_height = jittered(height, factor * size[0], canvas[0], draws[1])
    left, right, new_width = jittered(width, factor * size[1], canvas[1], draws[2])
    return resize(crop(example, (left, top, right, bottom)), (new_height, new_width), out)


def jittered(side: int, scaled: float, limit: int, position: float) -> tuple[int, int, int]:
    """The window of a scaled image along one axis.

    Args:
      side: length of the image.
      scaled: length that the whole image would be scaled to.
      limit: length of the canvas.
      position: position of the window, from 0 at the beginning to 1 at the end of the image.

    Returns:
      the beginning and the end of the window in the image, and its length in the result.
    """
    if scaled <= limit:
        return 0, side, min(max(round(scaled), 1), limit)
    visible = max(round(side * limit / scaled), 1)
    start = round(position * (side - visible))
    return start, start + visible, limit
