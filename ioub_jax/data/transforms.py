"""Transforms of one example: its image and its boxes move together."""

import dataclasses

import cv2
import numpy as np

from ioub_jax.data.sources.example import Example


def _pixels(example: Example) -> np.ndarray:
    if example.image is None:
        raise ValueError(f"Image {example.image_id} was read without its pixels.")
    return example.image


def horizontal_flip(example: Example) -> Example:
    """Mirrors left and right: x becomes W - x."""
    image = _pixels(example)
    width = np.float32(image.shape[1])
    left, top, right, bottom = example.boxes.T
    boxes = np.stack([width - right, top, width - left, bottom], axis=-1)
    return dataclasses.replace(example, image=np.ascontiguousarray(image[:, ::-1]), boxes=boxes)


def vertical_flip(example: Example) -> Example:
    """Mirrors top and bottom: y becomes H - y."""
    image = _pixels(example)
    height = np.float32(image.shape[0])
    left, top, right, bottom = example.boxes.T
    boxes = np.stack([left, height - bottom, right, height - top], axis=-1)
    return dataclasses.replace(example, image=np.ascontiguousarray(image[::-1]), boxes=boxes)


def random_flips(
    example: Example, rng: np.random.Generator, *, horizontal: float, vertical: float
) -> Example:
    """Flips with the given probabilities.

    Args:
        example: The example.
        rng: Gives two numbers whatever the probabilities, so that changing one of them does not
            change the other flip.
        horizontal: Probability of a horizontal flip.
        vertical: Probability of a vertical flip, for images that have no up.

    Returns:
        The flipped example.
    """
    draws = rng.random(2)
    if draws[0] < horizontal:
        example = horizontal_flip(example)
    if draws[1] < vertical:
        example = vertical_flip(example)
    return example


def resize_to_fit(example: Example, canvas: tuple[int, int]) -> Example:
    """Scales an example to the largest size that fits a canvas, keeping its aspect ratio.

    Sides are rounded to whole pixels and the boxes scaled by the rounded ratio, so a box moves
    exactly as its pixels do. Areas are scaled too.

    Args:
        example: The example.
        canvas: Height and width to fit into.

    Returns:
        The example at its new size; not padded.
    """
    image = _pixels(example)
    height, width = image.shape[:2]
    scale = min(canvas[0] / height, canvas[1] / width)
    new_height = min(max(round(height * scale), 1), canvas[0])
    new_width = min(max(round(width * scale), 1), canvas[1])
    if (new_height, new_width) == (height, width):
        return example
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    ratio = np.array([new_width / width, new_height / height], np.float32)
    return dataclasses.replace(
        example,
        image=resized,
        boxes=example.boxes * np.tile(ratio, 2),
        area=example.area * ratio.prod(),
    )
