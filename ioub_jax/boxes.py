"""Box arithmetic: areas, the IoU family, the anchor codec and clipping.

Boxes are `[..., 4]` arrays `(xmin, ymin, xmax, ymax)` in absolute pixels, with exclusive right and
bottom edges, so a width is `xmax - xmin` with no `+ 1`. Aligned functions broadcast their arguments
against each other. Everything is computed in float32, or in float64 when an input is float64;
bfloat16 and integer inputs are converted first.

A box with no area (`xmax <= xmin` or `ymax <= ymin`) has area 0 and IoU 0 with every box, and all
gradients stay finite, for coordinates within 1e8 pixels (float32 cannot represent the squares of
larger ones). An area below 1e-12 square pixels counts as 0.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# The gradient of a division squares its denominator: float32 can represent the square of 1e-12.
_SMALLEST_DENOMINATOR = 1e-12
# The shortest side, in pixels, whose logarithm `encode` takes.
_SMALLEST_SIDE = 1e-6


def at_least_float32(*arrays: ArrayLike) -> list[jax.Array]:
    """Converts arrays to the common dtype in which boxes and losses are computed.

    Args:
      *arrays: arrays of any shape and any real dtype.

    Returns:
      The arrays, all float64 if one of them is float64, else all float32.
    """
    converted = [jnp.asarray(array) for array in arrays]
    any_double = any(array.dtype == jnp.float64 for array in converted)
    dtype = jnp.float64 if any_double else jnp.float32
    return [array.astype(dtype) for array in converted]


def as_int32(labels: ArrayLike, name: str = "labels") -> jax.Array:
    """Converts labels, or positions of boxes, to the dtype in which they are compared.

    In another dtype, such as one of 8 bits, class 255 could equal -1.

    Args:
      labels: an array of any shape and any integer dtype.
      name: the name of the argument in errors.

    Returns:
      The array, int32.

    Raises:
      TypeError: the labels are not integers.
    """
    try:
        converted = jnp.asarray(labels)
    except (TypeError, ValueError):  # None, words, or rows of different lengths
        raise TypeError(f"{name} must be an array of integers, not {labels!r:.60}.") from None
    if converted.size and not jnp.issubdtype(converted.dtype, jnp.integer):
        raise TypeError(
            f"{name} are {converted.dtype}; they must be integers: convert them, for instance by "
            f"{name}.astype(int)."
        )
    return converted.astype(jnp.int32)


def align(*boxes: ArrayLike) -> list[jax.Array]:
    """Converts arrays to a common dtype and shape, so that no operation promotes ranks implicitly.

    Args:
      *boxes: arrays whose shapes broadcast against each other.

    Returns:
      The arrays in a common shape, float64 if one of them is float64, else float32.
    """
    converted = at_least_float32(*boxes)
    shape = jnp.broadcast_shapes(*(array.shape for array in converted))
    return [jnp.broadcast_to(array, shape) for array in converted]


def for_pairs(first: ArrayLike, second: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Reshapes boxes so that every box is paired with every box of the other array.

    Args:
      first: `[..., N, 4]`.
      second: `[..., M, 4]`; missing leading dimensions are added.

    Returns:
      `first` as `[..., N, 1, 4]` and `second` as `[..., 1, M, 4]`, with equal rank and dtype.
    """
    first, second = at_least_float32(first, second)
    rank = max(first.ndim, second.ndim)
    first = first.reshape((1,) * (rank - first.ndim) + first.shape)
    second = second.reshape((1,) * (rank - second.ndim) + second.shape)
    return first[..., :, None, :], second[..., None, :, :]


def divide_or_zero(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Quotient, or 0 with gradient 0 where the (non-negative) denominator is practically 0.

    A NaN in either is NaN: a box that is not a number must not look like one that fits.

    Args:
      numerator: `[...]`.
      denominator: `[...]`, at least 0; below 1e-12 it counts as 0.

    Returns:
      `[...]`.
    """
    divisible = ~(denominator <= _SMALLEST_DENOMINATOR)
    return jnp.where(divisible, numerator, 0.0) / jnp.where(divisible, denominator, 1.0)


class Edges(NamedTuple):
    """The four edges of boxes, each `[...]`, in pixels."""

    left: jax.Array
    top: jax.Array
    right: jax.Array
    bottom: jax.Array


def edges(boxes: jax.Array) -> Edges:
    """Edges of boxes.

    The gradient of this split is one concatenation. Slices such as `boxes[..., 0]` would each have
    a padded array of the size of all boxes as their gradient.

    Args:
      boxes: `[..., 4]` xyxy.

    Raises:
      ValueError: the last dimension is not 4.
    """
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"boxes has shape {boxes.shape}; it must be [..., 4]: xyxy of each box.")
    return Edges(*(edge[..., 0] for edge in jnp.split(boxes, 4, axis=-1)))


def _sides(of: Edges) -> tuple[jax.Array, jax.Array]:
    """Returns the widths and heights, at least 0."""
    return jnp.maximum(of.right - of.left, 0.0), jnp.maximum(of.bottom - of.top, 0.0)


def _area(of: Edges) -> jax.Array:
    widths, heights = _sides(of)
    return widths * heights


def _intersection(first: Edges, second: Edges) -> jax.Array:
    """Returns the intersection area of boxes of equal rank; 0 if they do not overlap."""
    widths = jnp.minimum(first.right, second.right) - jnp.maximum(first.left, second.left)
    heights = jnp.minimum(first.bottom, second.bottom) - jnp.maximum(first.top, second.top)
    return jnp.maximum(widths, 0.0) * jnp.maximum(heights, 0.0)


def _intersection_and_union(first: Edges, second: Edges) -> tuple[jax.Array, jax.Array]:
    intersection = _intersection(first, second)
    return intersection, _area(first) + _area(second) - intersection


def _pairs_of_edges(boxes: ArrayLike, other_boxes: ArrayLike) -> tuple[Edges, Edges]:
    """Returns the edges of boxes and of their partners, of one shape and dtype."""
    first, second = align(boxes, other_boxes)
    return edges(first), edges(second)


def area(boxes: ArrayLike) -> jax.Array:
    """Areas of boxes, 0 for boxes with no extent.

    Args:
      boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` square pixels.
    """
    (boxes,) = at_least_float32(boxes)
    return _area(edges(boxes))


def aligned_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """IoU of each box with its partner in the other array.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` in 0..1; differentiable in both arguments.
    """
    intersection, union = _intersection_and_union(*_pairs_of_edges(boxes, other_boxes))
    return divide_or_zero(intersection, union)


def pairwise_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """IoU of every box with every box of the other array.

    Args:
      boxes: `[..., N, 4]` xyxy, pixels.
      other_boxes: `[..., M, 4]` xyxy, pixels; missing leading dimensions are broadcast.

    Returns:
      `[..., N, M]` in 0..1.
    """
    first, second = for_pairs(boxes, other_boxes)
    intersection, union = _intersection_and_union(edges(first), edges(second))
    return divide_or_zero(intersection, union)


def pairwise_intersection(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """The area that every box shares with every box of the other array.

    Args:
      boxes: `[..., N, 4]` xyxy, pixels.
      other_boxes: `[..., M, 4]` xyxy, pixels; missing leading dimensions are broadcast.

    Returns:
      `[..., N, M]` square pixels.
    """
    first, second = for_pairs(boxes, other_boxes)
    return _intersection(edges(first), edges(second))


def pairwise_intersection_over_first_area(boxes: ArrayLike, regions: ArrayLike) -> jax.Array:
    """The share of every box's own area that each region covers (COCO's rule for crowds).

    Args:
      boxes: `[..., N, 4]` xyxy, pixels.
      regions: `[..., M, 4]` xyxy, pixels; missing leading dimensions are broadcast.

    Returns:
      `[..., N, M]` in 0..1; 0 for a box with no area.
    """
    first, second = for_pairs(boxes, regions)
    intersection = _intersection(edges(first), edges(second))
    return divide_or_zero(intersection, jnp.broadcast_to(area(first), intersection.shape))


def hull_penalty(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """The share of the smallest box around both that neither covers: IoU - GIoU.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` in 0..1; differentiable in both arguments.
    """
    first, second = _pairs_of_edges(boxes, other_boxes)
    _, union = _intersection_and_union(first, second)
    hull = _area(_hull(first, second))
    return divide_or_zero(hull - union, hull)


def center_distance_penalty(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """Squared distance of the centers over the squared diagonal of the hull: IoU - DIoU.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` in 0..1; differentiable in both arguments.
    """
    first, second = _pairs_of_edges(boxes, other_boxes)
    twice_x = first.left + first.right - second.left - second.right
    twice_y = first.top + first.bottom - second.top - second.bottom
    squared_distance = (jnp.square(twice_x) + jnp.square(twice_y)) / 4.0
    hull_width, hull_height = _sides(_hull(first, second))
    squared_diagonal = jnp.square(hull_width) + jnp.square(hull_height)
    return divide_or_zero(squared_distance, squared_diagonal)


def aspect_ratio_penalty(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """`alpha v`, the third term of CIoU: DIoU - CIoU (arXiv 1911.08287, equations 8-11).

    `v = 4 / pi^2 (atan(w / h) - atan(w' / h'))^2` and `alpha = v / (1 - IoU + v)`. No gradient
    flows through alpha, as in torchvision and in the paper's own code. (mmdetection 3 sets alpha
    to 0 where IoU <= 0.5.)

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` from 0; differentiable in both arguments.
    """
    first, second = align(boxes, other_boxes)
    angle_difference = _aspect_angle(edges(first)) - _aspect_angle(edges(second))
    shape_difference = (4.0 / math.pi**2) * jnp.square(angle_difference)
    dissimilarity = 1.0 - aligned_iou(first, second) + shape_difference
    trade_off = jax.lax.stop_gradient(divide_or_zero(shape_difference, dissimilarity))
    return trade_off * shape_difference


def generalized_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """GIoU (arXiv 1902.09630, algorithm 1): IoU minus `hull_penalty`.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` in -1..1; differentiable in both arguments.
    """
    return aligned_iou(boxes, other_boxes) - hull_penalty(boxes, other_boxes)


def distance_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """DIoU (arXiv 1911.08287, equation 6): IoU minus `center_distance_penalty`.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` in -1..1; differentiable in both arguments.
    """
    return aligned_iou(boxes, other_boxes) - center_distance_penalty(boxes, other_boxes)


def complete_iou(boxes: ArrayLike, other_boxes: ArrayLike) -> jax.Array:
    """CIoU (arXiv 1911.08287, equation 10): DIoU minus `aspect_ratio_penalty`.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]` at most 1; differentiable in both arguments.
    """
    return distance_iou(boxes, other_boxes) - aspect_ratio_penalty(boxes, other_boxes)


def _hull(first: Edges, second: Edges) -> Edges:
    """Returns the smallest box around each pair, even if corners of a box are swapped."""
    x = (first.left, first.right, second.left, second.right)
    y = (first.top, first.bottom, second.top, second.bottom)
    low = (functools.reduce(jnp.minimum, x), functools.reduce(jnp.minimum, y))
    high = (functools.reduce(jnp.maximum, x), functools.reduce(jnp.maximum, y))
    return Edges(*low, *high)


def _aspect_angle(of: Edges) -> jax.Array:
    """Returns atan(width / height), or 0 for a point, whose angle and gradient are undefined."""
    widths, heights = _sides(of)
    has_extent = jnp.square(widths) + jnp.square(heights) > _SMALLEST_DENOMINATOR
    return jnp.arctan2(jnp.where(has_extent, widths, 0.0), jnp.where(has_extent, heights, 1.0))


def _centers_and_sides(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns centers (x, y) `[..., 2]` and sides (width, height) `[..., 2]`, unclipped."""
    low, high = jnp.split(boxes, 2, axis=-1)
    return (low + high) * 0.5, high - low


def encode(
    boxes: ArrayLike,
    anchors: ArrayLike,
    *,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> jax.Array:
    """Box deltas of R-CNN (arXiv 1311.2524, appendix C): the regression targets of a box head.

    They are `dx = (cx - cx_a) / w_a` and `dw = log(w / w_a)`, with `dy` and `dh` likewise for y and
    h, times the weights.

    Args:
      boxes: `[..., 4]` xyxy, pixels. A side below 1e-6 pixels is taken as 1e-6.
      anchors: `[..., 4]` xyxy, pixels, with an area.
      weights: factors of dx, dy, dw, dh: the reciprocals of the standard deviations.

    Returns:
      `[..., 4]` deltas (dx, dy, dw, dh).
    """
    boxes, anchors = align(boxes, anchors)
    centers, sides = _centers_and_sides(boxes)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    sides = jnp.maximum(sides, _SMALLEST_SIDE)
    anchor_sides = jnp.maximum(anchor_sides, _SMALLEST_SIDE)
    offsets = (centers - anchor_centers) / anchor_sides
    deltas = jnp.concatenate([offsets, jnp.log(sides / anchor_sides)], axis=-1)
    return deltas * jnp.broadcast_to(jnp.asarray(weights, deltas.dtype), deltas.shape)


def decode(
    deltas: ArrayLike,
    anchors: ArrayLike,
    *,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    max_log_ratio: float = math.log(1000 / 16),
) -> jax.Array:
    """Boxes from their deltas: the inverse of `encode`.

    Args:
      deltas: `[..., 4]` (dx, dy, dw, dh).
      anchors: `[..., 4]` xyxy, pixels.
      weights: the factors that were passed to `encode`.
      max_log_ratio: the bound of |dw| and |dh|, to which they are clipped so that exp cannot
        overflow. Their gradient is 0 beyond it.

    Returns:
      `[..., 4]` xyxy, pixels, not clipped to any image.
    """
    deltas, anchors = align(deltas, anchors)
    deltas = deltas / jnp.broadcast_to(jnp.asarray(weights, deltas.dtype), deltas.shape)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    offsets, log_ratios = jnp.split(deltas, 2, axis=-1)
    centers = anchor_centers + offsets * anchor_sides
    sides = anchor_sides * jnp.exp(jnp.clip(log_ratios, -max_log_ratio, max_log_ratio))
    return jnp.concatenate([centers - 0.5 * sides, centers + 0.5 * sides], axis=-1)


def clip(boxes: ArrayLike, height: ArrayLike, width: ArrayLike) -> jax.Array:
    """Moves the edges of boxes into their image.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      height: image height in pixels: a scalar, or an array that broadcasts to `boxes[..., 0]`.
      width: image width in pixels, likewise.

    Returns:
      `[..., 4]` xyxy, pixels, x in 0..width and y in 0..height.
    """
    (boxes,) = at_least_float32(boxes)
    height = jnp.asarray(height).astype(boxes.dtype)
    width = jnp.asarray(width).astype(boxes.dtype)
    width, height = (jnp.broadcast_to(limit, boxes.shape[:-1]) for limit in (width, height))
    limits = jnp.stack([width, height, width, height], axis=-1)
    return jnp.clip(boxes, 0.0, limits)
