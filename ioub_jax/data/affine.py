"""Rotation, scale, shear and translation of an example by one warp, hence one interpolation."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np

from ioub_jax.data.occlusion import areas, ignore_less_than
from ioub_jax.data.sources.example import Example, select_objects
from ioub_jax.data.transforms import SMALLEST_SIDE, by_channels, pixels

#: What the box of a turned object can be.
ROTATED_BOXES = ("ellipse", "corners")


@dataclasses.dataclass(frozen=True)
class AffineLimits:
    """Limits of `random_affine`.

    Attributes:
      rotation: degrees, either way.
      scale: smallest and largest factor.
      translation: share of the image's width and of its height, either way.
      shear: degrees along each axis, either way.
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translation: float = 0.0
    shear: float = 0.0

    @property
    def is_none(self) -> bool:
        """True if nothing would ever move."""
        return self == AffineLimits()


def random_affine(
    example: Example,
    rng: np.random.Generator,
    *,
    limits: AffineLimits,
    rotated_boxes: str,
    min_visibility: float,
    colour: tuple[int, ...],
) -> Example:
    """Shears, scales, rotates and shifts an image about its centre, each by a uniform amount.

    Args:
      example: the example.
      rng: gives six numbers.
      limits: how far it goes.
      rotated_boxes: as in `warp`, as are the next two.
      min_visibility: see there.
      colour: see there.

    Returns:
      the example in an image of the same size.
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
        colour=colour,
    )


def affine_matrix(
    size: tuple[int, int],
    *,
    rotation: float = 0.0,
    scale: float = 1.0,
    translation: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Matrix that shears, scales and rotates an image about its centre, then shifts it.

    Args:
      size: height and width of the image.
      rotation: degrees, clockwise on the screen.
      scale: a factor.
      translation: shares of the width and of the height, right and down.
      shear: degrees along x and along y, each below 45 so that nothing is folded over.

    Returns:
      float64 `[2, 3]`, which takes x, y and 1 to x and y, in pixels whose edges are whole numbers.
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
    colour: tuple[int, ...],
) -> Example:
    """Moves the pixels and the boxes of an example by one affine map.

    A box is upright before and afterwards, so where the map turns or shears, one has to choose
    what its object was. `'ellipse'`: the ellipse inside of the box, whose new upright box is
    taken. It is what Kalra et al. 2021 (Towards Rotation Invariance in Object Detection) found to
    fit the objects of COCO best, and Albumentations' `rotate_method='ellipse'`. `'corners'`: the
    rectangle itself, whose turned corners the new box surrounds. That is right for objects that
    are rectangles, and too large for all others, by up to twice the area at 45 degrees. Without
    rotation and shear both are the same. Crowds and regions to ignore are always those of the
    corners, since all of them must stay covered.

    Boxes are clipped to the image; of which less than `min_visibility` is left, those become
    regions to ignore, and what is left of less than a hundredth of a pixel is dropped. Areas are
    multiplied by the map's and by the share that is left.

    Interpolation is bilinear, without averaging where the map shrinks: to half and below,
    `transforms.scale_jitter` and the resize before are better.

    Args:
      example: the example.
      matrix: `[2, 3]` as `affine_matrix` makes it.
      rotated_boxes: 'ellipse' or 'corners'.
      min_visibility: share of the new upright box that must be inside of the image.
      colour: of what comes from outside of the image, a number for each channel.

    Returns:
      the example in an image of the same size.
    """
    image = pixels(example)
    height, width = image.shape[:2]
    # OpenCV counts from the centres of pixels, boxes from their edges.
    centres = np.array(matrix, np.float64)
    centres[:, 2] += centres[:, :2].sum(axis=1) / 2 - 0.5
    warped = _warped(image, centres, colour)
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


def _warped(image: np.ndarray, matrix: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """The pixels of an image moved, by the matrix of their centres."""

    def warp_affine(part: np.ndarray, colour: tuple[int, ...]) -> Any:
        return cv2.warpAffine(
            part,
            matrix,
            (part.shape[1], part.shape[0]),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=colour,
        )

    if len(colour) <= 4:
        return by_channels(lambda part: warp_affine(part, colour), image)
    # OpenCV has four numbers of a colour: each channel by itself.
    parts = [warp_affine(image[:, :, k : k + 1].copy(), (colour[k],)) for k in range(len(colour))]
    return np.stack(parts, axis=2)


def _moved_boxes(boxes: np.ndarray, matrix: np.ndarray, by_corners: np.ndarray) -> np.ndarray:
    """Upright boxes float32 `[n, 4]` around what each box or the ellipse in it becomes."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    corners = boxes.astype(np.float64)
    centres = (corners[:, :2] + corners[:, 2:]) / 2 @ linear.T + shift
    halves = (corners[:, 2:] - corners[:, :2]) / 2
    around_corners = halves @ np.abs(linear).T
    around_ellipses = np.sqrt(halves**2 @ (linear**2).T)
    reach = np.where(by_corners[:, None], around_corners, around_ellipses)
    return np.concatenate([centres - reach, centres + reach], axis=1).astype(np.float32)
