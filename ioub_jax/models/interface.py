"""Inputs and outputs that all detectors share."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Predictions(NamedTuple):
    """Predictions of a detector for every anchor, level by level, finest first.

    The anchors of a location follow each other in the last axis, as in the output of the
    convolutions. On a TPU any other layout would be a copy, and the losses do not need it.

    Attributes:
      logits: `[B, h, w, A * C]` for each level; for a softmax C + 1 logits per anchor, the
        background first.
      deltas: `[B, h, w, A * 4]` for each level, (dx, dy, dw, dh) from anchor to box.
      others: further outputs by name, `[B, h, w, A * k]` for each level: a centreness or an IoU
        (k = 1), or the bins of a distribution.
    """

    logits: tuple[jax.Array, ...]
    deltas: tuple[jax.Array, ...]
    others: dict[str, tuple[jax.Array, ...]] = {}  # noqa: RUF012  (never changed)

    def per_anchor(self) -> "Predictions":
        """The predictions as `[B, N_l, C]`, `[B, N_l, 4]` and `[B, N_l, k]` for each level l.

        The anchors of a level are ordered by row, column and anchor.
        """
        numbers = [math.prod(deltas.shape[1:]) // 4 for deltas in self.deltas]

        def of_anchors(levels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            return tuple(
                values.reshape(values.shape[0], number, -1)
                for values, number in zip(levels, numbers, strict=True)
            )

        others = {name: of_anchors(levels) for name, levels in self.others.items()}
        return Predictions(of_anchors(self.logits), of_anchors(self.deltas), others)


def normalize_images(
    images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: Any = jnp.float32
) -> jax.Array:
    """Maps pixels 0-255 `[..., channels]` (uint8 or float) to `(pixel - mean) / std`."""
    lead = (1,) * (images.ndim - 1)
    subtracted = jnp.asarray(mean, jnp.float32).reshape(*lead, -1)
    divided = jnp.asarray(std, jnp.float32).reshape(*lead, -1)
    return ((images.astype(jnp.float32) - subtracted) / divided).astype(dtype)


def for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Means or standard deviations of the pixels, one for each channel.

    Args:
      values: one value for each channel, or the three values of RGB. The latter are extended to
        other numbers of channels: with fewer than three channels, each has their mean; with more,
        the first three channels have the values of RGB and the others have their mean.
      channels: number of channels.

    Returns:
      one value for each channel.

    Raises:
      ValueError: the number of values is neither `channels` nor three.
    """
    given = tuple(float(value) for value in values)
    if len(given) == channels:
        return given
    if len(given) != 3:
        raise ValueError(
            f"there are {len(given)} values; there must be {channels}, one per channel, or RGB's "
            "three."
        )
    mean = sum(given) / 3
    return (*given, *(mean,) * (channels - 3)) if channels > 3 else (mean,) * channels
