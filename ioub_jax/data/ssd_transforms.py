"""The data augmentation of SSD (Liu et al. 2016, arXiv 1512.02325, sections 2.2 and 3.6).

The order is `photometric_distortion`, `expand`, `minimum_iou_crop`, then a resize to the network's
square input and a flip. The constants are those of the authors' Caffe scripts, which mmdetection
and torchvision share. Where the three differ, these functions follow mmdetection, with which the
SSD of the IoU-balanced losses was trained; the docstrings describe the differences.

As in `transforms`, no function changes its input, and the number of random numbers depends neither
on the image nor on the options.
"""

import dataclasses

import cv2
import numpy as np

from ioub_jax.data.appearance import change_colors, scale_levels
from ioub_jax.data.sources.example import Example, select_objects
from ioub_jax.data.transforms import crop, pixels

_BRIGHTNESS = 32.0  # gray levels
_CONTRAST = 0.5  # contrast and saturation are multiplied by 0.5 to 1.5
_SATURATION = 0.5
_HUE = 18.0  # degrees
_MINIMUM_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
_SMALLEST_SCALE = 0.3
_LARGEST_ASPECT_RATIO = 2.0
_TRIALS = 50
# Probability that a transform is applied.
_PROBABILITY = 0.5


def photometric_distortion(example: Example, rng: np.random.Generator) -> Example:
    """Changes brightness, contrast, saturation, hue and the order of the channels at random.

    Each change has probability 1/2: brightness by -32 to 32, contrast by a factor of 0.5 to 1.5
    either before or after the colors, saturation by a factor of 0.5 to 1.5, hue by -18 to 18
    degrees, and a random order of the channels. Levels are clipped to bytes after every change as
    in Caffe, so a bright image may be overexposed; mmdetection continues with floats beyond 255.
    Caffe's SSD never reorders the channels, and its hue of 18 is in OpenCV's 8-bit units of 2
    degrees.

    Args:
      example: the example.
      rng: the generator; drawn are five decisions, four amounts, the position of the contrast and
        an order of the channels.

    Returns:
      the example with the new image and the same objects.
    """
    done = rng.random(5) < _PROBABILITY
    amounts = np.where(done[:4], rng.uniform(-1.0, 1.0, 4), 0.0)
    contrast_first = rng.random() < 0.5
    order = rng.permutation(3)
    contrast = 1.0 + _CONTRAST * amounts[1]
    first, last = (contrast, 1.0) if contrast_first else (1.0, contrast)

    image = scale_levels(pixels(example), first, _BRIGHTNESS * amounts[0])
    image = change_colors(image, hue=_HUE * amounts[3], saturation=1.0 + _SATURATION * amounts[2])
    image = scale_levels(image, last, 0.0)
    if done[4]:
        channels = cv2.split(image)
        image = cv2.merge([channels[channel] for channel in order])
    return dataclasses.replace(example, image=image)


def expand(
    example: Example,
    rng: np.random.Generator,
    *,
    max_ratio: float = 4.0,
    color: tuple[int, ...],
) -> Example:
    """Places the image at random on a larger canvas of one color, which makes its objects small.

    With probability 1/2 the sides are multiplied by a ratio uniform in [1, max_ratio]. The result
    has up to `max_ratio` squared times as many pixels until it is cropped or resized.

    Args:
      example: the example.
      rng: the generator; four numbers are drawn from it.
      max_ratio: the largest ratio, at least 1.
      color: the color of the canvas, a number for each channel; usually the mean color of the
        images that the backbone was trained on.

    Returns:
      the example on its canvas, with shifted boxes.
    """
    image = pixels(example)
    height, width = image.shape[:2]
    gate, scale, down, across = rng.random(4)
    if gate >= _PROBABILITY:
        return example
    ratio = 1.0 + scale * (max_ratio - 1.0)
    margin_y, margin_x = int(height * ratio) - height, int(width * ratio) - width
    top, left = int(down * (margin_y + 1)), int(across * (margin_x + 1))
    expanded = np.empty((height + margin_y, width + margin_x, image.shape[2]), np.uint8)
    expanded[:] = np.tile(np.array(color, np.uint8), (width + margin_x, 1))
    expanded[top : top + height, left : left + width] = image
    shift = np.array([left, top, left, top], np.float32)
    return dataclasses.replace(example, image=expanded, boxes=example.boxes + shift)


def minimum_iou_crop(example: Example, rng: np.random.Generator) -> Example:
    """Crops a random window that overlaps every object enough, or keeps the whole image.

    One of seven modes is chosen: the whole image, or a window whose IoU with each object is at
    least 0, 0.1, 0.3, 0.5, 0.7 or 0.9. Each side of a window is uniform in 0.3 to 1 of the image's
    side, neither side is more than twice the other, and the window contains the center of at least
    one object. If none of 50 windows satisfies this, another mode is chosen.

    Objects whose center is inside of the window are kept and clipped to it. Crowds and regions to
    ignore do not count as objects: they do not affect the choice, and their visible parts are kept.
    In an image without objects every window is suitable.

    In Caffe and torchvision it suffices that one object has the IoU. Caffe draws the area and the
    aspect ratio of the window instead of its sides; torchvision tries 40 windows.

    Args:
      example: the example.
      rng: the generator; drawn are an order of the modes and 50 windows for each mode.

    Returns:
      the cropped example.
    """
    height, width = pixels(example).shape[:2]
    regions = example.crowd | example.ignored
    objects = example.boxes[~regions]
    order = rng.permutation(len(_MINIMUM_IOUS) + 1)
    draws = rng.random((len(_MINIMUM_IOUS), _TRIALS, 4))
    for mode in order:
        if mode == len(_MINIMUM_IOUS):
            break
        windows = _random_windows(draws[mode], height, width)
        windows = windows[_suitable(windows, objects, _MINIMUM_IOUS[mode])]
        if len(windows):
            keep = _centers_inside(windows[:1], example.boxes)[0] | regions
            left, top, right, bottom = windows[0].tolist()
            return crop(select_objects(example, keep), (left, top, right, bottom))
    return example


def _random_windows(draws: np.ndarray, height: int, width: int) -> np.ndarray:
    """Windows of an allowed shape, int64 `[n, 4]` xyxy, from `[trials, 4]` numbers in [0, 1)."""
    image = np.array([width, height])
    sides = (_SMALLEST_SCALE + (1.0 - _SMALLEST_SCALE) * draws[:, :2]) * image
    corners = draws[:, 2:] * (image - sides)
    windows = np.concatenate([corners, corners + sides], axis=1).astype(np.int64)
    is_square_enough = sides.max(axis=1) <= _LARGEST_ASPECT_RATIO * sides.min(axis=1)
    is_not_empty = (windows[:, 2:] > windows[:, :2]).all(axis=1)
    return windows[is_square_enough & is_not_empty]


def _suitable(windows: np.ndarray, objects: np.ndarray, minimum_iou: float) -> np.ndarray:
    """Mask of the windows that overlap all objects enough and have an object's center: `[n]`."""
    if not len(objects):
        return np.ones(len(windows), bool)
    enough = _ious(windows, objects).min(axis=1) >= minimum_iou
    return enough & _centers_inside(windows, objects).any(axis=1)


def _ious(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of each of n non-empty windows with each of k boxes: `[n, k]`."""
    first, second = windows[:, None, :], boxes[None, :, :]
    shared = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    intersection = np.maximum(shared, 0).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1)
    return intersection / (areas + (second[..., 2:] - second[..., :2]).prod(axis=-1) - intersection)


def _centers_inside(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """True where a window contains the center of a box: bool `[n, k]`."""
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2)[None, :, :]
    inwards = (centers - windows[:, None, :2], windows[:, None, 2:] - centers)
    return np.concatenate(inwards, axis=-1).min(axis=-1) > 0
