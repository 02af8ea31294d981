"""Soft-NMS (Bodla et al., arXiv 1704.04503), exact, under jit, in fixed shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops

#: The factor for the score of a box that a better one of its class overlaps: 1 - IoU from a
#: threshold on (equation 2), or exp(-IoU^2 / sigma) (equation 3).
DECAYS = ("linear", "gaussian")


class _Picked(NamedTuple):
    """State of a Soft-NMS: the current scores of the boxes `[P]`, and the picked boxes `[K]`."""

    left: jax.Array
    number: jax.Array
    picked: jax.Array
    scores: jax.Array


def soft_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    *,
    decay: str,
    max_detections: int,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Soft-NMS within each class of one image.

    The best remaining box is kept with its current score, and lowers the scores of the boxes of its
    class that it overlaps; this is repeated `max_detections` times. Since scores never rise, the
    result is the first `max_detections` boxes of a complete Soft-NMS. It equals that of mmcv's
    `soft_nms` with `offset=0`. No gradient flows through it.

    Args:
      boxes: `[P, 4]` xyxy, pixels; P is at least 1.
      scores: `[P]`, none below 0. A box with a score of NaN is never picked.
      labels: `[P]` int.
      valid: `[P]` bool; other boxes, and boxes that are not finite, are not picked and do not lower
        scores.
      decay: one of `DECAYS`.
      max_detections: K.
      iou_threshold: the IoU from which 'linear' lowers a score.
      sigma: the sigma of 'gaussian'.
      min_score: the minimum score of a kept box.

    Returns:
      `[K]` int32 indices of the kept boxes by descending score, `[K]` their scores, and `[K]` bool,
      which is False (with index and score 0) if there are fewer than K boxes.

    Raises:
      ValueError: there is no such decay.
    """
    if decay not in DECAYS:
        raise ValueError(f"decay is {decay!r}; it must be 'linear' or 'gaussian'.")
    boxes, scores = map(jax.lax.stop_gradient, box_ops.at_least_float32(boxes, scores))
    labels = box_ops.as_int32(labels)
    there = jnp.asarray(valid) & (scores >= min_score) & (scores > -jnp.inf)
    there &= jnp.all(jnp.isfinite(boxes), axis=1)
    most = min(max_detections, scores.shape[0])
    slots = jnp.arange(most, dtype=jnp.int32)

    def goes_on(state: _Picked) -> jax.Array:
        # Not by the maximum: in OpenVINO, that of minus infinities is the lowest finite number.
        return (state.number < most) & jnp.any(state.left > -jnp.inf)

    def pick(state: _Picked) -> _Picked:
        best = jnp.argmax(state.left)
        overlap = box_ops.pairwise_iou(boxes, boxes[best][None])[:, 0]
        lowered = state.left * _factors(overlap, decay, iou_threshold, sigma)
        lowered = jnp.where(lowered >= min_score, lowered, -jnp.inf)
        left = jnp.where(labels == labels[best], lowered, state.left)
        here = slots == state.number
        return _Picked(
            left=jnp.where(jnp.arange(len(left)) == best, -jnp.inf, left),
            number=state.number + 1,
            picked=jnp.where(here, best.astype(jnp.int32), state.picked),
            scores=jnp.where(here, state.left[best], state.scores),
        )

    left = jnp.where(there, scores, -jnp.inf)
    # `shard_map` requires that the initial values of a loop vary between devices like its results.
    nothing = jnp.where(there[0], 0, jnp.zeros_like(labels[0]))
    empty = jnp.broadcast_to(nothing[None], slots.shape)
    end = jax.lax.while_loop(
        goes_on, pick, _Picked(left, nothing, empty, empty.astype(scores.dtype))
    )
    rest = (0, max_detections - most)
    found = jnp.pad(slots < end.number, rest)
    return jnp.pad(end.picked, rest), jnp.pad(end.scores, rest), found


def _factors(overlap: jax.Array, decay: str, iou_threshold: float, sigma: float) -> jax.Array:
    """Returns the factors for the scores of boxes that a better box overlaps by these IoUs."""
    if decay == "gaussian":
        return jnp.exp(-jnp.square(overlap) / sigma)
    return jnp.where(overlap >= iou_threshold, 1.0 - overlap, 1.0)
