"""Transforms of an image's levels, colors and sharpness, which leave its objects unchanged."""

import dataclasses

import cv2
import numpy as np

from ioub_jax.data.sources.example import Example
from ioub_jax.data.transforms import by_channels, pixels

#: The smallest and the largest standard deviation of a random blur, in pixels.
BLUR = (0.1, 2.0)


def levels(values: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to bytes."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def scale_levels(image: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Replaces each level x of an image uint8 `[H, W, channels]` by factor * (x + offset)."""
    if factor == 1.0 and offset == 0.0:
        return image
    table = levels(factor * (np.arange(256) + offset))
    return by_channels(lambda part: cv2.LUT(part, table), image)


def change_colors(
    image: np.ndarray, *, hue: float, saturation: float, value: float = 1.0
) -> np.ndarray:
    """Turns the hue of an image and multiplies its saturation and value.

    Args:
      image: uint8 `[H, W, 3]` RGB.
      hue: angle by which the hue turns, in degrees.
      saturation: factor of the saturation.
      value: factor of the value, which is the largest of the three channels.

    Returns:
      uint8 `[H, W, 3]` RGB; the same object if nothing changes.
    """
    if saturation == 1.0 and hue == 0.0:
        return scale_levels(image, value, 0.0)
    # OpenCV's _FULL codes spread the circle of hues over 256 levels, so hues wrap as bytes do.
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = np.rint(np.arange(256) + hue * 256 / 360) % 256
    table[0, :, 1] = levels(saturation * np.arange(256))
    table[0, :, 2] = levels(value * np.arange(256))
    colors = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), table)
    return cv2.cvtColor(colors, cv2.COLOR_HSV2RGB_FULL, dst=colors)


def random_hsv(
    example: Example, rng: np.random.Generator, *, gains: tuple[float, float, float]
) -> Example:
    """Changes hue, saturation and value, as YOLO's `hsv_h`, `hsv_s` and `hsv_v` do.

    The hue turns in either direction by at most its gain, as a share of the whole circle.
    Saturation and value are multiplied by a factor between 1 minus and 1 plus their gain. All three
    are uniformly distributed.

    Args:
      example: the example. Images that are not RGB have no hue and no saturation: these gains must
        be 0, and every channel is multiplied by the factor of the value.
      rng: the generator; three numbers are drawn from it.
      gains: the gains of hue, saturation and value, 0 to 1; Ultralytics uses (0.015, 0.7, 0.4).

    Returns:
      the example with the new image.
    """
    drawn = rng.uniform(-1.0, 1.0, 3) * np.array(gains)
    hue, saturation, value = drawn.tolist()
    image = change_colors(
        pixels(example), hue=360 * hue, saturation=1.0 + saturation, value=1.0 + value
    )
    return dataclasses.replace(example, image=image)


def random_blur(example: Example, rng: np.random.Generator, *, probability: float) -> Example:
    """Blurs an image with a Gaussian of a random standard deviation.

    The deviation is uniform between 0.1 and 2 pixels, the range of torchvision's `GaussianBlur`.

    Args:
      example: the example.
      rng: the generator; two numbers are drawn from it.
      probability: the probability of a blur.

    Returns:
      the example with the new image.
    """
    gate, size = rng.random(2)
    if gate >= probability:
        return example
    deviation = BLUR[0] + size * (BLUR[1] - BLUR[0])
    image = pixels(example)
    blurred = by_channels(
        lambda part: cv2.GaussianBlur(part, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE),
        image,
    )
    return dataclasses.replace(example, image=blurred)
