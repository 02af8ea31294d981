"""Codecs between boxes and four outputs of a head: deltas from an anchor, or distances to sides."""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops


class BoxCodec(Protocol):
    """Codec between boxes and the outputs of a head, for anchors of the same leading dimensions."""

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Encodes boxes `[..., 4]`, xyxy in pixels, as the outputs `[..., 4]` of a head."""

    def decode(self, values: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """Decodes the outputs of a head to boxes `[..., 4]`, not clipped to any image."""


@dataclasses.dataclass(frozen=True)
class DeltaCodec:
    """Deltas (dx, dy, dw, dh) from anchors, as in `boxes.encode` and `boxes.decode`.

    Attributes:
      weights: factors of dx, dy, dw, dh.
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """As `boxes.encode`."""
        return box_ops.encode(boxes, anchors, weights=self.weights)

    def decode(self, values: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """As `boxes.decode`."""
        return box_ops.decode(values, anchors, weights=self.weights)


DELTAS = DeltaCodec()


@dataclasses.dataclass(frozen=True)
class DistanceCodec:
    """Distances (left, top, right, bottom) from the center of an anchor (FCOS, arXiv 1904.01355).

    The unit of the distances is the stride: the side of the anchor divided by `scale`.

    Attributes:
      scale: the side of an anchor in strides.
    """

    scale: float = 1.0

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """The distances `[..., 4]`; negative if the center of the anchor is outside the box."""
        boxes, anchors = box_ops.align(boxes, anchors)
        points, strides = self._points_and_strides(anchors)
        return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], -1) / strides

    def decode(self, values: ArrayLike, anchors: ArrayLike) -> jax.Array:
        """The boxes `[..., 4]`, xyxy in pixels."""
        values, anchors = box_ops.align(values, anchors)
        points, strides = self._points_and_strides(anchors)
        low, high = jnp.split(values * strides, 2, axis=-1)
        return jnp.concatenate([points - low, points + high], axis=-1)

    def _points_and_strides(self, anchors: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the centers `[..., 2]` and the strides along each axis `[..., 4]`, in pixels."""
        low, high = anchors[..., :2], anchors[..., 2:]
        strides = (high - low) / self.scale
        return (low + high) * 0.5, jnp.concatenate([strides, strides], axis=-1)


def centreness(boxes: ArrayLike, anchors: ArrayLike) -> jax.Array:
    """Centreness of an anchor's center in a box, 0..1 (FCOS, arXiv 1904.01355, equation 3).

    It is `sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))` for the distances to the edges, and
    0 if the center is outside the box or the box has no area.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      anchors: `[..., 4]` xyxy, pixels.

    Returns:
      `[...]`.
    """
    boxes, anchors = box_ops.align(boxes, anchors)
    points = (anchors[..., :2] + anchors[..., 2:]) * 0.5
    near, far = points - boxes[..., :2], boxes[..., 2:] - points
    least, most = jnp.minimum(near, far), jnp.maximum(near, far)
    shares = box_ops.divide_or_zero(jnp.maximum(least, 0.0), jnp.maximum(most, 0.0))
    product = shares[..., 0] * shares[..., 1]
    inside = product > 0
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, product, 1.0)), 0.0)
