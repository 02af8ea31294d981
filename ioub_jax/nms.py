"""Class-wise non-maximum suppression, exact, under jit, in fixed shapes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax.ranking import highest

# The number of boxes that NMS processes together. A smaller block needs more iterations of the
# loop, which are the main cost on a GPU; a larger one has more overlaps, by the square of its size.
# On a CPU, 128 is slightly faster.
_BLOCK = 256


def class_wise_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    *,
    iou_threshold: float,
    max_detections: int,
) -> tuple[jax.Array, jax.Array]:
    """Greedy non-maximum suppression within each class of one image, exact.

    The best remaining box is kept and removes the boxes of its class that it overlaps by more than
    `iou_threshold`; this is repeated `max_detections` times. The result is the first
    `max_detections` boxes of a complete class-wise NMS, without its P x P IoUs: boxes are processed
    in descending order, a block at a time, until there are enough. The boxes of a block that the
    earlier kept boxes do not suppress are settled together: boxes that no better remaining box
    overlaps are kept and remove the boxes that they overlap, until none remains. Each iteration
    keeps at least one box, so a block needs at most as many iterations as it keeps boxes; in
    practice, it needs a few, whether the candidates belong to one object or to many.

    Args:
      boxes: `[P, 4]` xyxy, pixels; P is at least 1.
      scores: `[P]`. A box with a score of NaN or minus infinity is never picked.
      labels: `[P]` int.
      valid: `[P]` bool; other boxes neither survive nor suppress.
      iou_threshold: the largest IoU that two surviving boxes of a class may have.
      max_detections: K.

    Returns:
      `[K]` int32 indices of the surviving boxes by descending score, with the lower index first for
      equal scores, and `[K]` bool, which is False (with index 0) if there are fewer than K boxes.
    """
    boxes, scores = box_ops.at_least_float32(boxes, scores)
    labels = box_ops.as_int32(labels)
    # No area is negative and every label equals itself, so these conditions are always true. They
    # are here because `shard_map` requires that the initial values of a loop vary between devices
    # like its results.
    possible = ~(box_ops.area(boxes) < 0.0) & (labels == labels) & (scores > -jnp.inf)
    scores = jnp.where(possible & jnp.asarray(valid), scores, -jnp.inf)
    order = highest(scores, scores.shape[0])
    size = min(_BLOCK, scores.shape[0])
    ordered = _Ordered(boxes[order], labels[order], scores[order] > -jnp.inf)
    ordered = jax.tree.map(functools.partial(_padded, multiple=size), ordered)
    # At most all boxes can be picked, whatever `max_detections` is.
    most = min(max_detections, scores.shape[0])
    slots = jnp.arange(most, dtype=jnp.int32)

    def goes_on(state: _Picked) -> jax.Array:
        # Boxes that are not candidates come last. A position beyond the end is limited explicitly,
        # because jax2onnx 0.17 has a slice there that is empty.
        position = jnp.minimum(state.begin, len(ordered.there) - 1)
        more = jax.lax.dynamic_slice_in_dim(ordered.there, position, 1)[0]
        return (state.number < most) & (state.begin < scores.shape[0]) & more

    def pick(state: _Picked) -> _Picked:
        begin, number, picked = state
        block = jax.tree.map(
            lambda array: jax.lax.dynamic_slice_in_dim(array, begin, size), ordered
        )
        better = jax.tree.map(lambda array: array[picked], ordered)
        better = better._replace(there=slots < number)
        suppressed = jnp.any(_suppresses(better, block, iou_threshold), axis=0)
        kept = _settle(block._replace(there=block.there & ~suppressed), iou_threshold)
        slot_of = number + jnp.cumsum(kept.astype(jnp.int32)) - 1
        goes_there = kept[None, :] & (slot_of[None, :] == slots[:, None])
        positions = begin + jnp.arange(size, dtype=jnp.int32)
        return _Picked(
            begin=begin + size,
            number=number + jnp.sum(kept, dtype=jnp.int32),
            picked=picked + jnp.sum(jnp.where(goes_there, positions[None, :], 0), axis=1),
        )

    nothing = (order[0] < 0).astype(jnp.int32)  # 0, but varying between devices for `shard_map`
    start = _Picked(nothing, nothing, jnp.broadcast_to(nothing[None], slots.shape))
    end = jax.lax.while_loop(goes_on, pick, start)
    found = slots < end.number
    picked = jnp.where(found, order[end.picked], 0)
    if most == max_detections:
        return picked, found
    return jnp.pad(picked, (0, max_detections - most)), jnp.pad(found, (0, max_detections - most))


class _Ordered(NamedTuple):
    """Boxes `[N, 4]` in descending order, their labels `[N]`, and whether each counts `[N]`."""

    boxes: jax.Array
    labels: jax.Array
    there: jax.Array


class _Picked(NamedTuple):
    """State of an NMS: start of the next block, number of picked boxes, and their indices `[K]`."""

    begin: jax.Array
    number: jax.Array
    picked: jax.Array


def _suppresses(better: _Ordered, others: _Ordered, iou_threshold: float) -> jax.Array:
    """Returns whether each box of `better` removes each of `others`, bool `[N, M]`."""
    overlap = box_ops.pairwise_iou(others.boxes, better.boxes).T
    same_class = better.labels[:, None] == others.labels[None, :]
    return better.there[:, None] & same_class & (overlap > iou_threshold)


def _settle(block: _Ordered, iou_threshold: float) -> jax.Array:
    """Returns whether each box of a block survives the others in it, bool `[N]`."""
    positions = jnp.arange(len(block.there), dtype=jnp.int32)
    is_better = positions[:, None] < positions[None, :]
    suppresses = is_better & _suppresses(block, block, iou_threshold)

    def settle(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        kept, left = state
        safe = left & ~jnp.any(suppresses & left[:, None], axis=0)
        removed = jnp.any(suppresses & safe[:, None], axis=0)
        return kept | safe, left & ~safe & ~removed

    kept, _ = jax.lax.while_loop(
        lambda state: jnp.any(state[1]), settle, (block.there & False, block.there)
    )
    return kept


def _padded(array: jax.Array, multiple: int) -> jax.Array:
    """Appends zeros or False to an array, so that its length is a multiple of `multiple`."""
    return jnp.pad(array, [(0, -len(array) % multiple)] + [(0, 0)] * (array.ndim - 1))
