"""Predictions to detections: scores, decoding, class-wise NMS, under jit, in fixed shapes.

Images do not interact, but NMS runs until the slowest image of a batch is done, and XLA does not
partition `top_k`. Process a batch that is sharded over devices under `jax.shard_map`
(`devices.placement.on_each_device`), so that devices do not communicate. Without it, the results
are the same, but with much communication.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import box_fusion, soft_nms
from ioub_jax import boxes as box_ops
from ioub_jax.box_codecs import DELTAS, BoxCodec, DeltaCodec
from ioub_jax.nms import class_wise_nms
from ioub_jax.ranking import highest, with_nan_last

# The number of candidates that are fused, one after another; further ones have the lowest scores.
_MOST_FUSED = 2048
_SSD_DELTAS = DeltaCodec((10.0, 10.0, 5.0, 5.0))

#: The methods that select detections among candidates; see `suppress`.
SUPPRESSIONS = ("nms", "soft_nms_linear", "soft_nms_gaussian", "weighted_box_fusion")


class Detections(NamedTuple):
    """The detections of a batch, best first, padded to K per image.

    Attributes:
      boxes: `[B, K, 4]` float32 xyxy, pixels of the network's input; 0 in the padding.
      scores: `[B, K]` float32 in 0..1; 0 in the padding.
      labels: `[B, K]` int32, 0..C-1; -1 in the padding.
      valid: `[B, K]` bool; False in the padding, which comes last.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    valid: jax.Array


class Candidates(NamedTuple):
    """Candidates for NMS: P boxes per image, in no particular order.

    Attributes:
      boxes: `[B, P, 4]` float32 xyxy, pixels of the network's input, clipped to the image.
      scores: `[B, P]` float32 in 0..1.
      labels: `[B, P]` int32, 0..C-1.
      valid: `[B, P]` bool; True if the score is above the threshold and the box has an area.
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
    codec: BoxCodec = DELTAS,
    qualities: Sequence[ArrayLike] | None = None,
    score_exponents: tuple[float, float] = (1.0, 1.0),
) -> Candidates:
    """NMS candidates from a RetinaNet's predictions (arXiv 1708.02002, section 4.1).

    The `candidates_per_level` highest (anchor, class) scores of every level are decoded, and all
    levels are joined. (mmdetection 0.6 instead takes the anchors with the highest scores, each with
    all of its classes; detectron2 and torchvision do the same as this function.) A box without area
    after clipping to its image is not a candidate.

    Args:
      logits: `[B, N_l, C]` for every level, any float dtype; the scores are their sigmoids, in
        float32.
      deltas: `[B, N_l, 4]` for every level, in the encoding of `codec`.
      anchors: `[N_l, 4]` for every level, xyxy, pixels.
      image_sizes: `[B, 2]`, the (height, width) in pixels of the image, which fills the top left of
        the network's input.
      score_threshold: the score that a candidate must exceed.
      candidates_per_level: the number of candidates of a level that are decoded.
      codec: the encoding of boxes by deltas.
      qualities: `[B, N_l, 1]` for every level, the logits of the quality of a box; None: the score
        is that of the class.
      score_exponents: a and b of the score `p^a q^b` for class p and quality q: 1 and 1 in FCOS and
        ATSS, .5 and .5 in torchvision's FCOS, a and 1 - a in IoU-aware RetinaNet.

    Returns:
      The candidates. Equal scores are ordered by level, anchor and class; NaN is never a score.
    """
    if qualities is not None:
        logits = [
            _logits_of_products(*level, score_exponents)
            for level in zip(logits, qualities, strict=True)
        ]
    levels = [
        _level_candidates(*level, candidates_per_level, codec)
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
    codec: BoxCodec = _SSD_DELTAS,
) -> Candidates:
    """NMS candidates from an SSD's predictions (arXiv 1512.02325, section 3.3).

    For every class, the `candidates_per_class` anchors with the highest scores are decoded,
    whatever their level. Caffe and torchvision do the same, with a threshold of .01; mmdetection
    0.6 has .02 and takes all anchors. A box without area after clipping to its image is not a
    candidate; torchvision keeps it.

    Args:
      logits: `[B, N_l, C + 1]` for every level, with the background in column 0, any float dtype;
        the scores are their softmax, in float32.
      deltas: as in `candidates`.
      anchors: as in `candidates`.
      image_sizes: as in `candidates`.
      score_threshold: as in `candidates`.
      candidates_per_class: the number of candidates of a class that are decoded.
      codec: as in `candidates`.

    Returns:
      The candidates. Equal scores are ordered by class, level and anchor; NaN is never a score.
    """
    (all_logits,) = box_ops.at_least_float32(
        jnp.concatenate([jnp.asarray(level) for level in logits], axis=1)
    )
    all_deltas = jnp.concatenate([jnp.asarray(level) for level in deltas], axis=1)
    all_anchors = jnp.concatenate([jnp.asarray(level) for level in anchors])
    by_class = jax.nn.softmax(all_logits, axis=2)[:, :, 1:].swapaxes(1, 2)
    by_class = with_nan_last(by_class, 0.0)
    anchor_index = highest(by_class, candidates_per_class)
    batch, classes, count = anchor_index.shape
    scores = jnp.take_along_axis(by_class, anchor_index, axis=2).reshape(batch, -1)
    labels = jnp.repeat(jnp.arange(classes, dtype=jnp.int32), count)
    anchor_index = anchor_index.reshape(batch, -1)
    boxes = codec.decode(
        jnp.take_along_axis(all_deltas, anchor_index[:, :, None], axis=1),
        all_anchors[anchor_index],
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
    """Returns the candidates `[B, P]` from boxes that are not clipped yet."""
    image_sizes = jnp.asarray(image_sizes)
    boxes = box_ops.clip(boxes, image_sizes[:, 0:1], image_sizes[:, 1:2])
    valid = (scores > score_threshold) & (box_ops.area(boxes) > 0.0)
    return Candidates(boxes, scores, labels, valid)


def suppress(
    found: Candidates,
    *,
    nms_iou: float,
    max_detections: int,
    method: str = "nms",
    sigma: float = 0.5,
    min_score: float = 0.0,
    class_agnostic: bool = False,
) -> Detections:
    """Selects the detections among the candidates of every image, usually one for each object.

    Args:
      found: the candidates.
      nms_iou: the IoU above which a box is suppressed by a better one of its class. Soft-NMS with
        'linear' lowers the scores of such boxes instead; weighted box fusion computes their mean.
      max_detections: K, the maximum number of detections in an image.
      method: one of `SUPPRESSIONS`: `class_wise_nms`, `soft_nms.soft_nms` or
        `box_fusion.weighted_box_fusion`. Fusion uses the `_MOST_FUSED` best candidates, and a
        detection gets the best score of its boxes.
      sigma: the sigma of 'soft_nms_gaussian'.
      min_score: the minimum score after Soft-NMS.
      class_agnostic: whether boxes of other classes are suppressed, too. Fusion does not allow it,
        since its means are those of one class.

    Raises:
      ValueError: there is no such method, or `class_agnostic` is set for fusion.
    """
    check_suppression(method, class_agnostic)
    found = found._replace(labels=box_ops.as_int32(found.labels))
    options: dict[str, Any] = {"iou_threshold": nms_iou, "max_detections": max_detections}
    if method != "weighted_box_fusion":
        options["class_agnostic"] = class_agnostic
    of_image: Callable[[Candidates], Detections]
    if method == "nms":
        of_image = functools.partial(_by_nms, **options)
    elif method == "weighted_box_fusion":
        of_image = functools.partial(_by_fusion, **options)
    else:
        decay = method.removeprefix("soft_nms_")
        options |= {"decay": decay, "sigma": sigma, "min_score": min_score}
        of_image = functools.partial(_by_soft_nms, **options)
    if found[0].shape[0] == 1:
        # The same without a batch of loops, which no converter to ONNX accepts.
        kept = jax.tree.map(lambda part: part[None], of_image(Candidates(*(p[0] for p in found))))
    else:
        kept = jax.vmap(of_image)(found)
    valid = kept.valid
    return Detections(
        boxes=jnp.where(valid[:, :, None], kept.boxes, 0.0),
        scores=jnp.where(valid, kept.scores, 0.0),
        labels=jnp.where(valid, kept.labels, -1),
        valid=valid,
    )


def check_suppression(method: str, class_agnostic: bool) -> None:
    """Refuses an unknown method of `suppress`, and a fusion of boxes of several classes.

    Raises:
      ValueError: the method is unknown, or it is a fusion and `class_agnostic` is set.
    """
    if method not in SUPPRESSIONS:
        raise ValueError(f"suppression is {method!r}; it must be one of {SUPPRESSIONS}.")
    if class_agnostic and method == "weighted_box_fusion":
        raise ValueError(
            "class_agnostic is True, but suppression 'weighted_box_fusion' takes means of boxes of "
            "one class; set class_agnostic to False, or another suppression."
        )


def _for_suppression(image: Candidates, class_agnostic: bool) -> Candidates:
    """Returns the candidates with labels such that NMS compares boxes of equal labels only."""
    return image._replace(labels=jnp.zeros_like(image.labels)) if class_agnostic else image


def _by_nms(image: Candidates, *, class_agnostic: bool, **options: Any) -> Detections:
    kept, valid = class_wise_nms(*_for_suppression(image, class_agnostic), **options)
    return Detections(image.boxes[kept], image.scores[kept], image.labels[kept], valid)


def _by_soft_nms(image: Candidates, *, class_agnostic: bool, **options: Any) -> Detections:
    told_apart = _for_suppression(image, class_agnostic)
    kept, scores, valid = soft_nms.soft_nms(*told_apart, **options)
    return Detections(image.boxes[kept], scores, image.labels[kept], valid)


def _by_fusion(image: Candidates, **options: Any) -> Detections:
    best = highest(jnp.where(image.valid, image.scores, -jnp.inf), _MOST_FUSED)
    some = jax.tree.map(lambda part: part[best], image)
    return Detections(*box_fusion.weighted_box_fusion(*some, confidence="max", **options))


def _level_candidates(
    logits: ArrayLike,
    deltas: ArrayLike,
    anchors: ArrayLike,
    count: int,
    codec: BoxCodec,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns boxes `[B, k, 4]`, scores and labels `[B, k]` of a level's best (anchor, class)."""
    logits, deltas, anchors = jnp.asarray(logits), jnp.asarray(deltas), jnp.asarray(anchors)
    top_logits, anchor_index, labels = _top_entries(logits, count)
    top_deltas = jnp.take_along_axis(deltas, anchor_index[:, :, None], axis=1)
    boxes = codec.decode(top_deltas, anchors[anchor_index])
    (top_logits,) = box_ops.at_least_float32(top_logits)
    return boxes, jax.nn.sigmoid(top_logits), labels


def _logits_of_products(
    logits: ArrayLike, quality: ArrayLike, exponents: tuple[float, float]
) -> jax.Array:
    """Returns logits `[B, N, C]` whose sigmoids are the scores `p^a q^b`."""
    of_class, of_box = box_ops.at_least_float32(logits, quality)
    of_class_part, of_box_part = exponents
    log_score = of_class_part * jax.nn.log_sigmoid(of_class)
    log_score += of_box_part * jax.nn.log_sigmoid(jnp.broadcast_to(of_box, of_class.shape))
    # log(s / (1 - s)), for a score that differs from 1 in float32.
    return log_score - jnp.log(-jnp.expm1(jnp.minimum(log_score, -1e-7)))


def _top_entries(logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the highest entries of `[B, N, C]`: values, anchor and class.

    Each array is `[B, min(count, N * C)]`, in descending order, with ties ordered by anchor, then
    class. The `count` highest entries belong to the `count` anchors with the highest maxima (each
    of these has an entry ahead of any entry of the other anchors). This avoids sorting N * C
    numbers, 12 million on the finest level.
    """
    num_classes = logits.shape[2]
    logits = with_nan_last(logits, -jnp.inf)
    candidates = highest(jnp.max(logits, axis=2), count)
    # In ascending order, so that among equal entries the lowest anchor comes first.
    candidates = jnp.sort(candidates, axis=1)
    entries = jnp.take_along_axis(logits, candidates[:, :, None], axis=1)
    entries = entries.reshape(entries.shape[0], -1)
    position = highest(entries, count)
    return (
        jnp.take_along_axis(entries, position, axis=1),
        jnp.take_along_axis(candidates, position // num_classes, axis=1),
        position % num_classes,
    )
