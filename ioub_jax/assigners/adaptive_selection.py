"""Adaptive training sample selection (ATSS, arXiv 1912.02424): a threshold for each box."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import ranking
from ioub_jax.assigners.claims import Claims, strongest
from ioub_jax.assigners.ground_truth import (
    Given,
    check_count,
    check_given,
    coordinates,
    inside_by,
    matches_of,
)
from ioub_jax.matching import Matches

# The value in the authors' code, in pixels.
_LEAST_DISTANCE_FROM_EDGE = 0.01
# Equal IoUs, and their mean, are computed with at most this relative difference.
_IOU_ROUNDING = 1e-6
# How many distances of an image are computed at once: those of a hundred boxes from the 9 * 128
# centers that may be among the nearest 9 of a level.
_AT_ONCE = 100 * 9 * ranking.GROUP


def atss(
    anchors: Sequence[ArrayLike],
    boxes: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    ignored: ArrayLike,
    *,
    topk: int = 9,
    ignore_iof: float = 0.5,
) -> Matches:
    """Adaptive training sample selection (ATSS, arXiv 1912.02424, algorithm 1).

    The candidates of a box are the `topk` anchors of each level whose centers are nearest to its
    center, or all anchors of a level with fewer. Let m and s be the mean and the standard deviation
    of the IoUs of all candidates of the box. A candidate is positive if its IoU is at least `m + s`
    and its center is inside the box, more than .01 pixels from its edges. An anchor that is
    positive for several boxes goes to the box with the highest IoU.

    As in the authors' and in mmdetection's code, s is the sample standard deviation (the divisor is
    the number of candidates minus one). For a single candidate, it is 0 here but NaN there, so that
    nothing is positive. IoUs within a millionth of `m + s` reach it: if all candidates have the
    same IoU, all of them inside the box are positive, whatever the rounding.

    Among centers at the same distance, the anchor with the lower index comes first; torch's topk
    leaves the order undefined. This matters for the anchors of one location: for A of them, the
    authors use `topk` times A.

    Args:
      anchors: one `[N_l, 4]` xyxy for each level, pixels; the authors use one square of 8 strides
        per location.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore.
      topk: the number of candidates of a box on each level.
      ignore_iof: the share of an anchor's area that one ignored region must cover for the anchor to
        be ignored, if it is not positive. A region that covers its center is enough.

    Returns:
      The matches; each array is `[B, N]`. `gt_index` and `iou` are 0 where an anchor is not
      positive.

    Raises:
      TypeError: labels are not integers.
      ValueError: a shape or an option is not one of the possible values.
    """
    check_count("topk", topk)
    given, sizes = check_given(anchors, boxes, labels, valid, ignored, ignore_iof)
    count = sum(sizes)
    nearest = _nearest_anchors(given, sizes, topk)
    candidates = given.anchors[nearest]
    boxes = given.boxes[:, :, None]
    iou = box_ops.aligned_iou(candidates, boxes)
    centers = (candidates[..., :2] + candidates[..., 2:]) * 0.5
    positive = (
        given.is_object[..., None]
        & (iou >= _thresholds(iou) * (1.0 - _IOU_ROUNDING))
        & (inside_by(centers, boxes) > _LEAST_DISTANCE_FROM_EDGE)
    )
    slot, of_anchors = strongest(Claims(nearest, positive), iou, count)
    return matches_of(given, slot, of_anchors >= 0.0, of_anchors, ignore_iof)


def _thresholds(iou: jax.Array) -> jax.Array:
    """Returns the mean plus the standard deviation of samples: `[B, M, K]` to `[B, M, 1]`."""
    mean = jnp.mean(iou, axis=-1, keepdims=True)
    squares = jnp.sum(jnp.square(iou - mean), axis=-1, keepdims=True)
    return mean + jnp.sqrt(squares / max(iou.shape[-1] - 1, 1))


def _nearest_anchors(given: Given, sizes: Sequence[int], topk: int) -> jax.Array:
    """Returns the nearest anchors of every box, by level and distance: `[B, M, K]` int32."""
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    levels = jnp.split(given.centers, starts[1:])
    of_boxes = (given.boxes[..., :2] + given.boxes[..., 2:]) * 0.5
    return jnp.concatenate(
        [
            start + _nearest_of_level(centers, of_boxes, min(topk, size))
            for start, centers, size in zip(starts, levels, sizes, strict=True)
        ],
        axis=-1,
    )


def _nearest_of_level(centers: jax.Array, of_boxes: jax.Array, topk: int) -> jax.Array:
    """Returns the `topk` of the centers `[N_l, 2]` nearest to `[B, M, 2]`, by distance."""
    of_slots = of_boxes.swapaxes(0, 1)
    width, groups = min(len(centers), topk * ranking.GROUP), None
    if len(centers) > width:
        # The distances are computed for one box at a time, and only those of the nearest anchor in
        # every group are kept.
        nearest = jax.lax.map(
            lambda of_slot: jnp.max(ranking.in_groups(_nearness(centers[None], of_slot)), axis=-1),
            of_slots,
        )
        groups = _highest(nearest, jnp.arange(nearest.shape[-1], dtype=jnp.int32), topk)
    return jax.lax.map(
        lambda slot: _nearest_of_few(centers, *slot, topk=topk),
        (of_slots, groups),
        batch_size=min(len(of_slots), max(1, _AT_ONCE // width)),
    ).swapaxes(0, 1)


def _nearest_of_few(
    centers: jax.Array, of_boxes: jax.Array, groups: jax.Array | None, *, topk: int
) -> jax.Array:
    """As `_nearest_of_level` for `[B, 2]`, among the centers in the groups `[B, topk]`, or all."""
    if groups is None:
        positions = jnp.arange(len(centers), dtype=jnp.int32)[None]
    else:
        positions = ranking.positions_in_groups(groups)
    inside = jnp.minimum(positions, len(centers) - 1)
    nearness = _nearness(centers[inside], of_boxes)
    return _highest(jnp.where(positions == inside, nearness, -jnp.inf), positions, topk)


def _highest(values: jax.Array, positions: jax.Array, count: int) -> jax.Array:
    return ranking.highest_in_passes(values, jnp.broadcast_to(positions, values.shape), count)[1]


def _nearness(centers: jax.Array, of_boxes: jax.Array) -> jax.Array:
    """Returns negative squared distances `[..., N]` of `[..., N, 2]` from `[..., 2]`, in pixels."""
    (x, y), (of_x, of_y) = coordinates(centers), coordinates(of_boxes[..., None, :])
    return -(jnp.square(x - of_x) + jnp.square(y - of_y))
