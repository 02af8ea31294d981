"""FCOS (arXiv 1904.01355): the locations near a box's center, on the level for its size."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ioub_jax import boxes as box_ops
from ioub_jax.assigners.ground_truth import (
    Given,
    check_given,
    check_levels,
    coordinates,
    inside_by,
    matches_of,
    nowhere,
    of_levels,
    slot_numbers,
    stride_of_anchors,
    visit_slots,
)
from ioub_jax.matching import Matches, gather_boxes

#: The implementations whose comparisons `fcos` can reproduce.
FcosRule = Literal["authors", "torchvision"]

# Torchvision prefers the box with the larger value of this minus its area, in square pixels.
_TORCHVISION_AREA = 1e8


class _Locations(NamedTuple):
    """Properties of every location, each `[N]` in pixels."""

    stride: jax.Array
    least_size: jax.Array
    largest_size: jax.Array


def fcos(
    anchors: Sequence[ArrayLike],
    boxes: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    ignored: ArrayLike,
    *,
    center_radius: float | None = 1.5,
    size_ranges: Sequence[tuple[float, float]] | None = None,
    strides: Sequence[float] | None = None,
    rule: FcosRule = "authors",
    ignore_iof: float = 0.5,
) -> Matches:
    """Locations inside a box, near its center, on the level for its size (FCOS, arXiv 1904.01355).

    A location is the center of an anchor. It is positive for a box if it is inside the box, less
    than `center_radius` strides from its center along x and along y (center sampling, arXiv
    2006.09214), and if the largest of its distances from the box's four edges is in the range of
    its level. If this holds for several boxes, the location goes to the one with the smallest area,
    the first one of equals.

    With the rule `'authors'`, as in the authors' code and in mmdetection, ranges include both
    bounds: a box whose distance equals a bound is found on two levels. (The authors compute areas
    from sides that are one pixel longer; mmdetection and this function do not.) With
    `'torchvision'`, ranges exclude both bounds, such a box is found on no level, and areas are
    compared as 1e8 minus the area: in float32, areas that differ by less than 4 to 8 square pixels
    are equal, and a box with an area of 1e8 is never found.

    Args:
      anchors: one `[N_l, 4]` xyxy for each level, pixels; one square of a stride per location.
      boxes: `[B, M, 4]` xyxy, pixels; M is at least 1.
      labels: `[B, M]` int, 0..C-1.
      valid: `[B, M]` bool, whether the slot holds a box.
      ignored: `[B, M]` bool, whether a valid box is a region to ignore.
      center_radius: the radius in strides; None for all locations inside a box, as in the first
        paper.
      size_ranges: the minimum and maximum distance of every level, in pixels. None: 4 to 8 strides,
        from 0 on the first level and unbounded on the last, so the bounds in between are 64, 128,
        256 and 512 for strides of 8 to 128; torchvision has no other ranges.
      strides: the stride of every level in pixels. None: the widths of the anchors, as in
        torchvision.
      rule: 'authors' or 'torchvision', as above.
      ignore_iof: the share of an anchor's area that one ignored region must cover for the anchor to
        be ignored, if it is not positive. A region that covers its center is enough.

    Returns:
      The matches; each array is `[B, N]`. `iou` is the IoU of the anchor with its box. `gt_index`
      and `iou` are 0 where an anchor is not positive.

    Raises:
      TypeError: labels are not integers.
      ValueError: a shape or an option is not one of the possible values.
    """
    given, sizes = check_given(anchors, boxes, labels, valid, ignored, ignore_iof)
    _check_options(center_radius, size_ranges, rule)
    locations = _locations(given, sizes, size_ranges, strides)
    slot, positive = _smallest_boxes(given, locations, center_radius, rule)
    matched = gather_boxes(given.boxes, slot)
    iou = box_ops.aligned_iou(given.anchors[None], matched)
    return matches_of(given, slot, positive, iou, ignore_iof)


def _locations(
    given: Given,
    sizes: Sequence[int],
    size_ranges: Sequence[tuple[float, float]] | None,
    strides: Sequence[float] | None,
) -> _Locations:
    stride = stride_of_anchors(given, sizes, strides)
    if size_ranges is not None:
        check_levels("size_ranges", size_ranges, sizes)
        least, largest = (
            of_levels([ends[i] for ends in size_ranges], sizes, stride.dtype) for i in (0, 1)
        )
        return _Locations(stride, least, largest)
    level = np.repeat(np.arange(len(sizes)), sizes)
    least = jnp.where(level == 0, 0.0, 4.0 * stride)
    return _Locations(stride, least, jnp.where(level == len(sizes) - 1, jnp.inf, 8.0 * stride))


def _smallest_boxes(
    given: Given, locations: _Locations, center_radius: float | None, rule: str
) -> tuple[jax.Array, jax.Array]:
    """Returns the slot of the smallest box that each location may find, and whether it exists."""
    size_of_boxes = box_ops.area(given.boxes)
    if rule == "torchvision":
        # Rounded as in torchvision; boxes below the bound are never found.
        preferred = _TORCHVISION_AREA - size_of_boxes
        is_object = given.is_object & (preferred >= 1e-5)
        size_of_boxes = -preferred
    else:
        is_object = given.is_object

    def visit(found: tuple[jax.Array, jax.Array], slot: Any) -> tuple[jax.Array, jax.Array]:
        box, size, is_object, index = slot
        may_find = is_object[:, None] & _may_find(given, box, locations, center_radius, rule)
        smaller = may_find & (size[:, None] < found[0])
        return jnp.where(smaller, size[:, None], found[0]), jnp.where(
            smaller, index[:, None], found[1]
        )

    none = nowhere(given)
    nothing = (jnp.where(none, 0.0, jnp.inf).astype(given.boxes.dtype), none.astype(jnp.int32))
    smallest, slot = visit_slots(
        visit, (given.boxes, size_of_boxes, is_object, slot_numbers(given)), nothing
    )
    return slot, smallest < jnp.inf


def _may_find(
    given: Given, box: jax.Array, locations: _Locations, center_radius: float | None, rule: str
) -> jax.Array:
    """Returns whether each location may find the one box per image `[B, 4]`: bool `[B, N]`."""
    (x, y), (xmin, ymin, xmax, ymax) = coordinates(given.centers[None]), coordinates(box[:, None])
    found = inside_by(given.centers[None], box[:, None]) > 0.0
    if center_radius is not None:
        reach = (center_radius * locations.stride)[None]
        found &= jnp.abs(x - (xmin + xmax) * 0.5) < reach
        found &= jnp.abs(y - (ymin + ymax) * 0.5) < reach
    size = jnp.maximum(jnp.maximum(x - xmin, xmax - x), jnp.maximum(y - ymin, ymax - y))
    least, largest = locations.least_size[None], locations.largest_size[None]
    if rule == "torchvision":
        return found & (size > least) & (size < largest)
    return found & (size >= least) & (size <= largest)


def _check_options(
    center_radius: float | None,
    size_ranges: Sequence[tuple[float, float]] | None,
    rule: str,
) -> None:
    if center_radius is not None and not center_radius > 0.0:
        raise ValueError(f"center_radius is {center_radius}; it must be above 0, or None.")
    if rule not in ("authors", "torchvision"):
        raise ValueError(f"rule is {rule!r}; it must be 'authors' or 'torchvision'.")
    for pair in size_ranges or ():
        if len(pair) != 2 or not pair[0] < pair[1]:
            raise ValueError(f"size_ranges has {pair}; each must be (least, largest), in pixels.")
