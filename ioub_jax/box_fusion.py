"""Weighted box fusion (Solovyev et al., arXiv 1910.13302), exact, under jit, in fixed shapes.

NMS keeps the best of the boxes on an object and drops the others; fusion computes their mean,
weighted by their scores. It was designed for the detections of several models, or of one model in
several views of an image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax.ranking import highest

#: The rules for the score of a fused box; see `weighted_box_fusion`.
CONFIDENCES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")


class _Clusters(NamedTuple):
    """State of a fusion: the number of processed boxes, and P clusters, the first ones used.

    Attributes:
      done: the number of boxes that have a cluster.
      used: the number of clusters.
      weighted: `[P, 4]`, the sums of boxes times scores.
      scores: `[P]`, the sums of scores.
      labels: `[P]`, the labels of the clusters.
      of_box: `[P]`, the cluster of each processed box.
    """

    done: jax.Array
    used: jax.Array
    weighted: jax.Array
    scores: jax.Array
    labels: jax.Array
    of_box: jax.Array


def weighted_box_fusion(
    boxes: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    *,
    max_detections: int,
    iou_threshold: float = 0.55,
    confidence: str = "avg",
    models: ArrayLike | None = None,
    weights: Sequence[float] = (1.0,),
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Fuses overlapping boxes of each class in one image.

    In order of descending score, a box joins the cluster of its class whose fused box it overlaps
    most, if their IoU exceeds `iou_threshold`, or else begins a new cluster. The fused box of a
    cluster is the mean of its boxes, weighted by their scores. Its score is, for its n boxes with
    scores c and model weights w, and T models with weights W,

    - 'avg': mean(c) min(T, n) / sum(W), as in the paper,
    - 'max': max(c) / max(W),
    - 'box_and_model_avg': sum(c) / sum(w), times the sum of the weights of the models with boxes in
      the cluster, divided by sum(W),
    - 'absent_model_aware_avg': sum(c) / (sum(w) + the sum of the weights of the models without
      boxes in the cluster).

    The result equals that of `weighted_boxes_fusion` in the package ensemble-boxes. No gradient
    flows through it.

    Args:
      boxes: `[P, 4]` xyxy, pixels; P is at least 1.
      scores: `[P]` above 0.
      labels: `[P]` int.
      valid: `[P]` bool; other boxes, and boxes that are not finite, are ignored.
      max_detections: K.
      iou_threshold: the IoU above which a box joins a cluster.
      confidence: one of `CONFIDENCES`.
      models: `[P]` int, the model that found each box; None for a single model.
      weights: the weights of the models, by which the scores are multiplied.

    Returns:
      `[K, 4]` fused boxes by descending score, `[K]` scores, `[K]` int32 labels and `[K]` bool,
      which is False (and the others 0) if there are fewer than K clusters.

    Raises:
      ValueError: there is no such confidence.
    """
    if confidence not in CONFIDENCES:
        raise ValueError(f"confidence is {confidence!r}; it must be one of {CONFIDENCES}.")
    boxes, scores = map(jax.lax.stop_gradient, box_ops.at_least_float32(boxes, scores))
    labels = box_ops.as_int32(labels)
    models = jnp.zeros_like(labels) if models is None else box_ops.as_int32(models)
    of_models = jnp.asarray(weights, scores.dtype)
    there = jnp.asarray(valid) & (scores > 0.0) & jnp.all(jnp.isfinite(boxes), axis=1)
    scores = jnp.where(there, scores * of_models[models], 0.0)
    boxes = jnp.where(there[:, None], boxes, 0.0)
    order = highest(scores, scores.shape[0])
    boxes, scores, labels, models = (part[order] for part in (boxes, scores, labels, models))
    clusters = _clustered(boxes, scores, labels, iou_threshold)
    fused = clusters.weighted / jnp.where(clusters.scores > 0.0, clusters.scores, 1.0)[:, None]
    confidences = _confidences(clusters, scores, models, of_models, confidence)
    best = highest(confidences, max_detections)
    found = confidences[best] > 0.0
    rest = (0, max_detections - len(best))
    return (
        jnp.pad(jnp.where(found[:, None], fused[best], 0.0), (rest, (0, 0))),
        jnp.pad(jnp.where(found, confidences[best], 0.0), rest),
        jnp.pad(jnp.where(found, clusters.labels[best], 0), rest),
        jnp.pad(found, rest),
    )


def _clustered(
    boxes: jax.Array, scores: jax.Array, labels: jax.Array, iou_threshold: float
) -> _Clusters:
    """Returns the clusters of boxes in descending order of scores; a score of 0 has no cluster."""
    slots = jnp.arange(len(scores), dtype=jnp.int32)
    there = jnp.sum(scores > 0.0, dtype=jnp.int32)

    def join(state: _Clusters) -> _Clusters:
        box, score, label = (part[state.done] for part in (boxes, scores, labels))
        means = state.weighted / jnp.where(state.scores > 0.0, state.scores, 1.0)[:, None]
        same = (slots < state.used) & (state.labels == label)
        overlap = jnp.where(same, box_ops.pairwise_iou(means, box[None])[:, 0], 0.0)
        nearest = jnp.argmax(overlap).astype(jnp.int32)
        joins = overlap[nearest] > iou_threshold
        slot = jnp.where(joins, nearest, state.used)
        here = slots == slot
        return _Clusters(
            done=state.done + 1,
            used=state.used + jnp.where(joins, 0, 1),
            weighted=state.weighted + jnp.where(here, score, 0.0)[:, None] * box[None],
            scores=state.scores + jnp.where(here, score, 0.0),
            labels=jnp.where(here, label, state.labels),
            of_box=jnp.where(slots == state.done, slot, state.of_box),
        )

    # `shard_map` requires that the initial values of a loop vary between devices like its results.
    zeros, none = jnp.zeros_like(scores), jnp.zeros_like(labels)
    zero = jnp.where(there < 0, there, 0)
    start = _Clusters(zero, zero, jnp.zeros_like(boxes), zeros, none, none)
    return jax.lax.while_loop(lambda state: state.done < there, join, start)


def _confidences(
    clusters: _Clusters, scores: jax.Array, models: jax.Array, weights: jax.Array, confidence: str
) -> jax.Array:
    """Returns the score of each cluster `[P]`; 0 for unused clusters."""
    count = jnp.zeros_like(scores)
    there = scores > 0.0
    boxes = count.at[clusters.of_box].add(there.astype(scores.dtype))
    total = jnp.sum(weights)
    if confidence == "max":
        best = count.at[clusters.of_box].max(jnp.where(there, scores, 0.0))
        return best / jnp.max(weights)
    if confidence == "avg":
        models_at_most = jnp.minimum(boxes, len(weights))
        return clusters.scores / jnp.maximum(boxes, 1.0) * models_at_most / total
    of_boxes = count.at[clusters.of_box].add(jnp.where(there, weights[models], 0.0))
    seen = jnp.zeros((len(scores), len(weights)), bool).at[clusters.of_box, models].max(there)
    present = jnp.sum(jnp.where(seen, weights[None], 0.0), axis=1)
    if confidence == "box_and_model_avg":
        return clusters.scores / jnp.where(of_boxes > 0.0, of_boxes, 1.0) * present / total
    return clusters.scores / (of_boxes + total - present)
