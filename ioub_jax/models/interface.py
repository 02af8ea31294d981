"""What every detector takes and gives."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Predictions(NamedTuple):
    """What a detector says of every anchor, level by level, finest first.

    The anchors of a location stand behind each other in the last axis, as the convolutions put
    them out. On a TPU any other form would be a copy, and the losses need none.

    Attributes:
      logits: one `[B, h, w, A * C]` a level; for a softmax C + 1 logits an anchor, the background
        first.
      deltas: one `[B, h, w, A * 4]` a level, (dx, dy, dw, dh) from anchor to box.
    """

    logits: tuple[jax.Array, ...]
    deltas: tuple[jax.Array, ...]

    def per_anchor(self) -> "Predictions":
        """The same as `[B, N_l, C]` and `[B, N_l, 4]`, ordered by row, column, anchor."""
        numbers = [math.prod(deltas.shape[1:]) // 4 for deltas in self.deltas]
        logits, deltas = (
            tuple(
                values.reshape(values.shape[0], number, -1)
                for values, number in zip(levels, numbers, strict=True)
            )
            for levels in self
        )
        return Predictions(logits, deltas)


def normalize_images(
    images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: Any = jnp.float32
) -> jax.Array:
    """`[..., 3]` RGB pixels 0-255 (uint8 or float) to `(pixel - mean) / std`."""
    lead = (1,) * (images.ndim - 1)
    subtracted = jnp.asarray(mean, jnp.float32).reshape(*lead, 3)
    divided = jnp.asarray(std, jnp.float32).reshape(*lead, 3)
    return ((images.astype(jnp.float32) - subtracted) / divided).astype(dtype)
