"""Examples whose objects are painted, so that they can be found again in what a transform gives."""

import cv2
import numpy as np

from ioub_jax.data.sources.example import create_example


def rectangles(height, width, boxes, *, channels=3, **flags):
    """Black, with box k painted in gray level 255 - 20 k, 15 at least; boxes in whole pixels."""
    image = np.zeros((height, width, channels), np.uint8)
    for position, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = max(255 - 20 * position, 15)
    return create_example(np.array(boxes), np.arange(len(boxes)), image_id=1, image=image, **flags)


def ellipse(height, width, box):
    """Black, with the white ellipse that touches the sides of a box."""
    left, top, right, bottom = box
    ys, xs = np.mgrid[:height, :width] + 0.5
    across = (xs - (left + right) / 2) / ((right - left) / 2)
    down = (ys - (top + bottom) / 2) / ((bottom - top) / 2)
    image = np.repeat(255 * (across**2 + down**2 <= 1)[..., None], 3, axis=2).astype(np.uint8)
    return create_example(np.array([box]), [0], image_id=1, image=image)


def found(image, threshold=64):
    """The upright box of all pixels of at least a level: left, top, right, bottom; None of none."""
    bright = (image[..., 0] >= threshold).astype(np.uint8)
    if not bright.any():
        return None
    left, top, width, height = cv2.boundingRect(bright)
    return np.array([left, top, left + width, top + height], np.float32)
