"""Counts and histograms of a data set, from its annotations alone."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.sources.annotations import Annotations

#: COCO's size classes: the area at which each begins, in square pixels (pycocotools, `areaRng`).
SIZE_CLASSES = {"small": 0.0, "medium": 32.0**2, "large": 96.0**2}
_SIDE_EDGES = (0, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024, np.inf)
_ASPECT_EDGES = (0, 1 / 8, 1 / 4, 1 / 2, 1 / 1.25, 1.25, 2, 4, 8, np.inf)
_COUNT_EDGES = (0, 1, 2, 3, 6, 11, 21, 51, 101, 201, np.inf)


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of values in bins.

    Attributes:
        edges: Where each bin begins, and where the last one ends; infinity is None.
        counts: One a bin; a bin holds its lower edge and not its upper.
    """

    edges: tuple[float | None, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ClassCount:
    """How often a class occurs.

    Attributes:
        name: Its name.
        category_id: The data set's own id.
        boxes: Its boxes, crowds included.
        images: Images with at least one.
    """

    name: str
    category_id: int | str
    boxes: int
    images: int


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Counts and histograms of a data set; sizes are in pixels of the original images.

    Attributes:
        images: How many.
        empty_images: Images without objects.
        boxes: How many, crowds included.
        crowds: Boxes that are crowds.
        difficult: Boxes flagged difficult.
        ignored: Regions to ignore, which are no boxes: what was left out lies there.
        classes: One entry a class, in the order of the labels.
        size_classes: Boxes of each of COCO's size classes, by the annotation's area, as COCO's
            evaluation counts them; crowds, which it ignores, are left out.
        boxes_per_image: Histogram over images.
        box_sides: Histogram over boxes of the square root of width times height.
        box_aspects: Histogram over boxes with an area of width over height.
        image_aspects: Histogram over images of width over height.
        image_sizes: The most frequent (height, width, count), at most five.
        most_boxes: Objects of the fullest image.
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


def collect_statistics(
    annotations: Annotations, classes: Sequence[str], category_ids: Sequence[int | str]
) -> Statistics:
    """Counts what a data set has.

    Args:
        annotations: Of n images.
        classes: Class names in the order of the labels.
        category_ids: The data set's own id of each class.

    Returns:
        The statistics.
    """
    ignored = int(annotations.ignored.sum())
    annotations = annotations.without_ignored()
    counts = annotations.counts
    sides = annotations.boxes[:, 2:] - annotations.boxes[:, :2]
    with_area = sides[(sides > 0).all(axis=1)]  # clipping to the image may have left none
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
        classes=_count_classes(annotations, classes, category_ids),
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
        annotations: Of n images.

    Returns:
        int64, positions among all objects, in order.
    """
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    keys = np.column_stack([images, annotations.labels, annotations.boxes.view(np.int32)])
    _, first = np.unique(_as_single_values(keys), return_index=True)
    repeated = np.ones(len(images), bool)
    repeated[first] = False
    return np.flatnonzero(repeated & ~annotations.ignored)


def _as_single_values(rows: np.ndarray) -> np.ndarray:
    """Each row as one opaque value: sorting those is many times faster than sorting rows."""
    rows = np.ascontiguousarray(rows)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)


def _count_classes(
    annotations: Annotations, classes: Sequence[str], category_ids: Sequence[int | str]
) -> tuple[ClassCount, ...]:
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    boxes = np.bincount(annotations.labels, minlength=len(classes))
    pairs = np.unique(images * len(classes) + annotations.labels)
    in_images = np.bincount(pairs % len(classes), minlength=len(classes))
    return tuple(
        ClassCount(name, int(number), int(boxes[label]), int(in_images[label]))
        for label, (name, number) in enumerate(zip(classes, category_ids, strict=True))
    )


def _histogram(values: np.ndarray, edges: Sequence[float]) -> Histogram:
    bins = np.searchsorted(edges, values, side="right") - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return Histogram(
        tuple(float(edge) if np.isfinite(edge) else None for edge in edges),
        tuple(int(count) for count in counts),
    )
