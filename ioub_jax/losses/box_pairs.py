"""Pairs of predicted boxes and targets: the building blocks of the losses on boxes.

All values and gradients are finite for any boxes within 1e8 pixels, including boxes without area,
inverted boxes, equal boxes and boxes far apart. A quotient whose denominator is practically 0 is 0,
with gradient 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops

# Fourth powers of larger coordinates have gradients that float32 cannot represent.
_LARGEST_COORDINATE = 1e8


class BoxPairs(NamedTuple):
    """Boxes and their targets, and the lengths in which they differ, `[...]` in pixels.

    Attributes:
      boxes: `[..., 4]` xyxy, the predicted boxes.
      targets: `[..., 4]` xyxy.
      low_x: difference of the left edges, box minus target.
      low_y: difference of the upper edges, box minus target.
      high_x: difference of the right edges, box minus target.
      high_y: difference of the lower edges, box minus target.
      width: width of the box, at least 0.
      height: height of the box, at least 0.
      target_width: width of the target, at least 0.
      target_height: height of the target, at least 0.
      hull_width: width of the smallest box around both.
      hull_height: height of the smallest box around both.
    """

    boxes: jax.Array
    targets: jax.Array
    low_x: jax.Array
    low_y: jax.Array
    high_x: jax.Array
    high_y: jax.Array
    width: jax.Array
    height: jax.Array
    target_width: jax.Array
    target_height: jax.Array
    hull_width: jax.Array
    hull_height: jax.Array

    @property
    def offset_x(self) -> jax.Array:
        """Difference of the centers along x, box minus target."""
        return (self.low_x + self.high_x) / 2.0

    @property
    def offset_y(self) -> jax.Array:
        """Difference of the centers along y, box minus target."""
        return (self.low_y + self.high_y) / 2.0

    @property
    def squared_diagonal(self) -> jax.Array:
        """Squared diagonal of the hull, in square pixels."""
        return jnp.square(self.hull_width) + jnp.square(self.hull_height)


def pairs_of(boxes: ArrayLike, target_boxes: ArrayLike) -> BoxPairs:
    """Boxes and their targets.

    Args:
      boxes: `[..., 4]` xyxy, pixels. Clipped to +- 1e8, with gradient 0 beyond it.
      target_boxes: `[..., 4]` xyxy, pixels, clipped likewise.
    """
    boxes, targets = (
        jnp.clip(each, -_LARGEST_COORDINATE, _LARGEST_COORDINATE)
        for each in box_ops.align(boxes, target_boxes)
    )
    # The differences of edges are computed first, because the centers of boxes far from the origin
    # would be rounded.
    first, second = box_ops.edges(boxes), box_ops.edges(targets)
    low_x, low_y, high_x, high_y = (a - b for a, b in zip(first, second, strict=True))
    x = (first.left, first.right, second.left, second.right)
    y = (first.top, first.bottom, second.top, second.bottom)
    return BoxPairs(
        boxes,
        targets,
        low_x,
        low_y,
        high_x,
        high_y,
        width=jnp.maximum(x[1] - x[0], 0.0),
        height=jnp.maximum(y[1] - y[0], 0.0),
        target_width=jnp.maximum(x[3] - x[2], 0.0),
        target_height=jnp.maximum(y[3] - y[2], 0.0),
        hull_width=_extent(x),
        hull_height=_extent(y),
    )


def _extent(edges: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Extent of four edges in any order."""
    low, high, target_low, target_high = edges
    highest = jnp.maximum(jnp.maximum(low, high), jnp.maximum(target_low, target_high))
    lowest = jnp.minimum(jnp.minimum(low, high), jnp.minimum(target_low, target_high))
    return highest - lowest


def scaled(boxes: jax.Array, ratio: float) -> jax.Array:
    """Boxes `[..., 4]` with `ratio` times the sides about the same centers."""
    low, high = jnp.split(boxes, 2, axis=-1)
    grown = (ratio - 1.0) * 0.5 * (high - low)
    return jnp.concatenate([low - grown, high + grown], axis=-1)


def magnitude(difference: jax.Array) -> jax.Array:
    """`|difference|`, with gradient 0 at 0 (`jnp.abs` has 1 there)."""
    return difference * jnp.sign(difference)


def power_or_zero(base: jax.Array, exponent: float) -> jax.Array:
    """`base ** exponent` for a base of at least 0, with value and gradient 0 at a base of 0.

    It is 1 everywhere for the exponent 0, and the base for the exponent 1.
    """
    if exponent == 0:
        return jnp.ones_like(base)
    if exponent == 1:
        return base
    above_zero = ~(base <= 0.0)  # True for NaN, which must propagate
    return jnp.where(above_zero, jnp.where(above_zero, base, 1.0) ** exponent, 0.0)


# ------------------------------------------------------------------ penalties, each at least 0


def of_width(pairs: BoxPairs) -> jax.Array:
    """`((w - w') / cw)^2`, of EIoU."""
    return jnp.square(box_ops.divide_or_zero(pairs.width - pairs.target_width, pairs.hull_width))


def of_height(pairs: BoxPairs) -> jax.Array:
    """`((h - h') / ch)^2`, of EIoU."""
    return jnp.square(box_ops.divide_or_zero(pairs.height - pairs.target_height, pairs.hull_height))


def of_angle_and_distance(pairs: BoxPairs) -> jax.Array:
    """Half the distance cost of SIoU, the sum over x and y of `1 - exp(-(2 - L) (dx / cw)^2)`.

    Here `L = sin 2a = 2 |dx dy| / d^2`, with a the angle between the line of the centers and an
    axis.
    """
    dx, dy = pairs.offset_x, pairs.offset_y
    squared = jnp.square(dx) + jnp.square(dy)
    angle = box_ops.divide_or_zero(2.0 * magnitude(dx) * magnitude(dy), squared)
    cost = jnp.zeros_like(angle)
    for offset, extent in ((dx, pairs.hull_width), (dy, pairs.hull_height)):
        share = jnp.square(box_ops.divide_or_zero(offset, extent))
        cost = cost - jnp.expm1(-(2.0 - angle) * share)
    return cost / 2.0


def of_shape(pairs: BoxPairs, theta: float) -> jax.Array:
    """Half the shape cost of SIoU, `sum (1 - exp(-|w - w'| / max(w, w')))^theta / 2`."""
    return _shape_cost(pairs, theta, 1.0, 1.0)


def of_weighed_distance(pairs: BoxPairs, scale: float) -> jax.Array:
    """`(hh dx^2 + ww dy^2) / c^2`, of Shape-IoU."""
    ww, hh = _weights_of_sides(pairs, scale)
    weighed = hh * jnp.square(pairs.offset_x) + ww * jnp.square(pairs.offset_y)
    return box_ops.divide_or_zero(weighed, pairs.squared_diagonal)


def of_weighed_shape(pairs: BoxPairs, scale: float, theta: float) -> jax.Array:
    """Half the shape cost of SIoU, with differences of widths times hh and of heights times ww."""
    ww, hh = _weights_of_sides(pairs, scale)
    return _shape_cost(pairs, theta, hh, ww)


def _shape_cost(
    pairs: BoxPairs, theta: float, before_width: jax.Array | float, before_height: jax.Array | float
) -> jax.Array:
    cost = jnp.zeros_like(pairs.width)
    for side, target_side, weight in (
        (pairs.width, pairs.target_width, before_width),
        (pairs.height, pairs.target_height, before_height),
    ):
        larger = jnp.maximum(side, target_side)
        share = box_ops.divide_or_zero(magnitude(side - target_side), larger)
        cost = cost + power_or_zero(-jnp.expm1(-weight * share), theta)
    return cost / 2.0


def _weights_of_sides(pairs: BoxPairs, scale: float) -> tuple[jax.Array, jax.Array]:
    """`ww = 2 w'^s / (w'^s + h'^s)` and hh likewise; 1 for a target that is a point."""
    larger = jnp.maximum(pairs.target_width, pairs.target_height)
    # The sides are divided by the larger one, since powers of pixels could overflow.
    is_point = larger <= 0.0
    width, height = (
        power_or_zero(
            jnp.where(is_point, 1.0, box_ops.divide_or_zero(side, larger)),
            scale,
        )
        for side in (pairs.target_width, pairs.target_height)
    )
    total = width + height
    defined = total > 0.0
    total = jnp.where(defined, total, 1.0)
    return (
        jnp.where(defined, 2.0 * width / total, 1.0),
        jnp.where(defined, 2.0 * height / total, 1.0),
    )


def of_corners(pairs: BoxPairs, squared_diagonal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared distances of the upper left and of the lower right corners, of MPDIoU.

    Args:
      pairs: `[...]` pairs.
      squared_diagonal: squared diagonal of the image, `[]` or `[...]`, in square pixels.
    """
    low = jnp.square(pairs.low_x) + jnp.square(pairs.low_y)
    high = jnp.square(pairs.high_x) + jnp.square(pairs.high_y)
    squared_diagonal = jnp.broadcast_to(squared_diagonal, low.shape)
    return (
        box_ops.divide_or_zero(low, squared_diagonal),
        box_ops.divide_or_zero(high, squared_diagonal),
    )


def mean_edge_distance(pairs: BoxPairs) -> jax.Array:
    """P of Powerful-IoU: mean distance of the edges, divided by the target's width or height.

    It is limited to 1000, with gradient 0 beyond, since only exp(-P) is used, which is 0 there.
    """
    of_x = magnitude(pairs.low_x) + magnitude(pairs.high_x)
    of_y = magnitude(pairs.low_y) + magnitude(pairs.high_y)
    mean = (
        box_ops.divide_or_zero(of_x, pairs.target_width)
        + box_ops.divide_or_zero(of_y, pairs.target_height)
    ) / 4.0
    return jnp.minimum(mean, 1000.0)


# ------------------------------------------------------------------ factors of the whole loss


def pull_of_centers(pairs: BoxPairs) -> jax.Array:
    """`exp(d^2 / c^2)` of Wise-IoU, in 1..e; no gradient flows through c^2."""
    squared = jnp.square(pairs.offset_x) + jnp.square(pairs.offset_y)
    return jnp.exp(box_ops.divide_or_zero(squared, jax.lax.stop_gradient(pairs.squared_diagonal)))


def attention(mean_distance: jax.Array, lambda_: float) -> jax.Array:
    """`3 u exp(-u^2)`, `u = lambda exp(-P)`, of PIoU v2: largest at u = 1 / sqrt(2)."""
    quality = lambda_ * jnp.exp(-mean_distance)
    return 3.0 * quality * jnp.exp(-jnp.square(quality))
