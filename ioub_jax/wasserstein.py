"""Similarity of boxes as Gaussians (NWD), which also distinguishes boxes that do not overlap.

A box is modeled as the normal distribution with its center as the mean and half its sides as the
standard deviations. The squared 2-Wasserstein distance of two such distributions is
`W^2 = dx^2 + dy^2 + ((w - w')^2 + (h - h')^2) / 4`, in square pixels, and
`NWD = exp(-sqrt(W^2 + eps) / constant)` (Wang et al., arXiv 2110.13389, equations 5-9). It is 1 for
equal boxes (except for eps) and decreases with the distance in pixels, however small the boxes are.

Numbers are computed in float32, or in float64 when an input is float64.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops

#: The mean absolute size, in pixels, of the objects of AI-TOD, the paper's data set.
CONSTANT = 12.8


def aligned_similarity(
    boxes: ArrayLike, other_boxes: ArrayLike, *, constant: float = CONSTANT, eps: float = 0.0
) -> jax.Array:
    """NWD of each box with its partner in the other array.

    Args:
      boxes: `[..., 4]` xyxy, pixels.
      other_boxes: `[..., 4]` xyxy, pixels.
      constant: the distance in pixels, above 0, at which the similarity is 1 / e.
      eps: square pixels that are added under the root; the authors' loss has 1e-7.

    Returns:
      `[...]` in 0..1; differentiable in both arguments, with gradient 0 where the distance is 0.
    """
    first, second = box_ops.align(boxes, other_boxes)
    return jnp.exp(-_distance(first, second, eps) / constant)


def pairwise_similarity(
    boxes: ArrayLike, other_boxes: ArrayLike, *, constant: float = CONSTANT, eps: float = 0.0
) -> jax.Array:
    """NWD of every box with every other box.

    Args:
      boxes: `[..., N, 4]` xyxy, pixels.
      other_boxes: `[..., M, 4]` xyxy, pixels; missing leading dimensions are broadcast.
      constant: as in `aligned_similarity`.
      eps: as in `aligned_similarity`.

    Returns:
      `[..., N, M]` in 0..1.
    """
    first, second = box_ops.for_pairs(boxes, other_boxes)
    return jnp.exp(-_distance(first, second, eps) / constant)


def _distance(first: jax.Array, second: jax.Array, eps: float) -> jax.Array:
    """Returns `sqrt(W^2 + eps)` of boxes of equal rank, in pixels."""
    for given in (first, second):
        if given.shape[-1:] != (4,):
            raise ValueError(f"boxes has shape {given.shape}; it must be [..., 4]: xyxy of each.")
    # Half of the sum of the squared differences of the edges: if the edges of an axis differ by a
    # and b, its center differs by (a + b) / 2 and its half side by (b - a) / 2.
    squared = jnp.sum(jnp.square(first - second), axis=-1) / 2.0 + eps
    apart = ~(squared <= 0.0)  # True for NaN, which must propagate
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
