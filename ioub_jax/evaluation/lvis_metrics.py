"""LVIS's detection metrics, as in lvis-api: AP of classes that are not verified in every image.

`federated` selects the detections that count; matching and precision are those of COCO's
evaluators. A class without an object in the ground truth has no number and is left out of all
means. `APr`, `APc` and `APf` are means over the classes that are rare, common and frequent in
LVIS's training images.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.chosen_classes import ChosenMeans, chosen_means
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.evaluation.coco_metrics import ALL_AREAS, AP_AT_IOU, COUNTED, Backend
from ioub_jax.evaluation.federated import (
    FREQUENCIES,
    LVIS_DETECTIONS,
    counting_as_lvis,
    read_verified,
)
from ioub_jax.evaluation.means import mean_of_counted
from ioub_jax.evaluation.metric import Report
from ioub_jax.evaluation.metric_tables import blocks_of, decimals
from ioub_jax.printing import printable

_SIZES = {"s": 1, "m": 2, "l": 3}  # positions in the evaluators' tensors
_AR = f"AR@{LVIS_DETECTIONS}"
_TABLE_ROWS = (
    ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"),
    (_AR, *(f"AR{size}@{LVIS_DETECTIONS}" for size in _SIZES)),
)
#: All numbers of a report: `lvis_AP`, `lvis_AP50`, ..., `lvis_AR@300`, ...
NUMBER_KEYS = tuple(f"lvis_{key}" for row in _TABLE_ROWS for key in row)


@dataclasses.dataclass(frozen=True)
class LvisClassMetrics:
    """The metrics of one class.

    Attributes:
      name: the name of the class in the ground truth.
      category_id: the id of the class in the ground truth.
      frequency: 'r' (rare), 'c' (common) or 'f' (frequent); None if the ground truth has none.
      boxes: the number of its ground-truth boxes.
      AP: mean over the ten IoU thresholds; None if the class has no ground-truth box.
      AP50: average precision at IoU .50; None if the class has no ground-truth box.
      AP75: average precision at IoU .75; None if the class has no ground-truth box.
    """

    name: str
    category_id: int | str
    frequency: str | None
    boxes: int
    AP: float | None
    AP50: float | None
    AP75: float | None


@dataclasses.dataclass(frozen=True)
class LvisMetrics:
    """Result of an evaluation; a number that does not exist (-1 in lvis-api) is None.

    Attributes:
      summary: lvis-api's thirteen numbers in [0, 1], under its keys: `AP AP50 AP75 APs APm APl APr
        APc APf AR@300 ARs@300 ARm@300 ARl@300`.
      per_class: an entry for each category, in the order of the category ids.
      images: number of images in the ground truth.
      boxes: number of ground-truth boxes.
      detections: number of detections that were given.
      counted: number of detections that count: those among the 300 best of their image whose class
        is verified in it.
      chosen: the means over chosen classes; None if no classes were chosen.
    """

    summary: Mapping[str, float | None]
    per_class: tuple[LvisClassMetrics, ...]
    images: int
    boxes: int
    detections: int
    counted: int
    chosen: ChosenMeans | None = None


@dataclasses.dataclass(frozen=True)
class LvisMetric:
    """LVIS's metrics as a `metric.Metric`.

    Attributes:
      backend: as for `evaluate_lvis`.
      average_classes: as for `evaluate_lvis`.
    """

    backend: Backend = "faster_coco_eval"
    average_classes: tuple[str, ...] = ()

    name: ClassVar[str] = "lvis"
    headline_key: ClassVar[str] = "lvis_AP"

    def compute(
        self, ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
    ) -> Report:
        """The report; arguments and errors as for `evaluate_lvis`."""
        metrics = evaluate_lvis(
            ground_truth, detections, backend=self.backend, average_classes=self.average_classes
        )
        chosen = {} if metrics.chosen is None else metrics.chosen.numbers
        return Report(
            numbers={f"lvis_{key}": value for key, value in {**metrics.summary, **chosen}.items()},
            table=format_lvis_table(metrics),
            title="LVIS",
            details=lvis_metrics_to_json(metrics),
        )


def evaluate_lvis(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    backend: Backend = "faster_coco_eval",
    average_classes: Sequence[str] = (),
) -> LvisMetrics:
    """LVIS's metrics of a set of detections.

    Args:
      ground_truth: a data set in LVIS's JSON format, which is COCO's with `neg_category_ids` and
        `not_exhaustive_category_ids` for each image and `frequency` for each category. LVIS has no
        crowds; a crowd counts as in COCO's metrics.
      detections: COCO results: `image_id`, `category_id`, `bbox` and `score`.
      backend: as for `coco_metrics.evaluate_detections`.
      average_classes: names of classes whose mean is also reported, as `AP_chosen` and so on.

    Returns:
      the metrics.

    Raises:
      ValueError: a detection or an annotation is malformed or names an unknown image or category,
        `average_classes` names an unknown class, or the ground truth lacks the verified classes.
      ImportError: the backend is not installed.
    """
    checked = check_input(ground_truth, detections)
    verified = read_verified(ground_truth)
    counted = counting_as_lvis(checked, verified)
    evaluator = coco_metrics.run_evaluator(counted, backend, LVIS_DETECTIONS)
    precision = coco_metrics.precision_of(evaluator)[..., COUNTED]
    recall = np.asarray(evaluator.eval["recall"])[..., COUNTED]
    boxes_of = Counter(row["category_id"] for row in counted.annotations if not row["iscrowd"])
    per_class = tuple(
        LvisClassMetrics(
            name=category["name"],
            category_id=category["written_id"],
            frequency=frequency,
            boxes=boxes_of[category["id"]],
            **_at_ious(precision[:, :, k, ALL_AREAS]),
        )
        for k, (category, frequency) in enumerate(
            zip(checked.categories, verified.frequencies, strict=True)
        )
    )
    rows = [(row.name, {"AP": row.AP, "AP50": row.AP50, "AP75": row.AP75}) for row in per_class]
    return LvisMetrics(
        summary=_summary(precision, recall, verified.frequencies),
        per_class=per_class,
        images=len(checked.images),
        boxes=boxes_of.total(),
        detections=len(checked.detections),
        counted=len(counted.detections),
        chosen=chosen_means(rows, average_classes),
    )


def _summary(
    precision: np.ndarray, recall: np.ndarray, frequencies: Sequence[str | None]
) -> dict[str, float | None]:
    """The numbers from precision `[T, R, K, A]` and recall `[T, K, A]`."""
    of_class = np.array([frequency or "" for frequency in frequencies])
    return {
        **_at_ious(precision[..., ALL_AREAS]),
        **{f"AP{size}": mean_of_counted(precision[..., area]) for size, area in _SIZES.items()},
        **{
            f"AP{one}": mean_of_counted(precision[:, :, of_class == one, ALL_AREAS])
            for one in FREQUENCIES
        },
        _AR: mean_of_counted(recall[..., ALL_AREAS]),
        **{
            f"AR{size}@{LVIS_DETECTIONS}": mean_of_counted(recall[..., area])
            for size, area in _SIZES.items()
        },
    }


def _at_ious(precision: np.ndarray) -> dict[str, float | None]:
    """AP over all IoU thresholds and at two of them, from precision `[T, ...]`."""
    at_iou = {key: mean_of_counted(precision[AP_AT_IOU[key]]) for key in ("AP50", "AP75")}
    return {"AP": mean_of_counted(precision), **at_iou}


def lvis_metrics_to_json(metrics: LvisMetrics) -> dict[str, Any]:
    """The metrics as a dict for `json`: the summary's keys, counts, and `per_class`."""
    chosen = {} if metrics.chosen is None else metrics.chosen.to_json()
    return {
        **metrics.summary,
        **chosen,
        "images": metrics.images,
        "boxes": metrics.boxes,
        "detections": metrics.detections,
        "counted": metrics.counted,
        "per_class": [dataclasses.asdict(row) for row in metrics.per_class],
    }


def format_lvis_table(metrics: LvisMetrics) -> str:
    """The metrics as text for a terminal: LVIS's numbers, then a line for each class.

    The names of the classes are at the ends of their lines, so that names of any width and script
    do not break a column. A number that does not exist is `-`.
    """
    return "\n".join(_table_lines(metrics))


def _table_lines(metrics: LvisMetrics) -> Iterator[str]:
    yield (
        f"{metrics.images} images, {metrics.boxes} ground-truth boxes,"
        f" {metrics.detections} detections, {metrics.counted} of them among the {LVIS_DETECTIONS}"
        " best of an image and of verified classes"
    )
    yield from blocks_of(_TABLE_ROWS, metrics.summary)
    if metrics.chosen is not None:
        yield ""
        yield metrics.chosen.sentence()
    yield ""
    yield f"{'AP':>8}{'AP50':>8}{'AP75':>8}{'boxes':>8}  frequency  class"
    for row in metrics.per_class:
        numbers = "".join(f"{decimals(value):>8}" for value in (row.AP, row.AP50, row.AP75))
        yield f"{numbers}{row.boxes:>8}  {row.frequency or '-':<9}  {printable(row.name)}"
