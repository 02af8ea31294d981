"""Task alignment (TOOD, arXiv 2108.07755): anchors with high scores and well-fitting boxes."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import ranking
from ioub_jax.assigners.claims import Claims, number_of_anchors, strongest
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

#: The implementations whose overlaps, candidates and resolution of conflicts can be reproduced.
AlignmentRule = Literal["tood", "yolo", "libreyolo"]

# The distance in pixels by which a center must be inside a box.
_LEAST_DISTANCE_FROM_EDGE = {"tood": 0.01, "yolo": 1e-9, "libreyolo": 0.0}
# The distance in strides of the farthest edge that LibreYOLO's distribution of 16 bins can reach.
_REACH = 14.99


class SoftMatches(NamedTuple):
    """Targets of every anchor, with the score that it should reach.

    Attributes:
      matches: labels, slots and IoUs of the predicted boxes, each `[B, N]`.
      targets: `[B, N]` in 0..1, the target of the label's entry; 0 where not positive.
    """

    matches: Matches
    targets: jax.Array


class _Measure(NamedTuple):
    """Measure for comparing an object with the predictions of anchors."""

    rule: str
    alpha: float
    beta: float

    def overlap(self, predicted: jax.Array, boxes: jax.Array) -> jax.Array:
        """IoU, or CIoU with a lower bound of 0, of boxes of equal rank."""
        if self.rule == "tood":
            return box_ops.aligned_iou(predicted, boxes)
        # Objects without area have been left out; a prediction without area has overlap 0.
        overlap = jnp.maximum(box_ops.complete_iou(predicted, boxes), 0.0)
        return jnp.where(box_ops.area(predicted) > 0.0, overlap, 0.0)

    def log_metric(self, logits: jax.Array, overlap: jax.Array) -> jax.Array:
        """`log(p^alpha u^beta)`, which does not underflow; the lowest number where u is 0."""
        overlaps = overlap > 0.0
        log_overlap = jnp.log(jnp.where(overlaps, overlap, 1.0))
        metric = self.alpha * jax.nn.log_sigmoid(logits) + self.beta * log_overlap
        return jnp.where(overlaps, metric, jnp.finfo(metric.dtype).min)


def task_aligned(
    anchors: Sequence[ArrayLike],
    boxes: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    ignored: ArrayLike,
    logits: Sequence[ArrayLike],
    predicted_boxes: Sequence[ArrayLike],
    *,
    topk: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
    rule: AlignmentRule = "tood",
    min_side: float = 0.0,
    eps: float = 1e-7,
    strides: Sequence[float] | None = None,
    ignore_iof: float = 0.5,
) -> SoftMatches:
    """Task-aligned assignment (TOOD, arXiv 2108.07755, section 3.2).

    The alignment of an anchor with a box is `t = p^alpha u^beta`, where p is its score for the
    box's class and u is the IoU of its predicted box. The candidates of a box are the `topk`
    anchors with the highest t. A candidate is positive if its t is above 0 and its center is inside
    the box, more than .01 pixels from its edges. An anchor that is positive for several boxes goes
    to the box with the highest u. The target of an anchor is `t / (max t + eps) * max u`, with the
    maxima over all anchors of the box.

    The rule `'yolo'` is that of YOLOv8 and its successors, which have `topk=10, alpha=0.5,
    min_side=16.0, eps=1e-9`. There, u is the CIoU with a lower bound of 0, and only anchors whose
    center is inside the box are candidates. An anchor that several boxes have chosen goes to the
    box with the highest u among all boxes that contain its center, even one that has not chosen it.
    Anchors with t = 0 are not positive; in YOLO they may be, depending on topk, with target 0.

    The rule `'libreyolo'` has the same numbers except `min_side`, the CIoU, and the candidates of
    `'yolo'`, restricted to anchors that are at most 14.99 strides away from each edge. It resolves
    conflicts like `'tood'`. A box without any anchor gets the anchor with the highest t, wherever
    that is.

    Among equal t, the anchor with the lower index is taken; among equal u, the first box. The
    logarithms are compared, so nothing underflows; values of t that differ by a few parts in a
    million may be equal.

    Args:
      anchors: one `[N_l, 4]` xyxy for each level, pixels.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore.
      logits: one `[B, N_l, C]` for each level, before the sigmoid.
      predicted_boxes: one `[B, N_l, 4]` xyxy for each level, pixels.
      topk: the number of candidates of a box, on all levels together.
      alpha: the exponent of the score, at least 0.
      beta: the exponent of the overlap, above 0.
      rule: 'tood', 'yolo' or 'libreyolo', as above.
      min_side: a length in pixels, for `'yolo'`: shorter sides of a box are enlarged to it when the
        centers inside the box are determined. In YOLO, it is the stride of the second level.
      eps: the number that is added to max t, above 0.
      strides: the stride of every level in pixels, for `'libreyolo'`. None: the widths of the
        anchors.
      ignore_iof: the share of an anchor's area that one ignored region must cover for the anchor to
        be ignored, if it is not positive. A region that covers its center is enough.

    Returns:
      The matches and targets; each array is `[B, N]`. `iou` is u. `gt_index` and `iou` are 0 where
      an anchor is not positive.

    Raises:
      TypeError: labels are not integers.
      ValueError: a shape or an option is not one of the possible values.
    """
    _check_options(topk, alpha, beta, rule, min_side, eps)
    given, sizes = check_given(anchors, boxes, labels, valid, ignored, ignore_iof)
    predicted = Predicted(logits, predicted_boxes, given, sizes)
    measure = _Measure(rule, alpha, beta)
    reach = _REACH * stride_of_anchors(given, sizes, strides)
    slot, positive = _assigned(given, predicted, measure, topk, min_side, reach)
    own_boxes = gather_boxes(given.boxes, slot)
    overlap = jnp.where(positive, measure.overlap(predicted.boxes, own_boxes), 0.0)
    matches = matches_of(given, slot, positive, overlap, ignore_iof)
    own_logits = predicted.logits_of_labels(jnp.maximum(matches.labels, 0))
    metric = jnp.where(positive, jnp.exp(measure.log_metric(own_logits, overlap)), 0.0)
    of_anchors = jnp.where(positive, slot, given.boxes.shape[1])
    share = metric / (_highest_of_own(metric, of_anchors, given) + eps)
    return SoftMatches(matches, share * _highest_of_own(overlap, of_anchors, given))


def _assigned(
    given: Given,
    predicted: Predicted,
    measure: _Measure,
    topk: int,
    min_side: float,
    reach: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the slot of each anchor, and whether there is one; both `[B, N]`."""
    count = predicted.boxes.shape[1]
    areas = _with_sides(given.boxes, min_side) if measure.rule == "yolo" else given.boxes
    # The rule of YOLO needs the box with the highest overlap among all boxes.
    none = nowhere(given, predicted.boxes, *predicted.logits)
    highest = jnp.where(none, 0.0, -1.0).astype(predicted.boxes.dtype)

    def visit(state: Any, slot: Any) -> Any:
        (highest, best), (box, area, label, is_object, index) = state, slot
        inside = is_object[:, None] & _is_inside(given, area, measure.rule, reach)
        overlap = measure.overlap(predicted.boxes, box[:, None])
        metric = measure.log_metric(predicted.logits_of_class(label), overlap)
        anchor, made = _chosen(metric, inside, is_object[:, None], topk, measure.rule)
        overlap_of = jnp.take_along_axis(overlap, anchor, axis=1)
        better = inside & (overlap > highest)
        state = jnp.where(better, overlap, highest), jnp.where(better, index[:, None], best)
        return state, (Claims(anchor, made), overlap_of)

    slots = (given.boxes, areas, given.labels, given.is_object, slot_numbers(given))
    by_slot = jax.tree.map(lambda array: array.swapaxes(0, 1), slots)
    (_, best), found = jax.lax.scan(visit, (highest, none.astype(jnp.int32)), by_slot)
    claims, overlaps = jax.tree.map(lambda array: array.swapaxes(0, 1), found)
    slot, value = strongest(claims, overlaps, count)
    if measure.rule == "yolo":
        slot = jnp.where(number_of_anchors(claims, count) > 1, best, slot)
    return jnp.where(value >= 0.0, slot, 0), value >= 0.0


def _is_inside(given: Given, area: jax.Array, rule: str, reach: jax.Array) -> jax.Array:
    """Returns whether each center is inside the one area per image `[B, 4]`: bool `[B, N]`."""
    centers, area = given.centers[None], area[:, None]
    inside = inside_by(centers, area) > _LEAST_DISTANCE_FROM_EDGE[rule]
    if rule == "libreyolo":
        (x, y), (xmin, ymin, xmax, ymax) = coordinates(centers), coordinates(area)
        farthest = jnp.maximum(jnp.maximum(x - xmin, xmax - x), jnp.maximum(y - ymin, ymax - y))
        inside &= farthest <= reach[None]
    return inside


def _chosen(
    metric: jax.Array, inside: jax.Array, is_object: jax.Array, topk: int, rule: str
) -> tuple[jax.Array, jax.Array]:
    """Returns the anchors that a box may choose, and whether it does; both `[B, topk]`."""
    lowest = jnp.finfo(metric.dtype).min
    candidates = is_object if rule == "tood" else inside
    value, anchor = ranking.few_highest(jnp.where(candidates, metric, lowest), topk)
    made = (value > lowest) & jnp.take_along_axis(inside, anchor, axis=1)
    if rule != "libreyolo":
        return anchor, made
    # A box without any anchor takes the best of all anchors.
    value, best = ranking.few_highest(jnp.where(is_object, metric, lowest), 1)
    alone = ~jnp.any(made, axis=1, keepdims=True) & (value > lowest)
    first = jax.lax.broadcasted_iota(jnp.int32, anchor.shape, 1) == 0
    return jnp.where(alone & first, best, anchor), made | (alone & first)


def _highest_of_own(values: jax.Array, slot: jax.Array, given: Given) -> jax.Array:
    """Returns the highest value among the anchors of each anchor's slot: `[B, N]`; else 0."""

    def visit(highest: jax.Array, index: jax.Array) -> jax.Array:
        of_slot = slot == index[:, None]
        value = jnp.max(jnp.where(of_slot, values, 0.0), axis=1, keepdims=True)
        return jnp.where(of_slot, value, highest)

    return visit_slots(visit, slot_numbers(given), jnp.where(slot >= 0, 0.0, values))


def _with_sides(boxes: jax.Array, min_side: float) -> jax.Array:
    """Enlarges boxes to a minimum length of their sides, around the same centers."""
    centers, sides = (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]
    low = jnp.where(sides < min_side, centers - min_side * 0.5, boxes[..., :2])
    high = jnp.where(sides < min_side, centers + min_side * 0.5, boxes[..., 2:])
    return jnp.concatenate([low, high], axis=-1)


def _check_options(
    topk: int, alpha: float, beta: float, rule: str, min_side: float, eps: float
) -> None:
    check_count("topk", topk)
    if rule not in _LEAST_DISTANCE_FROM_EDGE:
        raise ValueError(f"rule is {rule!r}; it must be 'tood', 'yolo' or 'libreyolo'.")
    if rule != "yolo" and min_side != 0.0:
        raise ValueError(f"min_side is {min_side}; by the rule {rule!r} it must be 0.")
    if not alpha >= 0.0:
        raise ValueError(f"alpha is {alpha}; it must be at least 0.")
    for name, value in (("beta", beta), ("eps", eps)):
        if not value > 0.0:
            raise ValueError(f"{name} is {value}; it must be above 0.")
