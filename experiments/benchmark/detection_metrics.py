"""Time of COCO's metrics for a whole evaluation, with both backends."""

from typing import Any, get_args

import numpy as np
from absl import flags

from experiments.benchmark import timing
from experiments.benchmark.compiled import CLASSES, IMAGES
from experiments.benchmark.rates import REPEATS
from experiments.benchmark.timing import Seconds
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import coco_input, coco_metrics
from ioub_jax.evaluation.coco_format import DetectionCollector

_DETECTIONS = flags.DEFINE_integer(
    "detections",
    500_000,
    "Detections of `metrics` and `report`; at least one per image.",
    lower_bound=1,
)

_BACKENDS: tuple[coco_metrics.Backend, ...] = get_args(coco_metrics.Backend)
_SIZE = 640
_BOXES_OF_AN_IMAGE = 7  # COCO's val2017 has 36,781 in 5,000 images
_BATCH = 16


def metrics_cost() -> dict[str, Any]:
    """Seconds from the detector's arrays to COCO's metrics, part by part, for both backends.

    `collecting` converts the arrays of every batch to COCO results, as the evaluator does during
    detection. `whole` is the time after all images are done: from those results to the metrics,
    including all checks.
    """
    check_metrics_input()
    ground_truth = generated_truth()
    start = timing.now()
    results = generated_detections(ground_truth)
    result: dict[str, Any] = {
        "images": _images(),
        "boxes": len(ground_truth["annotations"]),
        "detections": len(results),
        "classes": len(ground_truth["categories"]),
        "turns": REPEATS.value,
        "collecting": (timing.now() - start).figures(),
    }
    turns: dict[coco_metrics.Backend, list[dict[str, Seconds]]] = {name: [] for name in _BACKENDS}
    numbers = {}
    for _ in range(REPEATS.value):
        for backend, of_backend in turns.items():
            spent, numbers[backend] = _one_turn(ground_truth, results, backend)
            of_backend.append(spent)
    for backend, of_backend in turns.items():
        result[backend] = {
            part: timing.of_turns([turn[part] for turn in of_backend]) for part in of_backend[0]
        }
    fast, slow = ([turn["whole"] for turn in of_backend] for of_backend in turns.values())
    result["times as fast as pycocotools"] = timing.times_as_fast(fast, slow)
    first, second = numbers.values()
    return result | {"same numbers": first == second, "AP": first.summary["AP"]}


def check_metrics_input() -> str:
    """A line that describes the input of `metrics` and `report`.

    Raises:
      ConfigError: there are fewer detections than images.
    """
    each = _DETECTIONS.value // _images()
    if each < 1:
        raise ConfigError(
            f"--detections={_DETECTIONS.value} is less than one for each of --images={_images()}."
        )
    return (
        f"{_images():,} images with {each * _images():,} detections of "
        f"{CLASSES.value or 80} classes, generated"
    )


def _images() -> int:
    return IMAGES.value or 5_000


def _one_turn(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], backend: coco_metrics.Backend
) -> tuple[dict[str, Seconds], coco_metrics.CocoMetrics]:
    """Runs one evaluation with the steps of `coco_metrics.evaluate_detections`."""
    start = timing.now()
    checked = coco_input.check_input(ground_truth, results)
    is_checked = timing.now()
    evaluator = coco_metrics.run_evaluator(checked, backend)
    is_evaluated = timing.now()
    metrics = coco_metrics.metrics_of(checked, evaluator)
    end = timing.now()
    return {
        "input checks": is_checked - start,
        "backend": is_evaluated - is_checked,
        "reading the numbers": end - is_evaluated,
        "whole": end - start,
    }, metrics


def generated_truth() -> dict[str, Any]:
    """Generated boxes of all sizes in COCO's JSON format; one in a hundred is a crowd."""
    rng = np.random.default_rng(0)
    classes = CLASSES.value or 80
    count = _images() * _BOXES_OF_AN_IMAGE
    sides = np.exp(rng.uniform(np.log(8.0), np.log(400.0), (count, 2)))
    boxes = np.concatenate([rng.uniform(0.0, _SIZE - sides), sides], axis=1)
    image, label = rng.integers(0, _images(), count), rng.integers(0, classes, count)
    annotations = [
        {
            "id": number + 1,
            "image_id": image_id + 1,
            "category_id": category + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(number % 100 == 0),
        }
        for number, (image_id, category, box) in enumerate(
            zip(image.tolist(), label.tolist(), boxes.tolist(), strict=True)
        )
    ]
    return {
        "images": [{"id": number + 1} for number in range(_images())],
        "annotations": annotations,
        "categories": [{"id": number + 1, "name": str(number)} for number in range(classes)],
    }


def generated_detections(ground_truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Generated detections, the same number in every image; most are near a box of their class."""
    rng = np.random.default_rng(1)
    each = _DETECTIONS.value // _images()
    of_images: list[list[tuple[int, list[float]]]] = [[] for _ in range(_images())]
    for entry in ground_truth["annotations"]:
        of_images[entry["image_id"] - 1].append((entry["category_id"] - 1, entry["bbox"]))
    classes = len(ground_truth["categories"])
    collector = DetectionCollector(tuple(range(1, classes + 1)))
    for first in range(0, _images(), _BATCH):
        batch = of_images[first : first + _BATCH]
        boxes = np.empty((len(batch), each, 4))
        labels = rng.integers(0, classes, boxes.shape[:2])
        boxes[..., :2] = rng.uniform(0.0, 400.0, (*boxes.shape[:2], 2))
        boxes[..., 2:] = rng.uniform(8.0, 200.0, (*boxes.shape[:2], 2))
        for row, objects in enumerate(batch):
            for slot in range(each * 3 // 4 if objects else 0):
                labels[row, slot], boxes[row, slot] = objects[slot % len(objects)]
        boxes[..., :2] += rng.normal(0.0, 0.1, (*boxes.shape[:2], 2)) * boxes[..., 2:]
        boxes[..., 2:] += boxes[..., :2]
        collector.add(
            np.arange(first + 1, first + 1 + len(batch)),
            boxes.astype(np.float32),
            rng.random(boxes.shape[:2], np.float32),
            labels,
            np.ones(boxes.shape[:2], bool),
            np.ones(len(batch), bool),
        )
    return collector.results
