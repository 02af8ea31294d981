"""COCO detection metrics, as pycocotools computes them.

The matching and the precision and recall tensors are computed by faster-coco-eval, a replacement
for pycocotools in C++, or by pycocotools. This module passes them data in memory, suppresses their
output, and reads all numbers of a report from the tensors. Both give the same numbers to the last
bit, except for boxes whose area is too small for a float (sides around 1e-160 pixels).

Two properties of COCO's metric matter for the interpretation of its numbers:

- A crowd annotation (`iscrowd`) is neither found nor missed, and detections in it do not count.
- There is no difficult flag: a box that VOC's metric leaves out counts like any other. The `ignore`
  flag of an annotation is not read either, since pycocotools overwrites it.
"""

import contextlib
import dataclasses
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ioub_jax.evaluation.chosen_classes import ChosenMeans, chosen_means
from ioub_jax.evaluation.coco_input import CheckedInput, check_input, without_collection
from ioub_jax.evaluation.coco_matching import COCO_DETECTIONS
from ioub_jax.evaluation.compared_boxes import compared_boxes
from ioub_jax.evaluation.dense_objects import DenseImages, base_of, dense_images, named
from ioub_jax.evaluation.error_report import (
    error_report,
    error_report_to_json,
    format_error_report,
)
from ioub_jax.evaluation.means import mean_of_counted
from ioub_jax.evaluation.metric import Report
from ioub_jax.evaluation.metric_tables import blocks_of, decimals, table_line, widths_of
from ioub_jax.printing import printable

Backend = Literal["faster_coco_eval", "pycocotools"]

# Positions in the evaluators' tensors: precision [T, R, K, A, M] and recall [T, K, A, M].
# T is IoU .50, .55, ... .95; A is all, small, medium, large; M is 1, 10 and 100 detections and, if
# another number is counted, that number.
ALL_AREAS, _SMALL, _MEDIUM, _LARGE = range(4)
_AT_1, _AT_10, _AT_100 = range(3)
#: The position in M of the counted number of detections of a class in an image.
COUNTED = -1
#: Average precision at one IoU -> the position of that IoU.
AP_AT_IOU = {"AP50": 0, "AP60": 2, "AP70": 4, "AP75": 5, "AP80": 6, "AP90": 8}
#: The mean over all IoUs, and the average precisions at one IoU.
AP_KEYS = ("AP", *AP_AT_IOU)

_TABLE_ROWS = (
    AP_KEYS,
    ("APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
#: The names of all numbers in a report of COCO's metrics.
NUMBER_KEYS = tuple(key for row in _TABLE_ROWS for key in row)
# The numbers for another counted number of detections, whose names `dense_objects.named` extends.
_COUNTED_ROWS = (AP_KEYS, ("APs", "APm", "APl", "AR", "ARs", "ARm", "ARl"))
_COUNTED_KEYS = {key for row in _COUNTED_ROWS for key in row}


def is_number(key: str) -> bool:
    """True if a report has a number of that name, for any counted number of detections."""
    return key in NUMBER_KEYS or (base_of(key) != key and base_of(key) in _COUNTED_KEYS)


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class.

    Attributes:
      name: the name of the class in the ground truth.
      category_id: the id of the class in the ground truth.
      boxes: the number of its ground-truth boxes without crowds.
      AP: mean over the ten IoU thresholds; None if the class has no ground-truth box.
      AP50: average precision at IoU .50; None if the class has no ground-truth box.
      AP75: average precision at IoU .75; None if the class has no ground-truth box.
      others: the same numbers as `AP@300`, `AP50@300` and `AP75@300`, if 300 instead of COCO's 100
        detections of a class in an image are counted.
    """

    name: str
    category_id: int | str
    boxes: int
    AP: float | None
    AP50: float | None
    AP75: float | None
    others: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    def numbers(self) -> dict[str, float | None]:
        """All average precisions by name."""
        return {"AP": self.AP, "AP50": self.AP50, "AP75": self.AP75, **self.others}


@dataclasses.dataclass(frozen=True)
class CocoMetrics:
    """Result of an evaluation with COCO's metrics.

    A number that does not exist is None (-1 in pycocotools): an average over no ground-truth box,
    such as `APs` if no object is small. It is null in JSON and `-` in the table.

    Attributes:
      summary: COCO's twelve numbers in [0, 1], under the keys `AP AP50 AP75 APs APm APl AR1 AR10
        AR100 ARs ARm ARl`, and `AP60 AP70 AP80 AP90`. If another number of detections of a class in
        an image than COCO's 100 is counted, such as 300, they are followed by the same numbers as
        `AP@300`, `AP50@300` and so on.
      per_class: an entry for each category, in the order of the category ids.
      images: number of images in the ground truth.
      boxes: number of ground-truth boxes without crowds.
      detections: number of detections that were given.
      counted: the number of best detections of a class in an image that count.
      dense: the images with more objects of a class than COCO's AP counts; None if there are none.
      chosen: the means over chosen classes; None if no classes were chosen.
    """

    summary: Mapping[str, float | None]
    per_class: tuple[ClassMetrics, ...]
    images: int
    boxes: int
    detections: int
    counted: int = COCO_DETECTIONS
    dense: DenseImages | None = None
    chosen: ChosenMeans | None = None


@dataclasses.dataclass(frozen=True)
class CocoMetric:
    """COCO's metrics as a `metric.Metric`, with AP, or its variant for `counted`, as the headline.

    Attributes:
      backend: as for `evaluate_detections`.
      counted: as for `evaluate_detections`.
      average_classes: as for `evaluate_detections`.
    """

    backend: Backend = "faster_coco_eval"
    counted: int = COCO_DETECTIONS
    average_classes: tuple[str, ...] = ()

    name: ClassVar[str] = "coco"

    @property
    def headline_key(self) -> str:
        """`AP`, or for example `AP@300` if 300 detections of a class in an image are counted."""
        return named("AP", self.counted)

    def compute(
        self, ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
    ) -> Report:
        """The report with an analysis of errors; arguments and errors as `evaluate_detections`."""
        checked = check_input(ground_truth, detections)
        evaluator = run_evaluator(checked, self.backend, self.counted)
        metrics = metrics_of(checked, evaluator, self.average_classes)
        errors = error_report(checked, compared_boxes(checked), self.counted)
        chosen = {} if metrics.chosen is None else metrics.chosen.numbers
        return Report(
            numbers={**metrics.summary, **chosen},
            table=f"{format_table(metrics)}\n\n{format_error_report(errors)}",
            title="COCO",
            details=metrics_to_json(metrics) | error_report_to_json(errors),
            file_infix="",
            thresholds=errors.thresholds,
        )


def evaluate_detections(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    backend: Backend = "faster_coco_eval",
    counted: int = COCO_DETECTIONS,
    average_classes: Sequence[str] = (),
) -> CocoMetrics:
    """COCO's metrics of a set of detections.

    Every image of the ground truth counts, whether or not it has annotations or detections. As
    defined by COCO, the 100 best detections of each class in each image count. Another number adds
    metrics under different names, such as `AP@300`, and leaves COCO's numbers unchanged. Annotation
    ids do not matter: they are renumbered, because pycocotools counts an object with id 0 as
    missed.

    Args:
      ground_truth: a data set in COCO's JSON format, with `images` (`id`), `annotations`
        (`image_id`, `category_id`, `bbox`) and `categories` (`id`, `name`). An absent `iscrowd` is
        0, an absent `area` that of the box. The data set is not changed.
      detections: COCO results: `image_id`, `category_id`, `bbox` and `score`. They are not changed.
      backend: `faster_coco_eval`, or `pycocotools`, which computes the same numbers more slowly.
      counted: the number of best detections of a class in an image that count, at least 100.
      average_classes: names of classes whose mean is also reported, as `AP_chosen` and so on.

    Returns:
      the metrics.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category,
        `average_classes` names an unknown class, or `counted` is below 100.
      ImportError: the backend is not installed.
    """
    checked = check_input(ground_truth, detections)
    return metrics_of(checked, run_evaluator(checked, backend, counted), average_classes)


@without_collection()
def run_evaluator(checked: CheckedInput, backend: Backend, counted: int = COCO_DETECTIONS) -> Any:
    """The backend's `COCOeval` of checked input, evaluated and accumulated without output.

    Its categories are in the order of `checked.categories`. Only that of pycocotools has the
    matches of single objects.

    Raises:
      ValueError: `counted` is below COCO's 100.
      ImportError: the backend is not installed.
    """
    if counted < COCO_DETECTIONS:
        raise ValueError(f"counted is {counted}; it must be at least COCO's {COCO_DETECTIONS}")
    coco_class, evaluator_class = _load_backend(backend)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = evaluator_class(
            _index(coco_class, checked, checked.annotations),
            _index(coco_class, checked, checked.detections),
            iouType="bbox",
        )
        evaluator.params.maxDets = sorted({1, 10, COCO_DETECTIONS, counted})
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def matches_by_class(evaluator: Any) -> list[list[Mapping[str, Any] | None]]:
    """Pycocotools' matches of each category, for objects of all sizes.

    Args:
      evaluator: an evaluator from `run_evaluator` with the backend pycocotools.

    Returns:
      for each category, an entry of `evalImgs` for every image; None for images with neither a
      ground-truth box nor a detection of the category.
    """
    images, areas = len(evaluator.params.imgIds), len(evaluator.params.areaRng)
    starts = range(ALL_AREAS * images, len(evaluator.evalImgs), areas * images)
    return [evaluator.evalImgs[start : start + images] for start in starts]


def counted_boxes(matches: Mapping[str, Any]) -> int:
    """The number of ground-truth boxes in one entry of `matches_by_class`, without crowds."""
    return int(np.count_nonzero(np.asarray(matches["gtIgnore"]) == 0))


def metrics_of(
    checked: CheckedInput, evaluator: Any, average_classes: Sequence[str] = ()
) -> CocoMetrics:
    """The metrics from an evaluator of `run_evaluator`.

    Args:
      checked: the input of the evaluator.
      evaluator: the evaluator.
      average_classes: as for `evaluate_detections`.
    """
    boxes_of = Counter(item["category_id"] for item in checked.annotations if not item["iscrowd"])
    precision = precision_of(evaluator)
    recall = np.asarray(evaluator.eval["recall"])
    counted = int(evaluator.params.maxDets[COUNTED])
    per_class = tuple(
        _class_metrics(category, boxes_of[category["id"]], precision[:, :, k], counted)
        for k, category in enumerate(checked.categories)
    )
    rows = [(row.name, row.numbers()) for row in per_class]
    return CocoMetrics(
        summary=_summary(precision, recall, counted),
        per_class=per_class,
        images=len(checked.images),
        boxes=boxes_of.total(),
        detections=len(checked.detections),
        counted=counted,
        dense=dense_images(checked.annotations, counted),
        chosen=chosen_means(rows, average_classes),
    )


def precision_of(evaluator: Any) -> np.ndarray:
    """The precision `[T, R, K, A, M]` from an evaluator of `run_evaluator`; -1 if it is undefined.

    If all of n detections are true, pycocotools divides n by n + 2.2e-16. This equals n except for
    n = 1, where its precision is .9999999999999998. It is 1 here, as with the other backend.
    """
    precision = np.asarray(evaluator.eval["precision"])
    return np.where(precision == 1.0 / (1.0 + np.spacing(1)), 1.0, precision)


def _load_backend(backend: Backend) -> tuple[Any, Any]:
    """The classes `COCO` and `COCOeval` of a backend."""
    if backend == "faster_coco_eval":
        try:
            from faster_coco_eval import COCO as FasterCOCO
            from faster_coco_eval import COCOeval_faster
        except ImportError as error:
            raise ImportError(
                "backend='faster_coco_eval' needs the package faster-coco-eval: install"
                " 'ioub_jax[train]' or use backend='pycocotools'"
            ) from error
        return FasterCOCO, COCOeval_faster
    if backend == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    raise ValueError(f"backend {backend!r} is neither 'faster_coco_eval' nor 'pycocotools'")


def _index(coco_class: Any, checked: CheckedInput, annotations: list[dict[str, Any]]) -> Any:
    """An indexed `COCO` object, made in memory since `loadRes` fails on an empty list.

    The annotations are not copied. Evaluators add keys to them, which they overwrite in every
    evaluation.
    """
    index = coco_class()
    index.dataset = {
        "images": [{"id": number} for number in sorted(checked.images)],
        "categories": checked.categories,
        "annotations": annotations,
    }
    index.createIndex()
    return index


def _summary(precision: np.ndarray, recall: np.ndarray, counted: int) -> dict[str, float | None]:
    own = _numbers_at(precision, recall, _AT_100)
    own |= {
        "AR1": mean_of_counted(recall[:, :, ALL_AREAS, _AT_1]),
        "AR10": mean_of_counted(recall[:, :, ALL_AREAS, _AT_10]),
        "AR100": own["AR"],
    }
    summary = {key: own[key] for key in NUMBER_KEYS}
    if counted == COCO_DETECTIONS:
        return summary
    others = _numbers_at(precision, recall, COUNTED)
    return summary | {named(key, counted): value for key, value in others.items()}


def _numbers_at(precision: np.ndarray, recall: np.ndarray, at: int) -> dict[str, float | None]:
    """The numbers at a position of `maxDets`; `AR` is the recall for objects of all sizes."""
    ap_at_iou = {
        key: mean_of_counted(precision[k, :, :, ALL_AREAS, at]) for key, k in AP_AT_IOU.items()
    }
    sizes = {"": ALL_AREAS, "s": _SMALL, "m": _MEDIUM, "l": _LARGE}
    ap_of_sizes = {
        f"AP{size}": mean_of_counted(precision[:, :, :, k, at]) for size, k in sizes.items()
    }
    ar_of_sizes = {f"AR{size}": mean_of_counted(recall[:, :, k, at]) for size, k in sizes.items()}
    # AP for all sizes precedes those at one IoU.
    return {"AP": ap_of_sizes["AP"], **ap_at_iou, **ap_of_sizes, **ar_of_sizes}


def _class_metrics(
    category: Mapping[str, Any], boxes: int, precision: np.ndarray, counted: int
) -> ClassMetrics:
    """The metrics of one class from its precision `[T, R, A, M]`."""
    precision = precision[:, :, ALL_AREAS]
    own, others = (
        {
            "AP": mean_of_counted(precision[:, :, at]),
            "AP50": mean_of_counted(precision[AP_AT_IOU["AP50"], :, at]),
            "AP75": mean_of_counted(precision[AP_AT_IOU["AP75"], :, at]),
        }
        for at in (_AT_100, COUNTED)
    )
    return ClassMetrics(
        name=category["name"],
        category_id=category["written_id"],
        boxes=boxes,
        **own,
        others={named(key, counted): value for key, value in others.items()}
        if counted != COCO_DETECTIONS
        else {},
    )


def metrics_to_json(metrics: CocoMetrics) -> dict[str, Any]:
    """The metrics as a dict for `json`: the summary's keys, counts, and `per_class`."""
    other = {} if metrics.counted == COCO_DETECTIONS else {"counted": metrics.counted}
    dense = {} if metrics.dense is None else {"dense_images": dataclasses.asdict(metrics.dense)}
    return {
        **metrics.summary,
        **other,
        **dense,
        **({} if metrics.chosen is None else metrics.chosen.to_json()),
        "images": metrics.images,
        "boxes": metrics.boxes,
        "detections": metrics.detections,
        "per_class": [_class_to_json(row) for row in metrics.per_class],
    }


def _class_to_json(row: ClassMetrics) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    return values | values.pop("others")


def format_table(metrics: CocoMetrics) -> str:
    """The metrics as text for a terminal: COCO's numbers, then a line for each class.

    The names of the classes are at the ends of their lines, so that names of any width and script
    do not break a column. A number that does not exist is `-`.
    """
    return "\n".join(_table_lines(metrics))


def _table_lines(metrics: CocoMetrics) -> Iterator[str]:
    yield (
        f"{metrics.images} images, {metrics.boxes} ground-truth boxes,"
        f" {metrics.detections} detections"
    )
    if metrics.counted != COCO_DETECTIONS:
        yield (
            f"AP@{metrics.counted} counts the {metrics.counted:,} best detections of a class in an "
            f"image, AP the {COCO_DETECTIONS} of COCO's own metrics"
        )
    if metrics.dense is not None:
        yield metrics.dense.sentence()
    counted_rows = [[named(key, metrics.counted) for key in row] for row in _COUNTED_ROWS]
    rows = [*_TABLE_ROWS, *([] if metrics.counted == COCO_DETECTIONS else counted_rows)]
    yield from blocks_of(rows, metrics.summary)
    if metrics.chosen is not None:
        yield ""
        yield metrics.chosen.sentence()
    yield ""
    keys = [named(key, metrics.counted) for key in ("AP", "AP50", "AP75")]
    widths = [*widths_of(keys), 8]
    yield f"{table_line([*keys, 'boxes'], widths)}  class"
    for row in metrics.per_class:
        values = row.numbers()
        numbers = [*(decimals(values[key]) for key in keys), str(row.boxes)]
        yield f"{table_line(numbers, widths)}  {printable(row.name)}"
