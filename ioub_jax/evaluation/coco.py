"""COCO detection metrics, as pycocotools computes them.

The matching and the precision/recall tensors are pycocotools' own (or faster-coco-eval's, a drop-in
in C++ that gives the same tensors); this module feeds them from memory, keeps them silent, checks
what goes in, and reads every number of a report from the one precision tensor.

Boxes are COCO's here, `[x, y, width, height]` in pixels of the original image, and nowhere else in
the library. Two things of COCO's own to know when reading a number:

- A crowd annotation (`iscrowd`) is neither found nor missed, and swallows the detections in it.
- There is no difficult flag. `ignore` of an annotation is not read (pycocotools overwrites it), so
  whoever writes the ground truth decides if a difficult box counts, is left out, or is a crowd.
"""

import contextlib
import dataclasses
import io
import math
import numbers
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

Backend = Literal["pycocotools", "faster_coco_eval"]

# Positions in the evaluators' tensors: precision [T, R, K, A, M] and recall [T, K, A, M].
# T is IoU .50, .55, ... .95; A is all, small, medium, large; M is 1, 10, 100 detections.
_AP_AT_IOU = {"AP50": 0, "AP60": 2, "AP70": 4, "AP75": 5, "AP80": 6, "AP90": 8}
_ALL_AREAS, _SMALL, _MEDIUM, _LARGE = range(4)
_AT_1, _AT_10, _AT_100 = range(3)

_TABLE_ROWS = (
    ("AP", "AP50", "AP60", "AP70", "AP75", "AP80", "AP90"),
    ("APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class.

    Attributes:
        name: The class's name in the ground truth.
        category_id: Its id there.
        boxes: How many ground-truth boxes it has, crowds not counted.
        AP: Mean over the ten IoU thresholds; None where the class has no ground-truth box.
        AP50: Average precision at IoU .50; None likewise.
        AP75: Average precision at IoU .75; None likewise.
    """

    name: str
    category_id: int
    boxes: int
    AP: float | None
    AP50: float | None
    AP75: float | None


@dataclasses.dataclass(frozen=True)
class CocoMetrics:
    """What an evaluation found.

    A number that does not exist is None (pycocotools says -1): an average over no ground-truth box,
    such as `APs` where no object is small. It is null in JSON and `-` in the table.

    Attributes:
        summary: COCO's twelve numbers in [0, 1], under the keys `AP AP50 AP75 APs APm APl AR1 AR10
            AR100 ARs ARm ARl`, and `AP60 AP70 AP80 AP90`.
        per_class: One entry a category, in the order of the category ids.
        images: How many images the ground truth has.
        boxes: How many ground-truth boxes there are, crowds not counted.
        detections: How many detections were handed in.
    """

    summary: Mapping[str, float | None]
    per_class: tuple[ClassMetrics, ...]
    images: int
    boxes: int
    detections: int


def evaluate_detections(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    backend: Backend = "pycocotools",
) -> CocoMetrics:
    """Computes the COCO metrics of a set of detections.

    Every image of the ground truth counts, whether or not it has annotations or detections. As
    COCO defines it, the 100 best detections of each class in each image are looked at. Annotation
    ids do not matter: they are renumbered, because pycocotools takes an object with id 0 for
    missed.

    Args:
        ground_truth: A data set in COCO's JSON format, with `images` (`id`), `annotations`
            (`image_id`, `category_id`, `bbox`; `iscrowd` is 0 and `area` is the box's where they
            are absent) and `categories` (`id`, `name`). It is not changed.
        detections: COCO results: `image_id`, `category_id`, `bbox` and `score`. Not changed either.
        backend: `pycocotools`, or the faster `faster_coco_eval`, which gives the same numbers.

    Returns:
        The metrics.

    Raises:
        ValueError: A detection or an annotation is malformed or names an unknown image or category.
        ImportError: The backend is not installed.
    """
    coco_class, evaluator_class = _load_backend(backend)
    _check_ids(ground_truth)
    images = {image["id"] for image in ground_truth["images"]}
    categories = sorted(ground_truth["categories"], key=lambda category: category["id"])
    category_ids = {category["id"] for category in categories}
    objects = [
        _annotation(number, annotation, images, category_ids)
        for number, annotation in enumerate(ground_truth["annotations"], start=1)
    ]
    results = [
        _result(number, detection, images, category_ids)
        for number, detection in enumerate(detections, start=1)
    ]
    boxes_of = Counter(item["category_id"] for item in objects if not item["iscrowd"])

    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = evaluator_class(
            _index(coco_class, images, categories, objects),
            _index(coco_class, images, categories, results),
            iouType="bbox",
        )
        evaluator.evaluate()
        evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"])
    recall = np.asarray(evaluator.eval["recall"])
    return CocoMetrics(
        summary=_summary(precision, recall),
        per_class=tuple(
            _class_metrics(category, boxes_of[category["id"]], precision[:, :, k])
            for k, category in enumerate(categories)
        ),
        images=len(images),
        boxes=boxes_of.total(),
        detections=len(results),
    )


def _load_backend(backend: Backend) -> tuple[Any, Any]:
    """The classes `COCO` and `COCOeval` of a backend."""
    if backend == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    if backend == "faster_coco_eval":
        try:
            from faster_coco_eval import COCO as FasterCOCO
            from faster_coco_eval import COCOeval_faster
        except ImportError as error:
            raise ImportError(
                "backend='faster_coco_eval' needs the package faster-coco-eval: install"
                " 'ioub_jax[faster-eval]' or use backend='pycocotools'"
            ) from error
        return FasterCOCO, COCOeval_faster
    raise ValueError(f"backend {backend!r} is neither 'pycocotools' nor 'faster_coco_eval'")


def _check_ids(ground_truth: Mapping[str, Any]) -> None:
    for key in ("images", "annotations", "categories"):
        if key not in ground_truth:
            raise ValueError(f"the ground truth has no {key!r}: it is not in COCO's JSON format")
    for key in ("images", "categories"):
        for id_, count in Counter(entry["id"] for entry in ground_truth[key]).items():
            if not isinstance(id_, numbers.Integral):
                raise ValueError(f"the ground truth has id {id_!r} in {key!r}: use an integer")
            if count > 1:
                raise ValueError(f"the ground truth lists id {id_} {count} times in {key!r}")


def _annotation(
    number: int, annotation: Mapping[str, Any], images: set[int], categories: set[int]
) -> dict[str, Any]:
    """What the evaluators read of a ground-truth object, with `number` as its id."""
    name = f"annotation {annotation.get('id', f'number {number}')} of the ground truth"
    result = _located_box(name, number, annotation, images, categories)
    width, height = result["bbox"][2:]
    area = float(annotation.get("area", width * height))
    if not math.isfinite(area):
        raise ValueError(f"{name} has area {area}: it must be finite")
    return result | {"area": area, "iscrowd": int(annotation.get("iscrowd", 0))}


def _result(
    number: int, detection: Mapping[str, Any], images: set[int], categories: set[int]
) -> dict[str, Any]:
    """What the evaluators read of a detection, with `number` as its id."""
    name = f"detection number {number} (of image_id {detection.get('image_id')!r})"
    result = _located_box(name, number, detection, images, categories)
    try:
        score = float(detection["score"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} has no number as its 'score'") from None
    if not math.isfinite(score):
        raise ValueError(f"{name} has score {score}: it must be finite")
    width, height = result["bbox"][2:]
    return result | {"score": score, "area": width * height, "iscrowd": 0}


def _located_box(
    name: str, number: int, entry: Mapping[str, Any], images: set[int], categories: set[int]
) -> dict[str, Any]:
    """The checked place, class and box of an annotation or a detection."""
    if entry.get("image_id") not in images:
        raise ValueError(
            f"{name} has image_id {entry.get('image_id')!r}, which the ground truth does not list"
        )
    if entry.get("category_id") not in categories:
        raise ValueError(
            f"{name} has category_id {entry.get('category_id')!r}, which is none of the ground"
            " truth's categories: map labels to category ids before evaluating"
        )
    try:
        box = [float(value) for value in entry["bbox"]]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} has no list of numbers as its 'bbox'") from None
    if len(box) != 4:
        raise ValueError(f"{name} has a bbox of {len(box)} numbers: it must be [x, y, w, h]")
    if not all(math.isfinite(value) for value in box):
        raise ValueError(f"{name} has bbox {box}: its numbers must be finite")
    if box[2] < 0 or box[3] < 0:
        raise ValueError(
            f"{name} has bbox {box} of negative size: it must be [x, y, width, height],"
            " not two corners in the wrong order"
        )
    return {
        "id": number,
        "image_id": int(entry["image_id"]),
        "category_id": int(entry["category_id"]),
        "bbox": box,
    }


def _index(
    coco_class: Any,
    images: set[int],
    categories: Sequence[Mapping[str, Any]],
    annotations: list[dict[str, Any]],
) -> Any:
    """An indexed `COCO` object made in memory (`loadRes` fails on an empty list)."""
    index = coco_class()
    index.dataset = {
        "images": [{"id": image_id} for image_id in sorted(images)],
        "categories": [{"id": category["id"], "name": category["name"]} for category in categories],
        "annotations": annotations,
    }
    index.createIndex()
    return index


def _mean(values: np.ndarray) -> float | None:
    """The mean of what exists: pycocotools marks absent entries by -1."""
    existing = values[values > -1]
    return float(np.mean(existing)) if existing.size else None


def _summary(precision: np.ndarray, recall: np.ndarray) -> dict[str, float | None]:
    ap_at_iou = {
        key: _mean(precision[index, :, :, _ALL_AREAS, _AT_100]) for key, index in _AP_AT_IOU.items()
    }
    return {
        "AP": _mean(precision[:, :, :, _ALL_AREAS, _AT_100]),
        **ap_at_iou,
        "APs": _mean(precision[:, :, :, _SMALL, _AT_100]),
        "APm": _mean(precision[:, :, :, _MEDIUM, _AT_100]),
        "APl": _mean(precision[:, :, :, _LARGE, _AT_100]),
        "AR1": _mean(recall[:, :, _ALL_AREAS, _AT_1]),
        "AR10": _mean(recall[:, :, _ALL_AREAS, _AT_10]),
        "AR100": _mean(recall[:, :, _ALL_AREAS, _AT_100]),
        "ARs": _mean(recall[:, :, _SMALL, _AT_100]),
        "ARm": _mean(recall[:, :, _MEDIUM, _AT_100]),
        "ARl": _mean(recall[:, :, _LARGE, _AT_100]),
    }


def _class_metrics(category: Mapping[str, Any], boxes: int, precision: np.ndarray) -> ClassMetrics:
    """The metrics of one class from its precision `[T, R, A, M]`."""
    precision = precision[:, :, _ALL_AREAS, _AT_100]
    return ClassMetrics(
        name=category["name"],
        category_id=category["id"],
        boxes=boxes,
        AP=_mean(precision),
        AP50=_mean(precision[_AP_AT_IOU["AP50"]]),
        AP75=_mean(precision[_AP_AT_IOU["AP75"]]),
    )


def metrics_to_json(metrics: CocoMetrics) -> dict[str, Any]:
    """The metrics as a dict that `json` writes: the summary's keys, counts, and `per_class`."""
    return {
        **metrics.summary,
        "images": metrics.images,
        "boxes": metrics.boxes,
        "detections": metrics.detections,
        "per_class": [dataclasses.asdict(row) for row in metrics.per_class],
    }


def format_table(metrics: CocoMetrics) -> str:
    """The metrics as text for a terminal: COCO's numbers, then a line a class.

    The classes' names stand last in their lines, where a name of any width and script breaks no
    column. A number that does not exist is `-`.
    """
    return "\n".join(_table_lines(metrics))


def _table_lines(metrics: CocoMetrics) -> Iterator[str]:
    yield (
        f"{metrics.images} images, {metrics.boxes} ground-truth boxes,"
        f" {metrics.detections} detections"
    )
    for keys in _TABLE_ROWS:
        yield ""
        yield "".join(f"{key:>8}" for key in keys).rstrip()
        yield "".join(f"{_decimals(metrics.summary[key]):>8}" for key in keys)
    yield ""
    yield f"{'AP':>8}{'AP50':>8}{'AP75':>8}{'boxes':>8}  class"
    for row in metrics.per_class:
        numbers = "".join(f"{_decimals(value):>8}" for value in (row.AP, row.AP50, row.AP75))
        yield f"{numbers}{row.boxes:>8}  {row.name}"


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
