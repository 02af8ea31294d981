"""Values of anchors, `[B, N]`, and the entries of a head's output, `[B, h, w, A * D]`.

The last axis has the D entries of each of the A anchors of a location, one anchor after another. A
TPU stores the last axis in rows of 128, so a reshape to `[..., A, D]` is a copy there, of 32 times
the size for D = 4. Operations on single entries therefore keep this layout, and only values of
whole anchors are reshaped to `[B, N]`. On other platforms, such a reshape costs nothing.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Sigmoids(NamedTuple):
    """The sigmoids of a level, each of which detects one class.

    Attributes:
      logits: `[B, ..., A * C]`.
      labels: int8 of the same shape: 0 for the matched class of a positive, -2 for the entries of
        an ignored anchor, -1 for all others.
    """

    logits: jax.Array
    labels: jax.Array


def repeat_for_entries(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Gives every entry the value of its anchor.

    Args:
      values: `[B, N]`, float32.
      shape: `[B, ..., A * D]`, with the same number of anchors.

    Returns:
      An array of this shape.
    """
    anchors = _anchors_of_a_location(values.shape[1], shape)
    values = values.reshape(*shape[:-1], anchors)
    repeated: jax.Array = jax.lax.platform_dependent(
        values,
        tpu=functools.partial(_repeat_by_product, entries=shape[-1] // anchors),
        default=functools.partial(jnp.repeat, repeats=shape[-1] // anchors, axis=-1),
    )
    return repeated


def sum_of_entries(entries: jax.Array, anchors: int) -> jax.Array:
    """Sums the entries of every anchor.

    Args:
      entries: `[B, ..., A * D]`, float32; or bfloat16 if at most one entry of each anchor is not 0.
      anchors: N.

    Returns:
      `[B, N]`, of the same dtype.
    """
    at_location = _anchors_of_a_location(anchors, entries.shape)
    sums = jax.lax.platform_dependent(
        entries,
        tpu=functools.partial(_sum_by_product, anchors=at_location),
        default=functools.partial(_sum_by_reshape, anchors=at_location),
    )
    return sums.reshape(entries.shape[0], anchors)


def coordinates(deltas: jax.Array, anchors: int) -> jax.Array:
    """Reshapes `[B, ..., A * 4]` to `[B, N, 4]`, extracting one coordinate at a time.

    Args:
      deltas: `[B, ..., A * 4]`.
      anchors: N.
    """
    each = [deltas[..., i::4].reshape(deltas.shape[0], anchors) for i in range(4)]
    # The coordinates are stacked on the first axis and then moved to the last one, which a compiler
    # can do without a copy.
    return jnp.moveaxis(jnp.stack(each), 0, -1)


def split_levels(values: jax.Array, sizes: Sequence[int]) -> list[jax.Array]:
    """Splits `[B, N, ...]` into one `[B, N_l, ...]` for each level."""
    edges = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return jnp.split(values, edges, axis=1)


def sigmoids_of_levels(
    logits: Sequence[jax.Array], labels: jax.Array, sizes: Sequence[int]
) -> tuple[Sigmoids, ...]:
    """The sigmoids of all levels.

    Args:
      logits: one `[B, ..., A * C]` for each level.
      labels: `[B, N]` int32: 0..C-1 for a class, -1 for background, -2 for ignored.
      sizes: the number of anchors of each level.
    """
    return tuple(
        Sigmoids(level, _labels_of_entries(level_labels, level.shape))
        for level, level_labels in zip(logits, split_levels(labels, sizes), strict=True)
    )


def _labels_of_entries(labels: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    classes = shape[-1] // _anchors_of_a_location(labels.shape[1], shape)
    of_anchor = repeat_for_entries(labels.astype(jnp.float32), shape).astype(jnp.int32)
    class_of_entry = np.arange(shape[-1], dtype=np.int32) % classes
    class_of_entry = class_of_entry.reshape((1,) * (len(shape) - 1) + (-1,))
    of_entry = jnp.where(of_anchor == class_of_entry, 0, jnp.minimum(of_anchor, -1))
    # The barrier keeps these labels in memory; otherwise, a compiler would keep an intermediate
    # array with four bytes per entry.
    return jax.lax.optimization_barrier(of_entry.astype(jnp.int8))


def _anchors_of_a_location(anchors: int, shape: tuple[int, ...]) -> int:
    return anchors // int(np.prod(shape[1:-1]))


def _repeat_by_product(values: jax.Array, *, entries: int) -> jax.Array:
    """Repeats the last axis exactly, by sums of the parts of one number and of zeros."""
    # Three bfloat16 have the 24 bits of a float32 and fit into one product, side by side. A product
    # of float32 at the highest precision takes six products.
    parts, left = [], values.astype(jnp.float32)
    for _ in range(3):
        # A compiler would remove a cast to bfloat16 and back.
        part = jax.lax.reduce_precision(left, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        left = left - part
    belongs = np.kron(np.eye(values.shape[-1]), np.ones((1, entries)))
    return _product(jnp.concatenate(parts, axis=-1), np.tile(belongs, (3, 1)), jnp.float32)


def _sum_by_product(values: jax.Array, *, anchors: int) -> jax.Array:
    entries = values.shape[-1] // anchors
    return _product(values, np.kron(np.eye(anchors), np.ones((entries, 1))), values.dtype)


def _product(x: jax.Array, matrix: np.ndarray, dtype: Any) -> jax.Array:
    """Multiplies `[B, ..., D]` by `[D, E]`, with the images next to the entries.

    This is the layout of a convolution's result on a TPU if the batch is a multiple of eight
    images. XLA gives a product the layout in which it is written, and would copy the result
    otherwise.
    """
    product = jnp.matmul(
        jnp.moveaxis(x, 0, -2),
        jnp.asarray(matrix, x.dtype),
        precision=jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
        preferred_element_type=dtype,
    )
    return jnp.moveaxis(product, -2, 0)


def _sum_by_reshape(values: jax.Array, *, anchors: int) -> jax.Array:
    return jnp.sum(values.reshape(*values.shape[:-1], anchors, -1), axis=-1)
