"""Counts and histograms of a data set, from its annotations alone."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.corners import find_repeated
from ioub_jax.data.sources.learned import ClassCount

#: COCO's size classes: the area at which each begins, in square pixels (pycocotools, `areaRng`).
SIZE_CLASSES = {"small": 0.0, "medium": 32.0**2, "large": 96.0**2}
# Fewer areas than this prove nothing; an area is odd outside of these shares of its box.
_FEWEST_AREAS, _SMALLEST_AREA, _LARGEST_AREA = 5, 0.005, 1.05
_SIDE_EDGES = (0, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024, np.inf)
_ASPECT_EDGES = (0, 1 / 8, 1 / 4, 1 / 2, 1 / 1.25, 1.25, 2, 4, 8, np.inf)
_COUNT_EDGES = (0, 1, 2, 3, 6, 11, 21, 51, 101, 201, np.inf)


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of values in bins.

    Attributes:
      edges: the lower edge of each bin and the upper edge of the last one; infinity is None.
      counts: the count of each bin; a bin includes its lower edge but not its upper edge.
    """

    edges: tuple[float | None, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Counts and histograms of a data set; sizes are in pixels of the original images.

    Attributes:
      images: number of images.
      empty_images: number of images without objects.
      boxes: number of boxes, including crowds.
      crowds: number of boxes that are crowds.
      difficult: number of boxes that are flagged difficult.
      ignored: number of regions to ignore, which do not count as boxes; they cover objects that
        were left out.
      classes: an entry for each class, in the order of the labels.
      size_classes: number of boxes in each of COCO's size classes, by the annotated area, as in
        COCO's evaluation; crowds, which it ignores, are left out.
      boxes_per_image: histogram of the number of boxes of an image.
      box_sides: histogram of the square root of width times height of a box.
      box_aspects: histogram of width over height of the boxes that have an area.
      image_aspects: histogram of width over height of an image.
      image_sizes: (height, width, count) of the most frequent image sizes, at most five.
      most_boxes: number of objects in the fullest image.
    """

    images: int
    empty_images: int
    boxes: int
    crowds: int
    difficult: int
    ignored: int
    classes: tuple[ClassCount, ...]
    size_classes: dict[str, int]
    boxes_per_image: Histogram
    box_sides: Histogram
    box_aspects: Histogram
    image_aspects: Histogram
    image_sizes: tuple[tuple[int, int, int], ...]
    most_boxes: int


def collect_statistics(annotations: Annotations, classes: Sequence[ClassCount]) -> Statistics:
    """Counts the images and objects of a data set.

    Args:
      annotations: the objects of n images.
      classes: an entry for each class, in the order of the labels.

    Returns:
      the statistics.
    """
    ignored = int(annotations.ignored.sum())
    annotations = annotations.without_ignored()
    counts = annotations.counts
    sides = annotations.boxes[:, 2:] - annotations.boxes[:, :2]
    with_area = sides[(sides > 0).all(axis=1)]  # clipping to the image may have left no area
    sizes, frequency = np.unique(annotations.sizes, axis=0, return_counts=True)
    frequent = np.argsort(-frequency, kind="stable")[:5]
    size_class = size_classes(annotations.area[~annotations.crowd])
    return Statistics(
        images=len(annotations),
        empty_images=int((counts == 0).sum()),
        boxes=len(annotations.boxes),
        crowds=int(annotations.crowd.sum()),
        difficult=int(annotations.difficult.sum()),
        ignored=ignored,
        classes=tuple(classes),
        size_classes={
            name: int((size_class == number).sum()) for number, name in enumerate(SIZE_CLASSES)
        },
        boxes_per_image=_histogram(counts, _COUNT_EDGES),
        box_sides=_histogram(np.sqrt(sides.prod(axis=1)), _SIDE_EDGES),
        box_aspects=_histogram(with_area[:, 0] / with_area[:, 1], _ASPECT_EDGES),
        image_aspects=_histogram(annotations.sizes[:, 1] / annotations.sizes[:, 0], _ASPECT_EDGES),
        image_sizes=tuple(
            (int(sizes[i, 0]), int(sizes[i, 1]), int(frequency[i])) for i in frequent
        ),
        most_boxes=int(counts.max(initial=0)),
    )


def size_classes(areas: np.ndarray) -> np.ndarray:
    """COCO's size class of each area in square pixels: int64, positions in `SIZE_CLASSES`."""
    return np.searchsorted(list(SIZE_CLASSES.values()), areas, side="right") - 1


def find_duplicate_boxes(annotations: Annotations) -> np.ndarray:
    """The objects that repeat the box and class of an earlier one in the same image.

    Args:
      annotations: the objects of n images.

    Returns:
      int64, positions among all objects, in order.
    """
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    repeated = find_repeated(images, annotations.labels, annotations.boxes)
    return np.flatnonzero(repeated & ~annotations.ignored)


def find_odd_areas(annotations: Annotations) -> list[Finding]:
    """Finds annotated areas that cannot be those of their objects, such as 1 everywhere.

    The area of a mask is at most that of its box, and not a tiny part of it, even for a scratch.

    Args:
      annotations: the objects of n images.

    Returns:
      a finding if most areas are odd, or if all areas are equal although the boxes differ;
      otherwise no finding.
    """
    objects = ~annotations.crowd & ~annotations.ignored
    boxes, area = annotations.boxes[objects], annotations.area[objects]
    if len(area) < _FEWEST_AREAS:
        return []
    sides = boxes[:, 2:] - boxes[:, :2]
    of_boxes = sides.prod(axis=1)
    # Rounding may have shortened each side of the box by a pixel.
    larger = area > _LARGEST_AREA * (sides + 1).prod(axis=1)
    odd = larger | (area < _SMALLEST_AREA * of_boxes)
    is_constant = np.ptp(area) == 0 and of_boxes.max() > 4 * of_boxes.min()
    if not is_constant and 2 * odd.sum() <= len(odd):
        return []
    fault = f"`area` is {area[0]:g} everywhere, though the boxes differ"
    if not is_constant:
        fault = (
            f"`area` is above the width times height of {larger.sum():,} boxes and below "
            f"{_SMALLEST_AREA:.1%} of it for {(odd & ~larger).sum():,}"
        )
    advice = (
        f"{fault}: AP of small, medium and large objects depends on it. Write the area of the mask "
        "or the box in square pixels, or remove it to use that of the box."
    )
    return [Finding("odd_area", False, int(odd.sum()) or len(odd), advice)]


def _histogram(values: np.ndarray, edges: Sequence[float]) -> Histogram:
    bins = np.searchsorted(edges, values, side="right") - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return Histogram(
        tuple(float(edge) if np.isfinite(edge) else None for edge in edges),
        tuple(int(count) for count in counts),
    )
