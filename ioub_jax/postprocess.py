"""Predictions to detections: scores, decoding, class-wise NMS, under jit, in fixed shapes.

Images do not interact, but NMS goes on until the slowest image of a batch is done, and XLA does not
partition `top_k`. So a batch that is sharded over devices belongs under `jax.shard_map`
(`devices.placement.on_each_device`), where devices do not communicate; elsewhere results are the
same, with much communication.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops

# Boxes that NMS looks at together. Fewer are more turns of its loop, which on a GPU cost most; more
# are more overlaps, in proportion to their square. On a CPU 128 are a little faster.
_BLOCK = 256


class Detections(NamedTuple):
    """The detections of a batch, best first, padded to K an image.

    Attributes:
      boxes: `[B, K, 4]` float32 xyxy, pixels of the network's input; 0 in the padding.
      scores: `[B, K]` float32 in 0..1; 0 in the padding.
      labels: `[B, K]` int32, 0..C-1; -1 in the padding.
      valid: `[B, K]` bool, False in the padding, which comes last.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    valid: jax.Array


class Candidates(NamedTuple):
    """What goes into NMS: P boxes an image, in no order.

    Attributes:
      boxes: `[B, P, 4]` float32 xyxy, pixels of the network's input, clipped to the image.
      scores: `[B, P]` float32 in 0..1.
      labels: `[B, P]` int32, 0..C-1.
      valid: `[B, P]` bool: the score is above the threshold and the box has an area.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    valid: jax.Array


def candidates(
    logits: Sequence[ArrayLike],
    deltas: Sequence[ArrayLike],
    anchors: Sequence[ArrayLike],
    image_sizes: ArrayLike,
    *,
    score_threshold: float = 0.05,
    candidates_per_level: int = 1000,
    box_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Candidates:
    """What goes into NMS of a RetinaNet's predictions (arXiv 1708.02002, section 4.1).

    Of every level the `candidates_per_level` highest (anchor, class) scores are decoded, and all
    levels are joined. (mmdetection 0.6 instead takes the anchors with the highest scores, each with
    all of its classes; detectron2 and torchvision do as here.) A box left without area by the
    clipping to its image is none.

    Args:
      logits: `[B, N_l, C]` of every level, any float dtype; the score is their sigmoid, in float32.
      deltas: `[B, N_l, 4]` of every level, as `boxes.decode` takes them.
      anchors: `[N_l, 4]` of every level, xyxy, pixels.
      image_sizes: `[B, 2]` (height, width) in pixels of the image inside the network's input, whose
        top left it fills.
      score_threshold: a candidate has a score above this.
      candidates_per_level: candidates of one level that are decoded.
      box_weights: weights of (dx, dy, dw, dh) in the deltas, as in `boxes.encode`.

    Returns:
      The candidates. Equal scores are in the order level, anchor, class; NaN is never a score.
    """
    levels = [
        _level_candidates(*level, candidates_per_level, box_weights)
        for level in zip(logits, deltas, anchors, strict=True)
    ]
    boxes, scores, labels = (jnp.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
    return _checked(boxes, scores, labels, image_sizes, score_threshold)


def candidates_softmax(
    logits: Sequence[ArrayLike],
    deltas: Sequence[ArrayLike],
    anchors: Sequence[ArrayLike],
    image_sizes: ArrayLike,
    *,
    score_threshold: float = 0.02,
    candidates_per_class: int = 400,
    box_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
) -> Candidates:
    """What goes into NMS of an SSD's predictions (arXiv 1512.02325, section 3.3).

    Of every class the `candidates_per_class` anchors with the highest scores, whatever their level,
    are decoded. This is what Caffe and torchvision do, whose thresholds are .01; mmdetection 0.6
    has .02 and takes all anchors. A box left without area by the clipping to its image is none;
    torchvision keeps it.

    Args:
      logits: `[B, N_l, C + 1]` of every level, the background in column 0, any float dtype; the
        scores are their softmax, in float32.
      deltas: as `candidates`, as are the next three.
      anchors: see there.
      image_sizes: see there.
      score_threshold: see there.
      candidates_per_class: candidates of one class that are decoded.
      box_weights: as `candidates`.

    Returns:
      The candidates. Equal scores are in the order class, level, anchor; NaN is never a score.
    """
    (all_logits,) = box_ops.at_least_float32(
        jnp.concatenate([jnp.asarray(level) for level in logits], axis=1)
    )
    all_deltas = jnp.concatenate([jnp.asarray(level) for level in deltas], axis=1)
    all_anchors = jnp.concatenate([jnp.asarray(level) for level in anchors])
    by_class = jax.nn.softmax(all_logits, axis=2)[:, :, 1:].swapaxes(1, 2)
    by_class = _with_nan_last(by_class, 0.0)
    anchor_index = _highest(by_class, candidates_per_class)
    batch, classes, count = anchor_index.shape
    scores = jnp.take_along_axis(by_class, anchor_index, axis=2).reshape(batch, -1)
    labels = jnp.repeat(jnp.arange(classes, dtype=jnp.int32), count)
    anchor_index = anchor_index.reshape(batch, -1)
    boxes = box_ops.decode(
        jnp.take_along_axis(all_deltas, anchor_index[:, :, None], axis=1),
        all_anchors[anchor_index],
        weights=box_weights,
    )
    labels = jnp.broadcast_to(labels[None], scores.shape)
    return _checked(boxes, scores, labels, image_sizes, score_threshold)


def _checked(
    boxes: jax.Array,
    scores: jax.Array,
    labels: jax.Array,
    image_sizes: ArrayLike,
    score_threshold: float,
) -> Candidates:
    """Candidates `[B, P]` from boxes that are not clipped yet."""
    image_sizes = jnp.asarray(image_sizes)
    boxes = box_ops.clip(boxes, image_sizes[:, 0:1], image_sizes[:, 1:2])
    valid = (scores > score_threshold) & (box_ops.area(boxes) > 0.0)
    return Candidates(boxes, scores, labels, valid)


def suppress(found: Candidates, *, nms_iou: float, max_detections: int) -> Detections:
    """Class-wise NMS of the candidates of every image.

    Args:
      found: the candidates.
      nms_iou: a box is suppressed by a better one of its class with an IoU above this.
      max_detections: K, the most detections of an image.
    """
    found = found._replace(labels=box_ops.as_int32(found.labels))

    def of_image(*image: jax.Array) -> tuple[jax.Array, jax.Array]:
        return class_wise_nms(*image, iou_threshold=nms_iou, max_detections=max_detections)

    if found[0].shape[0] == 1:
        # The same without a batch of loops, which no converter to ONNX takes.
        kept, valid = (part[None] for part in of_image(*(part[0] for part in found)))
    else:
        kept, valid = jax.vmap(of_image)(*found)
    boxes = jnp.take_along_axis(found.boxes, kept[:, :, None], axis=1)
    return Detections(
        boxes=jnp.where(valid[:, :, None], boxes, 0.0),
        scores=jnp.where(valid, jnp.take_along_axis(found.scores, kept, axis=1), 0.0),
        labels=jnp.where(valid, jnp.take_along_axis(found.labels, kept, axis=1), -1),
        valid=valid,
    )


def class_wise_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    *,
    iou_threshold: float,
    max_detections: int,
) -> tuple[jax.Array, jax.Array]:
    """Greedy non-maximum suppression within each class, exact, of one image.

    The best box that is left is kept and removes the boxes of its class that it overlaps by more
    than `iou_threshold`, `max_detections` times. These are the first `max_detections` of a complete
    class-wise NMS over all boxes, without its P x P IoUs: boxes are taken in descending order, a
    block at a time, until there are enough. What is left of a block after the boxes kept before it
    is settled at once: those that no better one left overlaps stay and remove what they overlap,
    until none is left. Each turn of that keeps a box at least, so a block has at most as many turns
    as it keeps boxes; of one object's candidates, or of many objects', a few.

    Args:
      boxes: `[P, 4]` xyxy, pixels; P is at least 1.
      scores: `[P]`. A score of NaN or minus infinity is never picked.
      labels: `[P]` int.
      valid: `[P]` bool; the other boxes neither survive nor suppress.
      iou_threshold: largest IoU two surviving boxes of a class may have.
      max_detections: K.

    Returns:
      `[K]` int32 indices of the surviving boxes by descending score, of equal scores the lower
      index first, and `[K]` bool, False (with index 0) where there was no box left.
    """
    boxes, scores = box_ops.at_least_float32(boxes, scores)
    labels = box_ops.as_int32(labels)
    # No area is below 0 and no label another one than itself. `shard_map` asks that what a loop
    # begins with differs between devices wherever what it goes on with does.
    possible = ~(box_ops.area(boxes) < 0.0) & (labels == labels) & (scores > -jnp.inf)
    scores = jnp.where(possible & jnp.asarray(valid), scores, -jnp.inf)
    order = _highest(scores, scores.shape[0])
    size = min(_BLOCK, scores.shape[0])
    ordered = _Ordered(boxes[order], labels[order], scores[order] > -jnp.inf)
    ordered = jax.tree.map(functools.partial(_padded, multiple=size), ordered)
    # More than there are boxes cannot be picked, however many are asked for.
    most = min(max_detections, scores.shape[0])
    slots = jnp.arange(most, dtype=jnp.int32)

    def goes_on(state: _Picked) -> jax.Array:
        # Boxes that are no candidates come last.
        more = jax.lax.dynamic_slice_in_dim(ordered.there, state.begin, 1)[0]
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

    nothing = (order[0] < 0).astype(jnp.int32)  # 0, and for `shard_map` like the others
    start = _Picked(nothing, nothing, jnp.broadcast_to(nothing[None], slots.shape))
    end = jax.lax.while_loop(goes_on, pick, start)
    found = slots < end.number
    picked = jnp.where(found, order[end.picked], 0)
    if most == max_detections:
        return picked, found
    return jnp.pad(picked, (0, max_detections - most)), jnp.pad(found, (0, max_detections - most))


class _Ordered(NamedTuple):
    """Boxes `[N, 4]` in descending order, their labels `[N]` and which of them count `[N]`."""

    boxes: jax.Array
    labels: jax.Array
    there: jax.Array


class _Picked(NamedTuple):
    """State of an NMS: where the next block begins, and how many are picked `[K]`, and which."""

    begin: jax.Array
    number: jax.Array
    picked: jax.Array


def _suppresses(better: _Ordered, others: _Ordered, iou_threshold: float) -> jax.Array:
    """Which boxes of `better` remove which of `others`, bool `[N, M]`."""
    overlap = box_ops.pairwise_iou(others.boxes, better.boxes).T
    same_class = better.labels[:, None] == others.labels[None, :]
    return better.there[:, None] & same_class & (overlap > iou_threshold)


def _settle(block: _Ordered, iou_threshold: float) -> jax.Array:
    """Which boxes of a block survive each other, bool `[N]`."""
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
    """Zeros, or False, behind an array, so that its length is a multiple."""
    return jnp.pad(array, [(0, -len(array) % multiple)] + [(0, 0)] * (array.ndim - 1))


def _level_candidates(
    logits: ArrayLike,
    deltas: ArrayLike,
    anchors: ArrayLike,
    count: int,
    box_weights: Sequence[float],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Boxes `[B, k, 4]`, scores `[B, k]` and labels `[B, k]` of a level's best (anchor, class)."""
    logits, deltas, anchors = jnp.asarray(logits), jnp.asarray(deltas), jnp.asarray(anchors)
    top_logits, anchor_index, labels = _top_entries(logits, count)
    top_deltas = jnp.take_along_axis(deltas, anchor_index[:, :, None], axis=1)
    boxes = box_ops.decode(top_deltas, anchors[anchor_index], weights=box_weights)
    (top_logits,) = box_ops.at_least_float32(top_logits)
    return boxes, jax.nn.sigmoid(top_logits), labels


def _top_entries(logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The highest of `[B, N, C]`: values, anchor and class, each `[B, min(count, N * C)]`.

    Descending, of equals the lower anchor, then class, first. The `count` highest entries lie in
    the `count` anchors with the highest maxima (each of these holds an entry ahead of any entry of
    the other anchors), which spares sorting N * C numbers, 12 million on the finest level.
    """
    num_classes = logits.shape[2]
    logits = _with_nan_last(logits, -jnp.inf)
    candidates = _highest(jnp.max(logits, axis=2), count)
    # In their own order, so that equal entries are found lowest anchor first.
    candidates = jnp.sort(candidates, axis=1)
    entries = jnp.take_along_axis(logits, candidates[:, :, None], axis=1)
    entries = entries.reshape(entries.shape[0], -1)
    position = _highest(entries, count)
    return (
        jnp.take_along_axis(entries, position, axis=1),
        jnp.take_along_axis(candidates, position // num_classes, axis=1),
        position % num_classes,
    )


def _with_nan_last(values: jax.Array, lowest: float) -> jax.Array:
    """Gives NaN the lowest value.

    In the order of XLA it is the highest, and for a maximum either that or nothing at all, as the
    platform has it.
    """
    return jnp.where(jnp.isnan(values), lowest, values)


def _highest(values: jax.Array, count: int) -> jax.Array:
    """Indices `[..., min(count, P)]` of the highest of `[..., P]`, descending, of equals the lower.

    On a TPU `top_k` of as many as these is two sorts.
    """
    count = min(count, values.shape[-1])
    indices: jax.Array = jax.lax.platform_dependent(
        values,
        tpu=functools.partial(_highest_by_sort, count=count),
        default=functools.partial(_highest_by_top_k, count=count),
    )
    return indices


def _highest_by_sort(values: jax.Array, count: int) -> jax.Array:
    order = jnp.argsort(values, axis=-1, descending=True)[..., :count].astype(jnp.int32)
    # `shard_map` takes the order for the same on all devices; so it is one of their values.
    return jnp.where(values[..., :count] > 0.0, order, order)


def _highest_by_top_k(values: jax.Array, count: int) -> jax.Array:
    # It takes -0 for less than 0, and on CPUs it is fast for float32 and nothing else.
    (values,) = box_ops.at_least_float32(values)
    return jax.lax.top_k(jnp.where(values == 0.0, 0.0, values), count)[1]
