"""Common arguments of the assigners, checked at trace time and prepared for computation."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax.matching import Matches, check_ground_truth

# The number of boxes in one pass over all anchors: the state is read and written once for all of
# them.
SLOTS_AT_ONCE = 5

_State = TypeVar("_State")


class Given(NamedTuple):
    """Anchors and ground truth, at least in float32 and without gradients.

    Attributes:
      anchors: `[N, 4]` xyxy, pixels, with all levels concatenated.
      boxes: `[B, M, 4]` xyxy, pixels; zeros if a slot is neither an object nor a region.
      labels: `[B, M]` int32.
      is_object: `[B, M]` bool, True for objects, which get positives.
      is_region: `[B, M]` bool, True for regions to ignore.
    """

    anchors: jax.Array
    boxes: jax.Array
    labels: jax.Array
    is_object: jax.Array
    is_region: jax.Array

    @property
    def centers(self) -> jax.Array:
        """The centers (x, y) of the anchors, `[N, 2]`, in pixels."""
        return (self.anchors[:, :2] + self.anchors[:, 2:]) * 0.5


def check_given(
    anchors: Sequence[ArrayLike],
    boxes: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    ignored: ArrayLike,
    ignore_iof: float,
) -> tuple[Given, list[int]]:
    """Refuses arguments of wrong shapes, and prepares the others for computation.

    Args:
      anchors: one `[N_l, 4]` xyxy for each level, pixels.
      boxes: `[B, M, 4]` xyxy, pixels; any values where not valid.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool.
      ignored: `[B, M]` bool.
      ignore_iof: the share of an anchor's area, which is checked.

    Returns:
      The prepared arguments, and the number of anchors of every level.

    Raises:
      TypeError: labels are not integers.
      ValueError: a shape, or `ignore_iof`, is not one of the possible values.
    """
    sizes = _level_sizes(anchors)
    check_ground_truth(boxes, labels, valid, ignored)
    if not 0.0 < ignore_iof <= 1.0:
        raise ValueError(f"ignore_iof is {ignore_iof}; it must be above 0 and at most 1.")
    *levels, boxes = jax.lax.stop_gradient(box_ops.at_least_float32(*anchors, boxes))
    valid, ignored = jnp.asarray(valid).astype(bool), jnp.asarray(ignored).astype(bool)
    # A box with NaN has no area above 0; infinite coordinates are excluded explicitly.
    usable = valid & (box_ops.area(boxes) > 0.0) & jnp.all(jnp.isfinite(boxes), axis=-1)
    boxes = jnp.where(usable[..., None], boxes, 0.0)
    labels = box_ops.as_int32(labels)
    given = Given(jnp.concatenate(levels), boxes, labels, usable & ~ignored, usable & ignored)
    return given, sizes


def _level_sizes(anchors: Sequence[ArrayLike]) -> list[int]:
    """Returns the number of anchors of every level."""
    if not isinstance(anchors, Sequence):
        raise ValueError(
            f"anchors has shape {np.shape(anchors)}; it must be a sequence of one [N_l, 4] array "
            "for each level."
        )
    if not anchors:
        raise ValueError("anchors is empty; it must have one [N_l, 4] array for each level.")
    for index, level in enumerate(anchors):
        shape = np.shape(level)
        if len(shape) != 2 or shape[1] != 4 or shape[0] == 0:
            raise ValueError(
                f"anchors[{index}] has shape {shape}; it must be [N_l, 4] with N_l at least 1."
            )
    return [np.shape(level)[0] for level in anchors]


def check_count(name: str, value: int) -> None:
    """Raises `ValueError` if a number of anchors is not a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 1.")


def nowhere(given: Given, *more: jax.Array) -> jax.Array:
    """False for every anchor, `[B, N]`, from which the initial state of a loop is made.

    It depends on all inputs of the loop, because `shard_map` checks which values vary between
    devices.
    """
    of_images = (given.is_object | given.is_region)[:, :1] & (given.labels[:, :1] != 0)
    for array in (given.boxes, *more):
        of_images &= (array.reshape(array.shape[0], -1)[:, :1] != 0) & False
    return of_images & (given.anchors[:, 0] != 0)[None] & False


def visit_slots(
    visit: Callable[[_State, Any], _State], slots: Any, state: _State, *, together: bool = True
) -> _State:
    """Computes `state = visit(state, slot)` for all M slots, in order.

    All slots are visited, even those without a box: devices would have to communicate to find the
    last used one.

    Args:
      visit: returns the next state.
      slots: arrays `[B, M, ...]`; `visit` gets their parts `[B, ...]`.
      state: the first state.
      together: True to visit a few slots in one pass over the state.

    Returns:
      The last state.
    """
    by_slot = jax.tree.map(lambda array: array.swapaxes(0, 1), slots)
    unroll = SLOTS_AT_ONCE if together else 1
    last: _State = jax.lax.scan(
        lambda state, slot: (visit(state, slot), None), state, by_slot, unroll=unroll
    )[0]
    return last


def slot_numbers(given: Given) -> jax.Array:
    """The number of each slot, 0 to M - 1: `[B, M]` int32."""
    return jax.lax.broadcasted_iota(jnp.int32, given.labels.shape, 1)


def of_levels(values: Sequence[float], sizes: Sequence[int], dtype: Any) -> jax.Array:
    """The value of each level, repeated for its anchors: `[N]`."""
    return jnp.asarray(np.repeat(np.asarray(values, np.float64), sizes), dtype)


def stride_of_anchors(
    given: Given, sizes: Sequence[int], strides: Sequence[float] | None
) -> jax.Array:
    """The stride of every anchor's level, `[N]` in pixels; None: the widths of the anchors.

    Raises:
      ValueError: there is not one stride above 0 for every level.
    """
    if strides is None:
        return given.anchors[:, 2] - given.anchors[:, 0]
    check_levels("strides", strides, sizes)
    for stride in strides:
        if not 0.0 < stride < math.inf:
            raise ValueError(f"strides has {stride}; each must be above 0.")
    return of_levels(strides, sizes, given.anchors.dtype)


def check_levels(name: str, values: Sequence[Any], sizes: Sequence[int]) -> None:
    """Raises `ValueError` if there is not one value for every level."""
    if not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"{name} is {values!r}; it must have one entry for each level.")
    if len(values) != len(sizes):
        raise ValueError(
            f"{name} has {len(values)} entries; it must have {len(sizes)}, one for each level of "
            "the anchors."
        )


def coordinates(array: jax.Array) -> list[jax.Array]:
    """The items of the last axis, each as an array `[...]`."""
    return [array[..., axis] for axis in range(array.shape[-1])]


def inside_by(centers: jax.Array, boxes: jax.Array) -> jax.Array:
    """Distance of centers from the nearest edge of boxes in pixels, positive inside.

    Args:
      centers: `[..., 2]` (x, y).
      boxes: `[..., 4]` xyxy, of equal rank.

    Returns:
      `[...]`; negative outside.
    """
    # Coordinate by coordinate, since most devices pad a minor dimension of two to a wide one.
    (x, y), (xmin, ymin, xmax, ymax) = coordinates(centers), coordinates(boxes)
    return jnp.minimum(jnp.minimum(x - xmin, xmax - x), jnp.minimum(y - ymin, ymax - y))


def in_ignored_regions(given: Given, ignore_iof: float) -> jax.Array:
    """Mask of the anchors that a region to ignore covers: bool `[B, N]`.

    A region covers an anchor if it covers its center or at least `ignore_iof` of its area. An
    anchor of several strides may be larger than a region in which its location lies, and objects
    there would be learned at that location.
    """
    least = ignore_iof * box_ops.area(given.anchors)[None]

    def visit(covered: jax.Array, slot: tuple[jax.Array, jax.Array]) -> jax.Array:
        box, is_region = slot
        shared = box_ops.pairwise_intersection(given.anchors, box[:, None])[..., 0]
        around = inside_by(given.centers[None], box[:, None]) > 0.0
        is_covered = around | ((least > 0.0) & (shared >= least))
        return covered | (is_region[:, None] & is_covered)

    return visit_slots(visit, (given.boxes, given.is_region), nowhere(given))


def matches_of(
    given: Given, slot: jax.Array, positive: jax.Array, iou: jax.Array, ignore_iof: float
) -> Matches:
    """Matches of every anchor, from the chosen slots.

    Args:
      given: the ground truth.
      slot: `[B, N]` int32, the slot of the assigned box; any value where there is none.
      positive: `[B, N]` bool.
      iou: `[B, N]`, the IoU of the anchor with its box; any value where not positive.
      ignore_iof: as in `in_ignored_regions`.

    Returns:
      The matches; slot and IoU are 0 where an anchor is not positive.
    """
    slot = jnp.where(positive, slot, 0)
    label = jnp.take_along_axis(given.labels, slot, axis=1)
    unmatched = jnp.where(in_ignored_regions(given, ignore_iof), -2, -1)
    return Matches(jnp.where(positive, label, unmatched), slot, jnp.where(positive, iou, 0.0))
