"""SimOTA (YOLOX, arXiv 2107.08430): each box takes its cheapest anchors, by a dynamic number."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import ranking
from ioub_jax.assigners.claims import Claims, first_of_anchors, number_of_anchors
from ioub_jax.assigners.ground_truth import (
    Given,
    check_count,
    check_given,
    coordinates,
    inside_by,
    matches_of,
    nowhere,
    slot_numbers,
    stride_of_anchors,
    visit_slots,
)
from ioub_jax.assigners.predicted import Predicted
from ioub_jax.matching import Matches, gather_boxes

#: The implementations whose candidates `sim_ota` can reproduce.
TransportRule = Literal["yolox", "mmdetection"]

# Added to an IoU before its logarithm.
_EPS = {"yolox": 1e-8, "mmdetection": 1e-7}
# The factor of costs outside the center. A power of two keeps all digits of a cost, whereas the
# implementations that add 1e5 or 1e6 in float32 lose some.
_FAR = 2.0**20
# The lower bound of logarithms in torch's cross entropy.
_LOWEST_LOG = -100.0


def sim_ota(
    anchors: Sequence[ArrayLike],
    boxes: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    ignored: ArrayLike,
    logits: Sequence[ArrayLike],
    predicted_boxes: Sequence[ArrayLike],
    *,
    objectness: Sequence[ArrayLike] | None = None,
    topk: int = 10,
    iou_weight: float = 3.0,
    center_radius: float | None = None,
    strides: Sequence[float] | None = None,
    rule: TransportRule = "yolox",
    ignore_iof: float = 0.5,
) -> Matches:
    """Simplified optimal transport assignment (YOLOX, arXiv 2107.08430, section 2.1).

    An anchor takes part if its center is near that of any box of the image, less than
    `center_radius` strides away along x and y. Its cost for a box is
    `BCE(s, class) + iou_weight * -log(u + eps)`, where u is the IoU of its predicted box, the cross
    entropy is summed over all classes, and the score is `s = sqrt(p o)` for the class's p and the
    objectness o. Anchors that are only near other boxes cost more than all anchors near the box. A
    box takes its k cheapest anchors, where k is the sum of its `topk` highest u, rounded down and
    at least 1. An anchor that several boxes take goes to the box with the lowest cost, even to a
    box that has not taken it.

    The rule `'mmdetection'` differs in three respects: an anchor also takes part if its center is
    inside any box; the cheaper anchors are those both near the center of the box and inside it; and
    eps is 1e-7 instead of 1e-8.

    Among equal costs, the anchor with the lower index is taken, and the first box gets it.

    Args:
      anchors: one `[N_l, 4]` xyxy for each level, pixels; one square of a stride per location.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore.
      logits: one `[B, N_l, C]` for each level, before the sigmoid.
      predicted_boxes: one `[B, N_l, 4]` xyxy for each level, pixels.
      objectness: one `[B, N_l, 1]` for each level, before the sigmoid; None if scores are p.
      topk: the number of IoUs that are summed.
      iou_weight: the weight of the IoU in the cost, at least 0.
      center_radius: the radius in strides; None: 1.5, or 2.5 for `'mmdetection'`.
      strides: the stride of every level in pixels. None: the widths of the anchors.
      rule: 'yolox' or 'mmdetection', as above.
      ignore_iof: the share of an anchor's area that one ignored region must cover for the anchor to
        be ignored, if it is not positive. A region that covers its center is enough.

    Returns:
      The matches; each array is `[B, N]`. `iou` is u. `gt_index` and `iou` are 0 where an anchor is
      not positive.

    Raises:
      TypeError: labels are not integers.
      ValueError: a shape or an option is not one of the possible values.
    """
    _check_options(topk, iou_weight, center_radius, rule)
    given, sizes = check_given(anchors, boxes, labels, valid, ignored, ignore_iof)
    predicted = Predicted(logits, predicted_boxes, given, sizes, objectness)
    if center_radius is None:
        center_radius = 1.5 if rule == "yolox" else 2.5
    reach = center_radius * stride_of_anchors(given, sizes, strides)
    slot, positive = _assigned(given, predicted, reach, topk, iou_weight, rule)
    iou = box_ops.aligned_iou(predicted.boxes, gather_boxes(given.boxes, slot))
    return matches_of(given, slot, positive, iou, ignore_iof)


def _assigned(
    given: Given,
    predicted: Predicted,
    reach: jax.Array,
    topk: int,
    iou_weight: float,
    rule: str,
) -> tuple[jax.Array, jax.Array]:
    """Returns the slot of each anchor, and whether there is one; both `[B, N]`."""
    takes_part = _takes_part(given, reach, rule)
    # The cross entropy of an anchor without a class.
    of_background = -predicted.sum_over_classes(
        lambda score: jnp.maximum(jnp.log1p(-score), _LOWEST_LOG)
    )

    def visit(state: Any, slot: Any) -> Any:
        (lowest, best), (box, label, is_object, index) = state, slot
        iou = jnp.where(takes_part, box_ops.aligned_iou(predicted.boxes, box[:, None]), 0.0)
        score = predicted.scores_of_class(label)
        of_class = jnp.maximum(jnp.log1p(-score), _LOWEST_LOG)
        of_class -= jnp.maximum(jnp.log(jnp.where(score > 0.0, score, 1e-37)), _LOWEST_LOG)
        cost = jnp.maximum(of_background + of_class, 0.0)
        cost -= iou_weight * jnp.minimum(jnp.log(iou + _EPS[rule]), 0.0)
        near = _is_cheap(given, box, reach, rule)
        cost = jnp.where(near, cost, (cost + 1.0) * _FAR)
        taken = takes_part & is_object[:, None]
        cost = jnp.where(taken, cost, jnp.finfo(cost.dtype).max)
        highest = ranking.few_highest(iou, topk)[0]
        number = jnp.maximum(jnp.sum(highest, axis=1, keepdims=True).astype(jnp.int32), 1)
        _, anchor = ranking.few_highest(-cost, topk)
        rank = jax.lax.broadcasted_iota(jnp.int32, anchor.shape, 1)
        made = jnp.take_along_axis(taken, anchor, axis=1) & (rank < number)
        better = taken & (cost < lowest)
        state = jnp.where(better, cost, lowest), jnp.where(better, index[:, None], best)
        return state, Claims(anchor, made)

    none = nowhere(given, predicted.boxes, *predicted.logits, *predicted.objectness)
    first = (jnp.where(none, 0.0, jnp.inf).astype(of_background.dtype), none.astype(jnp.int32))
    slots = (given.boxes, given.labels, given.is_object, slot_numbers(given))
    by_slot = jax.tree.map(lambda array: array.swapaxes(0, 1), slots)
    (_, best), found = jax.lax.scan(visit, first, by_slot)
    claims = Claims(*(array.swapaxes(0, 1) for array in found))
    count = predicted.boxes.shape[1]
    number = number_of_anchors(claims, count)
    slot = jnp.where(number > 1, best, first_of_anchors(claims, count))
    return jnp.where(number > 0, slot, 0), number > 0


def _takes_part(given: Given, reach: jax.Array, rule: str) -> jax.Array:
    """Returns whether each anchor is near any object: bool `[B, N]`."""

    def visit(found: jax.Array, slot: tuple[jax.Array, jax.Array]) -> jax.Array:
        box, is_object = slot
        near = _is_near(given, box, reach)
        if rule == "mmdetection":
            near |= inside_by(given.centers[None], box[:, None]) > 0.0
        return found | (near & is_object[:, None])

    return visit_slots(visit, (given.boxes, given.is_object), nowhere(given))


def _is_cheap(given: Given, box: jax.Array, reach: jax.Array, rule: str) -> jax.Array:
    near = _is_near(given, box, reach)
    if rule == "mmdetection":
        near &= inside_by(given.centers[None], box[:, None]) > 0.0
    return near


def _is_near(given: Given, box: jax.Array, reach: jax.Array) -> jax.Array:
    """Returns whether each center is near that of the one box per image `[B, 4]`: bool `[B, N]`."""
    (x, y), (xmin, ymin, xmax, ymax) = coordinates(given.centers[None]), coordinates(box[:, None])
    near = jnp.abs(x - (xmin + xmax) * 0.5) < reach[None]
    return near & (jnp.abs(y - (ymin + ymax) * 0.5) < reach[None])


def _check_options(topk: int, iou_weight: float, center_radius: float | None, rule: str) -> None:
    check_count("topk", topk)
    if rule not in _EPS:
        raise ValueError(f"rule is {rule!r}; it must be 'yolox' or 'mmdetection'.")
    if not iou_weight >= 0.0:
        raise ValueError(f"iou_weight is {iou_weight}; it must be at least 0.")
    if center_radius is not None and not center_radius > 0.0:
        raise ValueError(f"center_radius is {center_radius}; it must be above 0, or None.")
