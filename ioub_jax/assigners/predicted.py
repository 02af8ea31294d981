"""Predictions of a detector, in the form that prediction-aware assigners read."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax.assigners.ground_truth import Given

# The number of anchors whose logits of all classes are read at once.
_ANCHORS_AT_ONCE = 2048


class Predicted:
    """Logits and boxes of every anchor, level by level, without gradients.

    Everything computed from logits has the dtype of the boxes, at least float32.

    Attributes:
      logits: one `[B, N_l, C]` for each level, before the sigmoid, in their own dtype.
      boxes: `[B, N, 4]` xyxy, pixels; zeros for a box with a coordinate that is not finite.
      objectness: one `[B, N_l, 1]` for each level, before the sigmoid; or empty.
    """

    def __init__(
        self,
        logits: Sequence[ArrayLike],
        boxes: Sequence[ArrayLike],
        given: Given,
        sizes: Sequence[int],
        objectness: Sequence[ArrayLike] | None = None,
    ) -> None:
        """Takes one array for each level; raises `ValueError` if they do not fit the anchors."""
        batch = given.boxes.shape[0]
        _check_levels("logits", logits, batch, sizes, None)
        _check_levels("predicted_boxes", boxes, batch, sizes, 4)
        self.logits = jax.lax.stop_gradient([jnp.asarray(level) for level in logits])
        _, *of_levels = jax.lax.stop_gradient(box_ops.at_least_float32(given.boxes, *boxes))
        predicted = jnp.concatenate(of_levels, axis=1)
        finite = jnp.all(jnp.isfinite(predicted), axis=-1, keepdims=True)
        self.boxes = jnp.where(finite, predicted, 0.0)
        self.objectness: list[jax.Array] = []
        if objectness is not None:
            _check_levels("objectness", objectness, batch, sizes, 1)
            self.objectness = jax.lax.stop_gradient([jnp.asarray(level) for level in objectness])

    def logits_of_class(self, label: jax.Array) -> jax.Array:
        """The logit of one class per image for all anchors: `[B]` to `[B, N]`, dtype of `boxes`."""
        columns = [
            jnp.take_along_axis(level, label[:, None, None], axis=2, mode="clip")[..., 0]
            for level in self.logits
        ]
        return _finite(jnp.concatenate(columns, axis=1).astype(self.boxes.dtype))

    def logits_of_labels(self, labels: jax.Array) -> jax.Array:
        """The logit of each anchor's own class: `[B, N]` to `[B, N]`, dtype of the boxes."""
        ends = np.cumsum([level.shape[1] for level in self.logits])[:-1]
        own = [
            jnp.take_along_axis(level, of_level[..., None], axis=2, mode="clip")[..., 0]
            for level, of_level in zip(self.logits, jnp.split(labels, ends, axis=1), strict=True)
        ]
        return _finite(jnp.concatenate(own, axis=1).astype(self.boxes.dtype))

    def scores_of_class(self, label: jax.Array) -> jax.Array:
        """The score of one class per image, `sqrt(p o)` or p: `[B]` to `[B, N]`."""
        score = jax.nn.sigmoid(self.logits_of_class(label))
        if not self.objectness:
            return score
        of_objects = jnp.concatenate(self.objectness, axis=1)[..., 0].astype(score.dtype)
        return jnp.sqrt(score * jax.nn.sigmoid(_finite(of_objects)))

    def sum_over_classes(self, function: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """The sum over classes of a function of the scores: `[B, N]`, dtype of the boxes."""

        def of_some(index: int, start: jax.Array, number: int) -> jax.Array:
            def cut(array: jax.Array) -> jax.Array:
                some = jax.lax.dynamic_slice_in_dim(array, start, number, axis=1)
                return jax.nn.sigmoid(_finite(some.astype(self.boxes.dtype)))

            score = cut(self.logits[index])
            if self.objectness:
                score = jnp.sqrt(score * cut(self.objectness[index]))
            return jnp.sum(function(score), axis=2)

        levels = [
            _in_parts(functools.partial(of_some, index), level.shape[1])
            for index, level in enumerate(self.logits)
        ]
        return jnp.concatenate(levels, axis=1)


def _in_parts(function: Callable[[jax.Array, int], jax.Array], size: int) -> jax.Array:
    """Computes `function(start, number)` for `size` anchors, part by part: `[B, size]`.

    This keeps intermediate arrays small, since not every compiler fuses a sum with its input.
    """
    number = min(size, _ANCHORS_AT_ONCE)
    # The last part overlaps the one before, so that it is as long as the others.
    starts = np.minimum(np.arange(0, size, number), size - number)
    parts = jax.lax.map(lambda start: function(start, number), jnp.asarray(starts, jnp.int32))
    first = [parts[index] for index in range(len(starts) - 1)]
    return jnp.concatenate([*first, parts[-1][:, number * len(starts) - size :]], axis=1)


def _finite(logits: jax.Array) -> jax.Array:
    """Returns finite logits: NaN becomes the lowest logit, and values are clipped to +-1e4."""
    return jnp.clip(jnp.where(jnp.isnan(logits), -1e4, logits), -1e4, 1e4)


def _check_levels(
    name: str,
    levels: Sequence[ArrayLike],
    batch: int,
    sizes: Sequence[int],
    last: int | None,
) -> None:
    if not isinstance(levels, Sequence) or len(levels) != len(sizes):
        if hasattr(levels, "shape"):
            found = f"{np.shape(levels)}"
        else:
            found = f"{len(levels)} arrays" if isinstance(levels, Sequence) else f"{levels!r:.40}"
        raise ValueError(
            f"{name} has {found}; it must have one array for each of {len(sizes)} levels."
        )
    for index, (level, size) in enumerate(zip(levels, sizes, strict=True)):
        shape = np.shape(level)
        if len(shape) != 3 or shape[:2] != (batch, size) or shape[2] != (last or shape[2] or 1):
            wanted = f"({batch}, {size}, {last or 'C'})"
            raise ValueError(
                f"{name}[{index}] has shape {shape}; it must be {wanted}, to match the boxes and "
                "the anchors."
            )
