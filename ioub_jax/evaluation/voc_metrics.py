"""PASCAL VOC's detection metric, by the rules of the challenge's devkit (VOCevaldet.m, VOCap.m).

The detections of a class are sorted by score over all images; those of equal score keep the order
in which they were given. Each is compared with the one ground-truth box of its image and class that
it overlaps most, the first of equal overlaps, **whether or not that box is already taken**:

- The IoU is below the threshold: a false positive.
- The box is difficult: neither true nor false. Difficult boxes are not counted as objects either.
- The box has not been found yet: a true positive.
- The box has been found: a false positive, even if the detection also overlaps another box enough.
  COCO's metric would match it to that other box.

Regions to ignore (`ignored`, where objects were left out of the ground truth) do not exist in the
challenge. A detection that overlaps no box enough, and at least half of which lies in such a
region, is neither true nor false.

There is no limit on the detections of an image. A class without an object that counts has no number
and is left out of the mean over classes.

Average precision is a mean of the interpolated precision, which is the highest precision at any
recall at least as large. VOC2007 to VOC2009 use the recalls 0, .1, ... 1, here `eleven_point`;
VOC2010 and later use all recalls, here `all_points`. The challenge uses only IoU .50, here `AP50`.
The VOC numbers in the paper on IoU-balanced losses (arXiv 1908.05641) are eleven-point ones, and
its `AP` is, like COCO's, the mean over IoU .50, .55, ... .95, with the same rules at each IoU.

The devkit's corners are inclusive and 1-based, and it adds 1 to every width. Boxes here are 0-based
with exclusive right and bottom edges, so that the same widths, areas and IoUs result without it.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ioub_jax.evaluation.box_arrays import (
    BoxArrays,
    box_arrays,
    nearest_objects,
    paired_covered_shares,
)
from ioub_jax.evaluation.chosen_classes import ChosenMeans, chosen_means
from ioub_jax.evaluation.coco_input import CheckedInput, check_input
from ioub_jax.evaluation.coco_metrics import AP_AT_IOU, AP_KEYS
from ioub_jax.evaluation.metric import Report
from ioub_jax.evaluation.metric_tables import decimals
from ioub_jax.printing import printable

# Quotients are rounded like the literals .5, .55, ... and like an IoU that equals one of them.
IOU_THRESHOLDS = np.arange(10, 20) / 20
_IN_A_REGION = 0.5  # share of the area of a detection
_OF_CLASSES = ("AP", "AP50", "AP75")  # the numbers of each class in a table


@dataclasses.dataclass(frozen=True)
class VocClassMetrics:
    """The metrics of one class.

    Attributes:
      name: the name of the class in the ground truth.
      category_id: the id of the class in the ground truth.
      boxes: number of its ground-truth boxes that count as objects.
      difficult: number of its ground-truth boxes that do not count.
      eleven_point: as `VocMetrics.eleven_point`, for this class; None if `boxes` is 0.
      all_points: as `VocMetrics.all_points`, for this class; None if `boxes` is 0.
    """

    name: str
    category_id: int | str
    boxes: int
    difficult: int
    eleven_point: Mapping[str, float | None]
    all_points: Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class VocMetrics:
    """Result of an evaluation; all numbers are in [0, 1], or None if no object counts.

    Attributes:
      eleven_point: AP of VOC2007 averaged over the classes, under `AP` (mean over the ten IoU
        thresholds), `AP50`, `AP60`, `AP70`, `AP75`, `AP80`, `AP90`.
      all_points: AP of VOC2010 and later, under the same keys.
      per_class: an entry for each category, in the order of the category ids.
      images: number of images in the ground truth.
      boxes: number of ground-truth boxes that count as objects.
      difficult: number of ground-truth boxes that do not count: difficult ones and COCO's crowds.
      detections: number of detections that were given.
      chosen: the means over chosen classes; None if no classes were chosen.
    """

    eleven_point: Mapping[str, float | None]
    all_points: Mapping[str, float | None]
    per_class: tuple[VocClassMetrics, ...]
    images: int
    boxes: int
    difficult: int
    detections: int
    chosen: ChosenMeans | None = None


def _numbers_of(
    eleven_point: Mapping[str, float | None], all_points: Mapping[str, float | None]
) -> dict[str, float | None]:
    """The numbers of a report."""
    return {f"voc_{key}": ap for key, ap in eleven_point.items()} | {
        f"voc_all_points_{key}": ap for key, ap in all_points.items()
    }


#: All numbers of a report: `voc_AP`, `voc_AP50`, ... (11 points), `voc_all_points_AP`, ...
NUMBER_KEYS = tuple(_numbers_of(dict.fromkeys(AP_KEYS), dict.fromkeys(AP_KEYS)))


@dataclasses.dataclass(frozen=True)
class VocMetric:
    """VOC's metrics as a `metric.Metric`, whose headline is the AP over 11 points.

    Attributes:
      average_classes: as for `evaluate_voc`.
    """

    average_classes: tuple[str, ...] = ()

    name: ClassVar[str] = "voc"
    headline_key: ClassVar[str] = "voc_AP"

    def compute(
        self, ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
    ) -> Report:
        """The report; arguments and errors as for `evaluate_voc`."""
        metrics = evaluate_voc(ground_truth, detections, average_classes=self.average_classes)
        numbers = _numbers_of(metrics.eleven_point, metrics.all_points)
        chosen = {} if metrics.chosen is None else metrics.chosen.numbers
        return Report(
            numbers={**numbers, **chosen},
            table=format_voc_table(metrics),
            title="PASCAL VOC",
            details=voc_metrics_to_json(metrics),
        )


def evaluate_voc(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    average_classes: Sequence[str] = (),
) -> VocMetrics:
    """PASCAL VOC's metrics of a set of detections.

    Args:
      ground_truth: a data set in COCO's JSON format, with `images` (`id`), `annotations`
        (`image_id`, `category_id`, `bbox` and optionally `difficult`, `iscrowd` or `ignored`) and
        `categories` (`id`, `name`). VOC has no crowds; a crowd counts as difficult.
      detections: COCO results: `image_id`, `category_id`, `bbox` and `score`.
      average_classes: names of classes whose mean is also reported, as `voc_AP_chosen` and so on.

    Returns:
      the metrics.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category,
        or `average_classes` an unknown class.
    """
    checked = check_input(ground_truth, detections)
    rows = [row for row in checked.annotations if not row["ignored"]]
    objects = box_arrays(rows)
    difficult = np.array([row["difficult"] or row["iscrowd"] for row in rows], bool)
    regions = box_arrays([row for row in checked.annotations if row["ignored"]])
    scores = np.array([row["score"] for row in checked.detections], np.float64)
    best_first = np.argsort(-scores, kind="stable")
    found = box_arrays(checked.detections)[best_first]

    per_class, precisions = [], []
    for category in checked.categories:
        of_class = objects.categories == category["id"]
        precision = _precision_at_recall(
            found[found.categories == category["id"]],
            objects[of_class],
            difficult[of_class],
            regions[regions.categories == category["id"]],
        )
        precisions.append(precision)
        per_class.append(_class_metrics(category, difficult[of_class], precision))
    of_classes = [(row.name, _shown_numbers(row)) for row in per_class]
    metrics = _metrics(checked, per_class, precisions)
    return dataclasses.replace(metrics, chosen=chosen_means(of_classes, average_classes))


def _shown_numbers(row: VocClassMetrics) -> dict[str, float | None]:
    """The numbers of a class that a table shows."""
    eleven_point, all_points = (
        {key: numbers[key] for key in _OF_CLASSES} for numbers in (row.eleven_point, row.all_points)
    )
    return _numbers_of(eleven_point, all_points)


# From the boxes of a class to its interpolated precision.


def _precision_at_recall(
    found: BoxArrays, objects: BoxArrays, difficult: np.ndarray, regions: BoxArrays
) -> np.ndarray:
    """Interpolated precision of one class.

    Args:
      found: the d detections of the class, best first.
      objects: the m ground-truth boxes of the class.
      difficult: bool `[m]`, whether each box does not count.
      regions: the regions to ignore of the class.

    Returns:
      float64 `[T, n]`, for each of the T IoU thresholds the highest precision with which at least
      1, 2, ... n of the n boxes that count are found; 0 for numbers of boxes that are never found.
    """
    count = int(np.sum(~difficult))
    result = np.zeros((len(IOU_THRESHOLDS), count))
    if count == 0:
        return result
    ious, nearest = nearest_objects(found, objects)
    in_region = nearest_objects(found, regions, paired_covered_shares)[0] >= _IN_A_REGION
    for row, threshold in zip(result, IOU_THRESHOLDS, strict=True):
        overlapping = ious >= threshold
        counted = np.where(overlapping, ~difficult[nearest], ~in_region)
        true = _first_of_each(nearest, overlapping & counted)
        # Detections that do not count leave the precision unchanged.
        precision = np.cumsum(true) / np.maximum(np.cumsum(counted), 1)
        # Precision can only be highest at a detection that finds another object.
        at_hits = precision[true]
        row[: len(at_hits)] = np.maximum.accumulate(at_hits[::-1])[::-1]
    return result


def _first_of_each(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Mask of the first of equal `values` `[d]` among those marked by `among`: bool `[d]`."""
    chosen = np.flatnonzero(among)
    _, first = np.unique(values[chosen], return_index=True)
    result = np.zeros(len(values), bool)
    result[chosen[first]] = True
    return result


# From interpolated precision to the numbers of a report.


def _eleven_point(precision: np.ndarray) -> np.ndarray:
    """AP `[T]` of a class of n > 0 objects from its interpolated precision `[T, n]`.

    Recall k / 10 is reached with ceil(k * n / 10) objects. This is computed in integers, because 3
    of 10 objects would miss a recall of .3 that is computed as 3 * .1 = .30000000000000004.
    """
    count = precision.shape[1]
    objects = -(-np.arange(11) * count // 10)
    # Recall 0 needs no object; the highest precision there is that of at least one object.
    return precision[:, np.maximum(objects, 1) - 1].mean(axis=1)


def _all_points(precision: np.ndarray) -> np.ndarray:
    """AP `[T]` of a class from its interpolated precision `[T, n]`: the area under its curve.

    The curve has a step for each of n > 0 objects.
    """
    return precision.mean(axis=1)


def _named(aps: Sequence[np.ndarray]) -> dict[str, float | None]:
    """The means of AP `[T]` over the given classes, under the names of a report."""
    if not aps:
        return dict.fromkeys(AP_KEYS)
    mean = np.mean(aps, axis=0)
    return {"AP": float(mean.mean()), **{key: float(mean[at]) for key, at in AP_AT_IOU.items()}}


def _class_metrics(
    category: Mapping[str, Any], difficult: np.ndarray, precision: np.ndarray
) -> VocClassMetrics:
    existing = [precision] if precision.shape[1] > 0 else []
    return VocClassMetrics(
        name=category["name"],
        category_id=category["written_id"],
        boxes=precision.shape[1],
        difficult=int(difficult.sum()),
        eleven_point=_named([_eleven_point(each) for each in existing]),
        all_points=_named([_all_points(each) for each in existing]),
    )


def _metrics(
    checked: CheckedInput, per_class: list[VocClassMetrics], precisions: list[np.ndarray]
) -> VocMetrics:
    existing = [precision for precision in precisions if precision.shape[1] > 0]
    return VocMetrics(
        eleven_point=_named([_eleven_point(each) for each in existing]),
        all_points=_named([_all_points(each) for each in existing]),
        per_class=tuple(per_class),
        images=len(checked.images),
        boxes=sum(row.boxes for row in per_class),
        difficult=sum(row.difficult for row in per_class),
        detections=len(checked.detections),
    )


def voc_metrics_to_json(metrics: VocMetrics) -> dict[str, Any]:
    """The metrics as a dict for `json`, under the names of their attributes."""
    return {
        "eleven_point": dict(metrics.eleven_point),
        "all_points": dict(metrics.all_points),
        **({} if metrics.chosen is None else metrics.chosen.to_json()),
        "images": metrics.images,
        "boxes": metrics.boxes,
        "difficult": metrics.difficult,
        "detections": metrics.detections,
        "per_class": [dataclasses.asdict(row) for row in metrics.per_class],
    }


def format_voc_table(metrics: VocMetrics) -> str:
    """The metrics as text for a terminal: the means over the classes, then a line for each class.

    The names of the classes are at the ends of their lines, so that names of any width and script
    do not break a column. A number that does not exist is `-`.
    """
    return "\n".join(_table_lines(metrics))


def _table_lines(metrics: VocMetrics) -> Iterator[str]:
    yield (
        f"{metrics.images} images, {metrics.boxes} ground-truth boxes,"
        f" {metrics.difficult} difficult, {metrics.detections} detections"
    )
    yield ""
    yield "".join(f"{key:>8}" for key in metrics.eleven_point)
    yield f"{_decimals(metrics.eleven_point.values())}  11 points (VOC2007)"
    yield f"{_decimals(metrics.all_points.values())}  all points (VOC2010 and later)"
    if metrics.chosen is not None:
        yield ""
        yield metrics.chosen.sentence()
    yield ""
    yield f"{'11 points':>24}{'all points':>24}"
    yield "".join(f"{key:>8}" for key in (*_OF_CLASSES, *_OF_CLASSES, "boxes")) + "  class"
    for row in metrics.per_class:
        yield f"{_decimals(_shown_numbers(row).values())}{row.boxes:>8}  {printable(row.name)}"


def _decimals(values: Iterable[float | None]) -> str:
    return "".join(f"{decimals(value):>8}" for value in values)
