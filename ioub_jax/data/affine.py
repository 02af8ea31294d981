"""Rotation, scale, shear and translation of an example by one warp, hence one interpolation."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np

from ioub_jax.data.occlusion import areas, ignore_less_than
from ioub_jax.data.sources.example import Example, select_objects
from ioub_jax.data.transforms import SMALLEST_SIDE, by_channels, pixels

#: The values of `rotated_boxes`.
ROTATED_BOXES = ("ellipse", "corners")


@dataclasses.dataclass(frozen=True)
class AffineLimits:
    """Limits of `random_affine`.

    Attributes:
      rotation: the largest angle in degrees, in either direction.
      scale: the smallest and the largest factor.
      translation: the largest shift in either direction, as a share of the image's width and
        height.
      shear: the largest angle in degrees along each axis, in either direction.
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translation: float = 0.0
    shear: float = 0.0

    @property
    def is_none(self) -> bool:
        """True if the limits allow only the identity."""
        return self == AffineLimits()


def random_affine(
    example: Example,
    rng: np.random.Generator,
    *,
    limits: AffineLimits,
    rotated_boxes: str,
    min_visibility: float,
    color: tuple[int, ...],
) -> Example:
    """Shears, scales, rotates and shifts an image about its center, each by a uniform amount.

    Args:
      example: the example.
      rng: the generator; six numbers are drawn from it.
      limits: the limits of each amount.
      rotated_boxes: as in `warp`.
      min_visibility: as in `warp`.
      color: as in `warp`.

    Returns:
      the example, with an image of the same size.
    """
    draws = rng.uniform(-1.0, 1.0, 6).tolist()
    height, width = pixels(example).shape[:2]
    low, high = limits.scale
    matrix = affine_matrix(
        (height, width),
        rotation=limits.rotation * draws[0],
        scale=low + (draws[1] + 1) / 2 * (high - low),
        translation=(limits.translation * draws[2], limits.translation * draws[3]),
        shear=(limits.shear * draws[4], limits.shear * draws[5]),
    )
    return warp(
        example,
        matrix,
        rotated_boxes=rotated_boxes,
        min_visibility=min_visibility,
        color=color,
    )


def affine_matrix(
    size: tuple[int, int],
    *,
    rotation: float = 0.0,
    scale: float = 1.0,
    translation: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Matrix that shears, scales and rotates an image about its center, then shifts it.

    Args:
      size: height and width of the image.
      rotation: degrees, clockwise on the screen.
      scale: factor of the size.
      translation: the shift right and down, as shares of the width and the height.
      shear: degrees along x and along y, each below 45 so that the image is not mirrored.

    Returns:
      float64 `[2, 3]`, which maps (x, y, 1) to (x, y). Coordinates are in pixels, whose edges have
      whole numbers.
    """
    turn = math.radians(rotation)
    cosine, sine = scale * math.cos(turn), scale * math.sin(turn)
    across, down = (math.tan(math.radians(angle)) for angle in shear)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, across], [down, 1.0]])
    sides = np.array([size[1], size[0]], np.float64)
    shift = sides / 2 - linear @ (sides / 2) + sides * np.array(translation)
    return np.column_stack([linear, shift])


def warp(
    example: Example,
    matrix: np.ndarray,
    *,
    rotated_boxes: str,
    min_visibility: float,
    color: tuple[int, ...],
) -> Example:
    """Moves the pixels and the boxes of an example by one affine map.

    Boxes are upright before and after the map, so a map that rotates or shears needs an assumption
    about the shape of the object. With `'ellipse'`, the object is the ellipse inscribed in its box,
    and its new box surrounds the mapped ellipse. Kalra et al. 2021 (Towards Rotation Invariance in
    Object Detection) found that this fits the objects of COCO best; Albumentations has it as
    `rotate_method='ellipse'`. With `'corners'`, the object is the whole rectangle, and its new box
    surrounds the mapped corners. This is right for rectangular objects and too large for all
    others, by up to twice the area at 45 degrees. Without rotation and shear both are the same. The
    boxes of crowds and regions to ignore always surround the corners, because they must stay
    covered completely.

    Boxes are clipped to the image. Boxes of which less than `min_visibility` is left become regions
    to ignore, and boxes with a side below a hundredth of a pixel are dropped. Areas are multiplied
    by the determinant of the map and by the share that is left.

    Interpolation is bilinear, without averaging where the map shrinks the image. For factors of a
    half and below, prefer `transforms.scale_jitter` or the preceding resize.

    Args:
      example: the example.
      matrix: `[2, 3]`, as from `affine_matrix`.
      rotated_boxes: 'ellipse' or 'corners'.
      min_visibility: the share of the new upright box that must be inside of the image.
      color: the color of regions from outside of the image, a number for each channel.

    Returns:
      the example, with an image of the same size.
    """
    image = pixels(example)
    height, width = image.shape[:2]
    # OpenCV's coordinates start at the center of a pixel, those of boxes at its edge.
    centers = np.array(matrix, np.float64)
    centers[:, 2] += centers[:, :2].sum(axis=1) / 2 - 0.5
    warped = _warped(image, centers, color)
    by_corners = example.crowd | example.ignored | (rotated_boxes == "corners")
    moved = _moved_boxes(example.boxes, matrix, by_corners)
    clipped = np.clip(moved, 0, np.array([width, height] * 2, np.float32))
    visible = areas(clipped) / np.maximum(areas(moved), np.finfo(np.float32).tiny)
    factor = np.float32(abs(np.linalg.det(matrix[:, :2])))
    placed = dataclasses.replace(
        example, image=warped, boxes=clipped, area=example.area * visible * factor
    )
    placed = ignore_less_than(placed, visible, min_visibility)
    sides = clipped[:, 2:] - clipped[:, :2]
    return select_objects(placed, (sides >= SMALLEST_SIDE).all(axis=-1))


def _warped(image: np.ndarray, matrix: np.ndarray, color: tuple[int, ...]) -> np.ndarray:
    """The image moved by a matrix in the coordinates of pixel centers."""

    def warp_affine(part: np.ndarray, color: tuple[int, ...]) -> Any:
        return cv2.warpAffine(
            part,
            matrix,
            (part.shape[1], part.shape[0]),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=color,
        )

    if len(color) <= 4:
        return by_channels(lambda part: warp_affine(part, color), image)
    # A color of OpenCV has at most four numbers, so each channel is moved separately.
    parts = [warp_affine(image[:, :, k : k + 1].copy(), (color[k],)) for k in range(len(color))]
    return np.stack(parts, axis=2)


def _moved_boxes(boxes: np.ndarray, matrix: np.ndarray, by_corners: np.ndarray) -> np.ndarray:
    """Upright boxes float32 `[n, 4]` around each mapped box, or around its mapped ellipse."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    corners = boxes.astype(np.float64)
    centers = (corners[:, :2] + corners[:, 2:]) / 2 @ linear.T + shift
    halves = (corners[:, 2:] - corners[:, :2]) / 2
    around_corners = halves @ np.abs(linear).T
    around_ellipses = np.sqrt(halves**2 @ (linear**2).T)
    reach = np.where(by_corners[:, None], around_corners, around_ellipses)
    return np.concatenate([centers - reach, centers + reach], axis=1).astype(np.float32)
