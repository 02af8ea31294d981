"""Task alignment (TOOD, arXiv 2108.07755): the anchors with high scores and good boxes."""

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

#: Whose overlaps, candidates and settlement of contested anchors `task_aligned` has.
AlignmentRule = Literal["tood", "yolo", "libreyolo"]

# By how many pixels a centre must lie inside a box.
_LEAST_DISTANCE_FROM_EDGE = {"tood": 0.01, "yolo": 1e-9, "libreyolo": 0.0}
# The farthest edge that LibreYOLO's distribution of 16 bins reaches, in strides.
_REACH = 14.99


class SoftMatches(NamedTuple):
    """Targets of every anchor, with the score that it should reach.

    Attributes:
      matches: labels, slots, and IoUs of the predicted boxes, `[B, N]` each.
      targets: `[B, N]` in 0..1, of the label's entry; 0 where not positive.
    """

    matches: Matches
    targets: jax.Array


class _Measure(NamedTuple):
    """Comparison of an object with the predictions of anchors."""

    rule: str
    alpha: float
    beta: float

    def overlap(self, predicted: jax.Array, boxes: jax.Array) -> jax.Array:
        """IoU, or CIoU from 0, of boxes of equal rank."""
        if self.rule == "tood":
            return box_ops.aligned_iou(predicted, boxes)
        # An object of no area has been left out; a prediction without one is alike nothing.
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
    box's class and u the IoU of its predicted box. A box's candidates are the `topk` anchors with
    the highest t. Those candidates are positive whose t is above 0 and whose centre lies inside the
    box, more than .01 pixels from its edges; an anchor that is positive for several boxes goes to
    the one with the highest u. The target of an anchor is `t / (max t + eps) * max u`, with the
    maxima over all anchors of the box.

    The rule `'yolo'` is that of YOLOv8 and its successors, which have `topk=10, alpha=0.5,
    min_side=16.0, eps=1e-9`: u is the CIoU, from 0; only anchors whose centre lies inside the box
    are candidates; and an anchor that several boxes have chosen goes to the box with the highest u
    of all boxes that it lies in, even one that has not chosen it. Anchors with t = 0 are not
    positive; in YOLO they may be, depending on topk, with target 0.

    The rule `'libreyolo'`, with the same numbers but `min_side`, has the CIoU and the candidates of
    `'yolo'`, restricted to those with each edge at most 14.99 strides away, and resolves conflicts
    as `'tood'` does. A box without any anchor gets the one with the highest t, wherever that is.

    Among equal t the anchor with the lower index is taken, among equal u the first box. Logarithms
    are compared, so nothing underflows; values of t that differ by a few parts in a million may be
    equal.

    Args:
      anchors: one `[N_l, 4]` xyxy a level, pixels.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box at all.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore.
      logits: one `[B, N_l, C]` a level, before the sigmoid.
      predicted_boxes: one `[B, N_l, 4]` xyxy a level, pixels.
      topk: candidates of a box, on all levels together.
      alpha: exponent of the score, at least 0.
      beta: exponent of the overlap, above 0.
      rule: 'tood', 'yolo' or 'libreyolo', as above.
      min_side: pixels, for `'yolo'`; shorter sides of a box are enlarged to this length when
        centres inside the box are determined. In YOLO it is the stride of the second level.
      eps: above 0.
      strides: pixels, of every level, for `'libreyolo'`. None: the widths of the anchors.
      ignore_iof: share of an anchor's area that one ignored region must cover for it to be ignored,
        if it is not positive.

    Returns:
      The matches and targets, `[B, N]` each; `gt_index` and `iou` are 0 where not positive, `iou`
      is u.

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
    """The slot that each anchor is assigned to, and whether there is one: `[B, N]` each."""
    count = predicted.boxes.shape[1]
    areas = _with_sides(given.boxes, min_side) if measure.rule == "yolo" else given.boxes
    # The box of all that has the highest overlap, which the rule of YOLO asks for.
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
    """True where a centre lies inside the one area of an image, `[B, 4]`: bool `[B, N]`."""
    centres, area = given.centres[None], area[:, None]
    inside = inside_by(centres, area) > _LEAST_DISTANCE_FROM_EDGE[rule]
    if rule == "libreyolo":
        (x, y), (xmin, ymin, xmax, ymax) = coordinates(centres), coordinates(area)
        farthest = jnp.maximum(jnp.maximum(x - xmin, xmax - x), jnp.maximum(y - ymin, ymax - y))
        inside &= farthest <= reach[None]
    return inside


def _chosen(
    metric: jax.Array, inside: jax.Array, is_object: jax.Array, topk: int, rule: str
) -> tuple[jax.Array, jax.Array]:
    """The anchors that a box chooses by their metric, and whether it does: `[B, topk]` each."""
    lowest = jnp.finfo(metric.dtype).min
    candidates = is_object if rule == "tood" else inside
    value, anchor = ranking.few_highest(jnp.where(candidates, metric, lowest), topk)
    made = (value > lowest) & jnp.take_along_axis(inside, anchor, axis=1)
    if rule != "libreyolo":
        return anchor, made
    # One without any takes the best of all.
    value, best = ranking.few_highest(jnp.where(is_object, metric, lowest), 1)
    alone = ~jnp.any(made, axis=1, keepdims=True) & (value > lowest)
    first = jax.lax.broadcasted_iota(jnp.int32, anchor.shape, 1) == 0
    return jnp.where(alone & first, best, anchor), made | (alone & first)


def _highest_of_own(values: jax.Array, slot: jax.Array, given: Given) -> jax.Array:
    """Highest value among the anchors of each anchor's own slot: `[B, N]`; 0 without one."""

    def visit(highest: jax.Array, index: jax.Array) -> jax.Array:
        of_slot = slot == index[:, None]
        value = jnp.max(jnp.where(of_slot, values, 0.0), axis=1, keepdims=True)
        return jnp.where(of_slot, value, highest)

    return visit_slots(visit, slot_numbers(given), jnp.where(slot >= 0, 0.0, values))


def _with_sides(boxes: jax.Array, min_side: float) -> jax.Array:
    """Boxes enlarged to a least length of their sides, about the same centres."""
    centres, sides = (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]
    low = jnp.where(sides < min_side, centres - min_side * 0.5, boxes[..., :2])
    high = jnp.where(sides < min_side, centres + min_side * 0.5, boxes[..., 2:])
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
