"""Assignment of anchors to ground-truth boxes by similarity, under jit, in fixed shapes.

Images are matched independently of each other: devices that share a batch only communicate the
number of used slots. No array is larger than `[B, N]`; an array `[B, N, M]` of all IoUs never
exists.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax import wasserstein

# Two IoUs with a smaller relative difference are the same number, rounded differently. A compiler
# may compute an IoU twice, once fused and once not, so equal IoUs may not have the same bits.
_IOU_ROUNDING = 1e-6
# The number of boxes in one pass over the anchors: the state of the anchors is read and written
# once for all of them.
_SLOTS_AT_ONCE = 5

_State = TypeVar("_State")


#: The treatment of a box's best anchors that are not foreground.
LowQuality = Literal["authors", "torchvision", "ssd", "none"]


#: The similarities by which an anchor and a box are compared.
SIMILARITIES = ("iou", "nwd")

#: A pairwise measure between `[N, 4]` and `[B, 1, 4]`.
_Measure = Callable[[jax.Array, jax.Array], jax.Array]


class Matches(NamedTuple):
    """Targets of every anchor.

    Attributes:
      labels: `[B, N]` int32: 0..C-1 for the class of the anchor's box, -1 for background, -2 for
        ignored.
      gt_index: `[B, N]` int32, the slot of the matched box; for an anchor without a match, the slot
        of the box that it overlaps most, or 0 if it overlaps none.
      iou: `[B, N]` float32, the IoU of the anchor with the box in `gt_index`, 0 if there is none;
        or the other similarity by which boxes are compared.
    """

    labels: jax.Array
    gt_index: jax.Array
    iou: jax.Array


class _Running(NamedTuple):
    """State of the pass over the boxes; each array is `[B, N]`."""

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

    An anchor is assigned to the box that it overlaps most (the first one of equals). It is positive
    if that IoU is at least `foreground_iou`, background if it is below `background_iou`, and
    ignored in between. `low_quality` sets the treatment of a box's best anchors, which are all
    anchors with its highest IoU, however low that is:

    - `'authors'` (mmdetection's MaxIoUAssigner with min_pos_iou=0): one box after another takes its
      best anchors, even from earlier boxes, so a box can lose its only anchor to a later one.
    - `'torchvision'` (also detectron2): the anchors become positive, each for the box that it
      overlaps most, which may be another box.
    - `'ssd'` (mmdetection with gt_max_assign_all=False, torchvision's SSDMatcher): as `'authors'`,
      but a box takes only one of its best anchors, the first one with the highest IoU in float32.
      Both implementations use .5 for both thresholds.
    - `'none'`: no special treatment.

    A box that overlaps no anchor, has no area, or has a coordinate that is not finite, matches
    nothing; the original implementations would make all anchors positive for it, since they all
    share its best IoU, 0. An anchor that is not positive and is inside an ignored region gets -2.
    If mmdetection uses such regions (its RetinaNet does not), it also removes positives.

    Images without boxes, boxes in any order, and any values in the padding are allowed. Slots after
    the last used one in the batch take no time, so the used ones should come first. No gradient
    flows through the matching.

    Args:
      anchors: `[N, 4]` xyxy, pixels.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore (a crowd, a difficult
        object), which never has a positive and does not count for the thresholds.
      foreground_iou: the minimum IoU of a positive.
      background_iou: the IoU below which an anchor is background.
      low_quality: the rule for the best anchors of a box.
      ignore_iof: the share of an anchor's area that one ignored region must cover for the anchor to
        be ignored.
      similarity: the similarity of anchors and boxes: 'iou', or 'nwd', which also distinguishes
        anchors that do not overlap a tiny box (`wasserstein`, arXiv 2110.13389). The thresholds
        apply to this similarity.
      nwd_constant: the constant of 'nwd' in pixels.

    Returns:
      The matches; each array is `[B, N]`. If the batch axis of the boxes is sharded and the anchors
      are replicated, the matches are sharded like the boxes, under `jit` and `shard_map`. Under
      `jit`, devices then exchange one number, that of the slots to visit; under `shard_map`, each
      device visits the slots of its own images.

    Raises:
      TypeError: labels are not integers.
      ValueError: a shape is wrong, or an option is not one of the possible values.
    """
    check_options(foreground_iou, background_iou, low_quality, ignore_iof)
    check_similarity(similarity, nwd_constant)
    if np.ndim(anchors) != 2 or np.shape(anchors)[1] != 4 or np.shape(anchors)[0] == 0:
        raise ValueError(
            f"anchors has shape {np.shape(anchors)}; it must be [N, 4] with N at least 1."
        )
    check_ground_truth(boxes, labels, valid, ignored)
    # jax cannot differentiate a loop backwards if its number of iterations depends on its input.
    anchors, boxes = jax.lax.stop_gradient(box_ops.at_least_float32(anchors, boxes))
    # A box with a NaN would be compared with every anchor.
    valid = jnp.asarray(valid, bool) & jnp.all(jnp.isfinite(boxes), axis=-1)
    boxes = jnp.where(valid[..., None], boxes, 0.0)
    ignored = jnp.asarray(ignored, bool)
    is_object, measure = valid & ~ignored, box_ops.pairwise_iou
    if similarity == "nwd":
        # The IoU of a box without area is 0, but its NWD is not.
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
    """The box to which each anchor is matched.

    Args:
      boxes: `[B, M, 4]`, or any `[B, M, D]`.
      gt_index: `[B, N]` int, 0..M-1.

    Returns:
      `[B, N, 4]`, of the dtype of `boxes`.
    """
    boxes, gt_index = jnp.asarray(boxes), box_ops.as_int32(gt_index, "gt_index")
    # The coordinates are gathered before the anchors and then swapped to the last axis, which a
    # compiler can do without moving them.
    return _gather(boxes.swapaxes(1, 2), gt_index).swapaxes(1, 2)


def _gather(values: jax.Array, gt_index: jax.Array) -> jax.Array:
    """Gathers `[B, D, M]` at `[B, N]`: `[B, D, N]`."""
    gathered: jax.Array = jax.lax.platform_dependent(
        values, gt_index, tpu=_gather_by_product, default=_gather_by_index
    )
    return gathered


def _gather_by_index(values: jax.Array, gt_index: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values, gt_index[:, None], axis=2)


def _gather_by_product(values: jax.Array, gt_index: jax.Array) -> jax.Array:
    """Gathers by a matrix product, since a TPU fetches single numbers one after another.

    For integers, this is exact below 2^24.
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
    """Visits the slots in order, the m-th slots of all images at once, with memory of `[B, N]`."""
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

    # These IoUs are all 0, since no box is an object. A compiler recognizes this, but `shard_map`
    # treats them as varying between devices, as it requires for the state of a loop.
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
    """Computes `state = visit(m, slot, state)` for the first `used` of M slots, a few at a time.

    Unused slots of a group are visited, too. The last slot may be visited again if the groups are
    larger, so a second visit must change nothing.
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
    """Returns the IoUs `[B, N]` of the anchors with one box per image; 0 if it is no object."""
    return jnp.where(is_object[:, None], _with_one_box(measure, anchors, box), 0.0)


def _best_of_boxes(
    anchors: jax.Array,
    slots: Any,
    used: jax.Array,
    zeros: jax.Array,
    low_quality: str,
    measure: _Measure,
) -> jax.Array:
    """Returns the quantity that `_taken_anchors` needs for each of the `used` boxes, `[M, B, 1]`.

    It is the highest IoU of the box with an anchor, or for 'ssd' the index of the first anchor with
    that IoU. `zeros` is `[B, N]`.
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
    """Returns a pairwise measure `[B, N]` of anchors `[N, 4]` and one box per image `[B, 4]`."""
    return measure(anchors, box[:, None, :])[..., 0]


def _taken_anchors(iou: jax.Array, best: jax.Array, low_quality: str) -> jax.Array:
    """Returns which anchors a box takes as its best ones, bool `[B, N]` like its IoUs."""
    if low_quality == "none":
        return jnp.zeros_like(iou, bool)
    if low_quality == "ssd":
        return (iou > 0.0) & (jnp.arange(iou.shape[1])[None, :] == best)
    return (iou > 0.0) & (iou >= best * (1.0 - _IOU_ROUNDING))


def check_ground_truth(
    boxes: ArrayLike, labels: ArrayLike, valid: ArrayLike, ignored: ArrayLike
) -> None:
    """Refuses ground truth of wrong shapes, while a program is traced.

    Args:
      boxes: `[B, M, 4]`, M at least 1.
      labels: `[B, M]`.
      valid: `[B, M]`.
      ignored: `[B, M]`.

    Raises:
      ValueError: a shape is another one.
    """
    shape = np.shape(boxes)
    if len(shape) != 3 or shape[2] != 4 or shape[1] == 0:
        raise ValueError(f"boxes has shape {shape}; it must be [B, M, 4] with M at least 1.")
    for name, array in (("labels", labels), ("valid", valid), ("ignored", ignored)):
        if np.shape(array) != shape[:2]:
            raise ValueError(
                f"{name} has shape {np.shape(array)}; it must be {shape[:2]}, one for each of the "
                f"boxes, which have shape {shape}."
            )


def check_similarity(similarity: str, nwd_constant: float) -> None:
    """Raises `ValueError` if `match` has no such similarity, or the constant is impossible."""
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity is {similarity!r}; it must be one of iou, nwd.")
    if isinstance(nwd_constant, bool) or not 0 < nwd_constant < math.inf:
        raise ValueError(f"nwd_constant is {nwd_constant}; it must be a finite number above 0.")


def check_options(
    foreground_iou: float, background_iou: float, low_quality: str, ignore_iof: float
) -> None:
    """Raises `ValueError` if a threshold or a rule of `match` is not a possible value."""
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
