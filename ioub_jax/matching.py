"""Assignment of anchors to ground-truth boxes by similarity, under jit, in fixed shapes.

Images are matched independently of each other: devices that share a batch communicate only the
number of used slots. No array is larger than `[B, N]`: an array `[B, N, M]` of all IoUs never
exists.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import wasserstein

# Two IoUs closer than this, relatively, are the same number rounded differently. A compiler may
# compute one IoU twice, once fused and once not, so "equals the best" cannot be asked of the bits.
_IOU_ROUNDING = 1e-6
# Boxes that a pass over the anchors looks at: what is known of the anchors is read and written once
# for so many.
_SLOTS_AT_ONCE = 5

_State = TypeVar("_State")


#: What becomes of the best anchors of a box that are not foreground.
LowQuality = Literal["authors", "torchvision", "ssd", "none"]


#: What an anchor and a box are compared by.
SIMILARITIES = ("iou", "nwd")

#: A pairwise measure between `[N, 4]` and `[B, 1, 4]`.
_Measure = Callable[[jax.Array, jax.Array], jax.Array]


class Matches(NamedTuple):
    """Targets of every anchor.

    Attributes:
      labels: `[B, N]` int32, 0..C-1 the class of the anchor's box, -1 background, -2 ignored.
      gt_index: `[B, N]` int32, the slot of the matched box; for an anchor without a match that of
        the box it overlaps most, or 0 if it overlaps none.
      iou: `[B, N]` float32, IoU of the anchor with the box in `gt_index`, 0 where there is none;
        another similarity, if boxes are compared by that.
    """

    labels: jax.Array
    gt_index: jax.Array
    iou: jax.Array


class _Running(NamedTuple):
    """State of the pass over the boxes, `[B, N]` each."""

    iou: jax.Array
    gt_index: jax.Array
    is_a_best_anchor: jax.Array
    in_ignored_region: jax.Array


def match(
    anchors: ArrayLike,
    boxes: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    ignored: ArrayLike,
    *,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: LowQuality = "authors",
    ignore_iof: float = 0.5,
    similarity: str = "iou",
    nwd_constant: float = wasserstein.CONSTANT,
) -> Matches:
    """Matches anchors to ground-truth boxes by their IoU.

    An anchor is assigned to the box it overlaps most (the first of equals). It is positive if that
    IoU is at least `foreground_iou`, background if it is below `background_iou`, and ignored in
    between. `low_quality` sets the treatment of a box's best anchors, all those with its highest
    IoU, however low that is:

    - `'authors'` (mmdetection's MaxIoUAssigner with min_pos_iou=0): box after box takes its best
      anchors, even from the boxes before it, so a box can lose its only anchor to a later one.
    - `'torchvision'` (also detectron2): the anchors become positive, each for the box that it
      overlaps most, which may be another box.
    - `'ssd'` (mmdetection with gt_max_assign_all=False, torchvision's SSDMatcher): as `'authors'`,
      but a box takes only one of its best anchors, the first with the highest IoU in float32. Both
      use .5 for both thresholds.
    - `'none'`: nothing.

    A box that overlaps no anchor, or has no area, matches nothing; the originals would make all
    anchors positive for it, since they all share its best IoU, 0. An anchor that is not positive
    and lies in an ignored region gets -2; mmdetection, where it uses such regions at all (its
    RetinaNet does not), also removes positives.

    Images without boxes, and boxes in any order and with any values in their padding, are fine.
    Slots after the last used one in the batch take no time, so the used ones should come first. No
    gradient flows through the matching.

    Args:
      anchors: `[N, 4]` xyxy, pixels.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box at all.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore (a crowd, a difficult
        object): it never makes a positive and does not count for the thresholds.
      foreground_iou: least IoU of a positive.
      background_iou: IoU below which an anchor is background.
      low_quality: the rule for the best anchors of a box.
      ignore_iof: share of an anchor's area that one ignored region must cover for it to be ignored.
      similarity: similarity of anchors and boxes: 'iou', or 'nwd', which also distinguishes anchors
        that do not overlap a tiny box (`wasserstein`, arXiv 2110.13389); the thresholds then apply
        to it.
      nwd_constant: constant of 'nwd' in pixels.

    Returns:
      The matches, `[B, N]` each. Under `jit` and `shard_map` with the batch axis of the boxes
      sharded and the anchors replicated, they are sharded in the same way. Under `jit`, devices
      then exchange one number, that of the slots to visit; under `shard_map`, each device visits
      those of its own images.

    Raises:
      ValueError: if a threshold or `low_quality` is not one of the possible values.
    """
    check_options(foreground_iou, background_iou, low_quality, ignore_iof)
    check_similarity(similarity, nwd_constant)
    # What a loop repeats as often as its input says, jax cannot differentiate backwards.
    anchors, boxes = jax.lax.stop_gradient(box_ops.at_least_float32(anchors, boxes))
    valid, ignored = jnp.asarray(valid), jnp.asarray(ignored)
    is_object, measure = valid & ~ignored, box_ops.pairwise_iou
    if similarity == "nwd":
        # With any other box the IoU of one without an area is 0.
        is_object &= box_ops.area(boxes) > 0.0
        measure = functools.partial(wasserstein.pairwise_similarity, constant=nwd_constant)
    found = _scan_boxes(
        anchors, boxes, is_object, valid & ignored, low_quality, ignore_iof, measure
    )

    positive = found.is_a_best_anchor | (found.iou >= foreground_iou)
    unmatched = jnp.where(found.in_ignored_region | (found.iou >= background_iou), -2, -1)
    own_label = _gather(box_ops.as_int32(labels)[:, None], found.gt_index)[:, 0]
    return Matches(jnp.where(positive, own_label, unmatched), found.gt_index, found.iou)


def gather_boxes(boxes: ArrayLike, gt_index: ArrayLike) -> jax.Array:
    """The box each anchor is matched to.

    Args:
      boxes: `[B, M, 4]`, or any `[B, M, D]`.
      gt_index: `[B, N]` int, 0..M-1.

    Returns:
      `[B, N, 4]` of the dtype of `boxes`.
    """
    boxes, gt_index = jnp.asarray(boxes), box_ops.as_int32(gt_index, "gt_index")
    # Coordinates come before anchors and are then called the last: a compiler may leave them there.
    return _gather(boxes.swapaxes(1, 2), gt_index).swapaxes(1, 2)


def _gather(values: jax.Array, gt_index: jax.Array) -> jax.Array:
    """`[B, D, M]` and `[B, N]` to `[B, D, N]`."""
    gathered: jax.Array = jax.lax.platform_dependent(
        values, gt_index, tpu=_gather_by_product, default=_gather_by_index
    )
    return gathered


def _gather_by_index(values: jax.Array, gt_index: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values, gt_index[:, None], axis=2)


def _gather_by_product(values: jax.Array, gt_index: jax.Array) -> jax.Array:
    """The same; a TPU fetches single numbers one after another, but multiplies matrices.

    For integers this is exact below 2^24.
    """
    (factors,) = box_ops.at_least_float32(values)
    is_it = jax.nn.one_hot(gt_index, values.shape[2], axis=1, dtype=factors.dtype)
    product = jnp.einsum("bdm,bmn->bdn", factors, is_it, precision=jax.lax.Precision.HIGHEST)
    return product.astype(values.dtype)


def _scan_boxes(
    anchors: jax.Array,
    boxes: jax.Array,
    is_object: jax.Array,
    is_region: jax.Array,
    low_quality: str,
    ignore_iof: float,
    measure: _Measure,
) -> _Running:
    """Visits the slots in order, the m-th of all images at once, with `[B, N]` of memory."""
    slots = (boxes.swapaxes(0, 1), is_object.T, is_region.T)

    def visit(index: jax.Array, slot: Any, running: _Running) -> _Running:
        box, is_object, is_region, best = slot
        iou = _iou_with_one_box(anchors, box, is_object, measure)
        covered = _with_one_box(box_ops.pairwise_intersection_over_first_area, anchors, box)
        takes = _taken_anchors(iou, best, low_quality)
        goes_to_box = iou > running.iou
        if low_quality in ("authors", "ssd"):
            goes_to_box = takes | (goes_to_box & ~running.is_a_best_anchor)
        return _Running(
            iou=jnp.where(goes_to_box, iou, running.iou),
            gt_index=jnp.where(goes_to_box, index, running.gt_index),
            is_a_best_anchor=running.is_a_best_anchor | takes,
            in_ignored_region=running.in_ignored_region
            | (is_region[:, None] & (covered >= ignore_iof)),
        )

    # The IoUs with no box, all 0: a compiler takes them for that, and `shard_map` for what differs
    # between devices, as what a loop carries on must.
    iou = _iou_with_one_box(anchors, boxes[:, 0], (is_object | is_region)[:, 0] & False, measure)
    nothing = _Running(
        iou=iou,
        gt_index=(iou > 0.0).astype(jnp.int32),
        is_a_best_anchor=iou > 0.0,
        in_ignored_region=iou > 0.0,
    )
    positions = jnp.arange(1, boxes.shape[1] + 1, dtype=jnp.int32)
    used = jnp.max(jnp.where(is_object | is_region, positions[None], 0))
    best = _best_of_boxes(anchors, slots, used, iou, low_quality, measure)
    return _visit_slots(visit, (*slots, best), used, nothing)


def _visit_slots(
    visit: Callable[[jax.Array, Any, _State], _State], slots: Any, used: jax.Array, state: _State
) -> _State:
    """`state = visit(m, slot, state)` for the first `used` of M slots, a few at a time.

    Unused slots of a group are visited too, and the last slot may be visited again if the groups
    are larger, so a second visit must change nothing.
    """
    count = jax.tree.leaves(slots)[0].shape[0]
    at_once = -(-count // -(-count // _SLOTS_AT_ONCE))

    def visit_some(group: jax.Array, state: _State) -> _State:
        for i in range(at_once):
            m = jnp.minimum(group * at_once + i, count - 1)
            slot = jax.tree.map(
                lambda array, m=m: jax.lax.dynamic_index_in_dim(array, m, keepdims=False), slots
            )
            state = visit(m, slot, state)
        return state

    groups = (used + at_once - 1) // at_once
    last: _State = jax.lax.fori_loop(0, groups, visit_some, state)
    return last


def _iou_with_one_box(
    anchors: jax.Array, box: jax.Array, is_object: jax.Array, measure: _Measure
) -> jax.Array:
    """`[B, N]` IoUs of the anchors with one box an image, 0 where that is no object."""
    return jnp.where(is_object[:, None], _with_one_box(measure, anchors, box), 0.0)


def _best_of_boxes(
    anchors: jax.Array,
    slots: Any,
    used: jax.Array,
    zeros: jax.Array,
    low_quality: str,
    measure: _Measure,
) -> jax.Array:
    """Quantities that `_taken_anchors` needs of each of the `used` boxes, `[M, B, 1]`.

    That is its highest IoU with an anchor; for 'ssd' the index of the first anchor that has it.
    `zeros` are `[B, N]`.
    """
    best = jnp.argmax if low_quality == "ssd" else jnp.max

    def visit(index: jax.Array, slot: Any, found: jax.Array) -> jax.Array:
        box, is_object, _ = slot
        of_box = best(_iou_with_one_box(anchors, box, is_object, measure), axis=1, keepdims=True)
        return jax.lax.dynamic_update_index_in_dim(found, of_box.astype(found.dtype), index, 0)

    dtype = jnp.int32 if low_quality == "ssd" else zeros.dtype
    nothing = jnp.broadcast_to(zeros[None, :, :1], (*slots[1].shape, 1)).astype(dtype)
    return _visit_slots(visit, slots, used, nothing)


def _with_one_box(measure: _Measure, anchors: jax.Array, box: jax.Array) -> jax.Array:
    """`[B, N]` of a pairwise measure between anchors `[N, 4]` and one box an image `[B, 4]`."""
    return measure(anchors, box[:, None, :])[..., 0]


def _taken_anchors(iou: jax.Array, best: jax.Array, low_quality: str) -> jax.Array:
    """True where the rule gives an anchor to a box as its best: bool `[B, N]`, as its IoUs."""
    if low_quality == "none":
        return jnp.zeros_like(iou, bool)
    if low_quality == "ssd":
        return (iou > 0.0) & (jnp.arange(iou.shape[1])[None, :] == best)
    return (iou > 0.0) & (iou >= best * (1.0 - _IOU_ROUNDING))


def check_similarity(similarity: str, nwd_constant: float) -> None:
    """Raises `ValueError` where `match` has no such similarity, or none with such a number."""
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity is {similarity!r}; it must be one of iou, nwd.")
    if not nwd_constant > 0:
        raise ValueError(f"nwd_constant is {nwd_constant}; it must be above 0.")


def check_options(
    foreground_iou: float, background_iou: float, low_quality: str, ignore_iof: float
) -> None:
    """Raises `ValueError` where a threshold or a rule of `match` is not a possible value."""
    if not 0.0 < background_iou <= foreground_iou <= 1.0:
        raise ValueError(
            f"background_iou={background_iou} and foreground_iou={foreground_iou} must satisfy "
            "0 < background_iou <= foreground_iou <= 1."
        )
    if low_quality not in ("authors", "torchvision", "ssd", "none"):
        raise ValueError(
            f"low_quality={low_quality!r} is not a rule; use 'authors', 'torchvision', 'ssd' or "
            "'none'."
        )
    if not 0.0 < ignore_iof <= 1.0:
        raise ValueError(f"ignore_iof={ignore_iof} must be above 0 and at most 1.")
