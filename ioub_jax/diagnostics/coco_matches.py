"""True detections by COCO's metric, and precision over recall.

Both are read from pycocotools' own evaluator (`coco_metrics.run_evaluator`), for objects of all
sizes and the best detections of a class in an image, by default 100.
"""

import dataclasses
from typing import Any

import numpy as np

from ioub_jax.evaluation import coco_metrics
from ioub_jax.evaluation.box_arrays import box_arrays, paired_ious
from ioub_jax.evaluation.coco_input import CheckedInput
from ioub_jax.evaluation.coco_matching import ClassMatches

_CURVES = {"0.50": "AP50", "0.75": "AP75", "0.90": "AP90"}


def matches_of(checked: CheckedInput, evaluator: Any) -> list[ClassMatches]:
    """The matches of every category.

    Args:
      checked: the ground truth and the detections.
      evaluator: the result of `coco_metrics.run_evaluator` with the backend pycocotools.
    """
    objects, found = (
        box_arrays(entries).corners for entries in (checked.annotations, checked.detections)
    )
    result = []
    of_classes = coco_metrics.matches_by_class(evaluator)
    for category, of_images in zip(checked.categories, of_classes, strict=True):
        seen = [entry for entry in of_images if entry is not None]
        detection, annotation, ignored = (
            _joined([np.asarray(part, kind) for part in parts], kind)
            for parts, kind in (
                ([entry["dtIds"] for entry in seen], np.int64),
                ([entry["dtMatches"][0] for entry in seen], np.int64),
                ([entry["dtIgnore"][0] for entry in seen], np.bool_),
            )
        )
        scores = _joined([np.asarray(entry["dtScores"], np.float64) for entry in seen], np.float64)
        order = np.argsort(-scores, kind="stable")
        order = order[~ignored[order]]
        true = annotation[order] > 0  # ids start at 1
        ious = np.zeros(len(order))
        ious[true] = paired_ious(
            found[detection[order[true]] - 1], objects[annotation[order[true]] - 1]
        )
        boxes = sum(map(coco_metrics.counted_boxes, seen))
        result.append(ClassMatches(category["name"], boxes, scores[order], true, ious))
    return result


def _joined(parts: list[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *parts])


@dataclasses.dataclass(frozen=True)
class PrecisionCurves:
    """Interpolated precision of a class at COCO's 101 recalls 0, .01, ... 1.

    Attributes:
      name: the name of the class; None for the mean over the classes.
      precision: IoU threshold ('0.50', '0.75', '0.90') -> 101 numbers; None if the class has no
        ground-truth box.
    """

    name: str | None
    precision: dict[str, list[float] | None]


def curves_of(checked: CheckedInput, evaluator: Any) -> list[PrecisionCurves]:
    """The mean curves over the classes with ground truth, then those of every category.

    Args:
      checked: the ground truth and the detections.
      evaluator: the result of `coco_metrics.run_evaluator`.
    """
    precision = coco_metrics.precision_of(evaluator)[
        :, :, :, coco_metrics.ALL_AREAS, coco_metrics.COUNTED
    ]
    existing = precision[0, 0] > -1
    mean = precision[:, :, existing].mean(axis=2) if existing.any() else None
    result = [PrecisionCurves(None, _at_thresholds(mean))]
    for k, category in enumerate(checked.categories):
        of_class = precision[:, :, k] if existing[k] else None
        result.append(PrecisionCurves(category["name"], _at_thresholds(of_class)))
    return result


def _at_thresholds(precision: np.ndarray | None) -> dict[str, list[float] | None]:
    return {
        name: None if precision is None else precision[coco_metrics.AP_AT_IOU[key]].tolist()
        for name, key in _CURVES.items()
    }
