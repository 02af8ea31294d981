"""What every detector takes and gives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Predictions(NamedTuple):
    """What a detector says of every anchor, level by level, finest first.

    Attributes:
      logits: one `[B, N_l, C]` a level; `[B, N_l, C + 1]` with the background in column 0 for a
        softmax.
      deltas: one `[B, N_l, 4]` a level, (dx, dy, dw, dh) from anchor to box.
    """

    logits: tuple[jax.Array, ...]
    deltas: tuple[jax.Array, ...]


def normalize_images(
    images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: Any = jnp.float32
) -> jax.Array:
    """`[..., 3]` RGB pixels 0-255 (uint8 or float) to `(pixel - mean) / std`."""
    lead = (1,) * (images.ndim - 1)
    subtracted = jnp.asarray(mean, jnp.float32).reshape(*lead, 3)
    divided = jnp.asarray(std, jnp.float32).reshape(*lead, 3)
    return ((images.astype(jnp.float32) - subtracted) / divided).astype(dtype)
