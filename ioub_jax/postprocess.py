"""Predictions to detections: scores, decoding, class-wise NMS, under jit, in fixed shapes.

Images do not interact, so a batch sharded over devices needs no communication: everything here has
a fixed number of steps, and no image waits for another.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops


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


def detect(
    logits: Sequence[ArrayLike],
    deltas: Sequence[ArrayLike],
    anchors: Sequence[ArrayLike],
    image_sizes: ArrayLike,
    *,
    score_threshold: float = 0.05,
    candidates_per_level: int = 1000,
    nms_iou: float = 0.5,
    max_detections: int = 100,
    box_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Detections:
    """Detections of a RetinaNet (arXiv 1708.02002, section 4.1).

    Of every level the `candidates_per_level` highest (anchor, class) scores are decoded, all levels
    are joined and overlapping boxes of one class are suppressed. (mmdetection 0.6 instead takes the
    anchors with the highest scores, each with all of its classes; detectron2 and torchvision do as
    here.) A box left without area by the clipping to its image is dropped.

    Args:
      logits: `[B, N_l, C]` of every level, any float dtype; the score is their sigmoid, in float32.
      deltas: `[B, N_l, 4]` of every level, as `boxes.decode` takes them.
      anchors: `[N_l, 4]` of every level, xyxy, pixels.
      image_sizes: `[B, 2]` (height, width) in pixels of the image inside the network's input, whose
        top left it fills.
      score_threshold: a detection has a score above this.
      candidates_per_level: candidates of one level that are decoded.
      nms_iou: a box is suppressed by a better one of its class with an IoU above this.
      max_detections: K, the most detections of an image.
      box_weights: weights of (dx, dy, dw, dh) in the deltas, as in `boxes.encode`.

    Returns:
      The detections. Equal scores keep the order level, anchor, class; NaN is never a score.
    """
    found = candidates(
        logits,
        deltas,
        anchors,
        image_sizes,
        score_threshold=score_threshold,
        candidates_per_level=candidates_per_level,
        box_weights=box_weights,
    )
    return suppress(found, nms_iou=nms_iou, max_detections=max_detections)


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
    """What `detect` does before NMS; arguments as there."""
    levels = [
        _level_candidates(*level, candidates_per_level, box_weights)
        for level in zip(logits, deltas, anchors, strict=True)
    ]
    boxes, scores, labels = (jnp.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
    return _checked(boxes, scores, labels, image_sizes, score_threshold)


def detect_softmax(
    logits: Sequence[ArrayLike],
    deltas: Sequence[ArrayLike],
    anchors: Sequence[ArrayLike],
    image_sizes: ArrayLike,
    *,
    score_threshold: float = 0.02,
    candidates_per_class: int = 400,
    nms_iou: float = 0.45,
    max_detections: int = 200,
    box_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
) -> Detections:
    """Detections of an SSD (arXiv 1512.02325, section 3.3).

    Of every class the `candidates_per_class` anchors with the highest scores, whatever their level,
    are decoded, and overlapping boxes of one class are suppressed. This is what Caffe and
    torchvision do, whose thresholds are .01; mmdetection 0.6 has .02 and takes all anchors. A box
    left without area by the clipping to its image is dropped; torchvision keeps it.

    Args:
      logits: `[B, N_l, C + 1]` of every level, the background in column 0, any float dtype; the
        scores are their softmax, in float32.
      deltas: `[B, N_l, 4]` of every level, as `boxes.decode` takes them.
      anchors: `[N_l, 4]` of every level, xyxy, pixels.
      image_sizes: `[B, 2]` (height, width) in pixels of the image inside the network's input, whose
        top left it fills.
      score_threshold: a detection has a score above this.
      candidates_per_class: candidates of one class that are decoded.
      nms_iou: a box is suppressed by a better one of its class with an IoU above this.
      max_detections: K, the most detections of an image.
      box_weights: weights of (dx, dy, dw, dh) in the deltas, as in `boxes.encode`.

    Returns:
      The detections. Equal scores keep the order class, level, anchor; NaN is never a score.
    """
    found = candidates_softmax(
        logits,
        deltas,
        anchors,
        image_sizes,
        score_threshold=score_threshold,
        candidates_per_class=candidates_per_class,
        box_weights=box_weights,
    )
    return suppress(found, nms_iou=nms_iou, max_detections=max_detections)


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
    """What `detect_softmax` does before NMS; arguments as there."""
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
    than `iou_threshold`, `max_detections` times. What the i-th pick is depends only on the picks
    before it, so these are the first `max_detections` of a complete class-wise NMS over all boxes,
    without its P x P IoUs. The number of steps is fixed: a loop that ended with the last box would,
    under `vmap`, make all images (and, sharded, all devices) wait for the slowest.

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
    positions = jnp.arange(scores.shape[0], dtype=jnp.int32)
    used = -jnp.inf

    def pick(left: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        best = jnp.argmax(left).astype(jnp.int32)
        found = left[best] > used
        overlap = box_ops.pairwise_iou(boxes, boxes[best][None, :])[:, 0]
        suppressed = (labels == labels[best]) & (overlap > iou_threshold)
        # A box without area has IoU 0 with itself: what is picked is used up in any case.
        return jnp.where(suppressed | (positions == best), used, left), (
            jnp.where(found, best, 0),
            found,
        )

    # No area is below 0 and no label another one than itself. `shard_map` asks that what a scan
    # begins with differs between devices wherever what it goes on with does.
    possible = ~(box_ops.area(boxes) < 0.0) & (labels == labels)
    left = jnp.where(possible & jnp.asarray(valid) & (scores > used), scores, used)
    return jax.lax.scan(pick, left, None, length=max_detections)[1]


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

    Not `jax.lax.top_k`: XLA does not partition it, so every device would gather the whole batch.
    """
    return jnp.argsort(values, axis=-1, descending=True)[..., :count].astype(jnp.int32)
