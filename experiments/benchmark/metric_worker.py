"""AP and AP50 of detections by other libraries, run by its path in their environment.

`python metric_worker.py FOLDER` reads `NUMBER.truth.json` and `NUMBER.found.json` in the folder and
prints the numbers of every library as JSON. It imports nothing from this repository, whose package
need not be installed.
"""

import contextlib
import importlib.metadata
import io
import json
import logging
import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Numbers = tuple[float, float]


def of_coco_api(coco_class: Any, eval_class: Any, truth: str, found: str) -> Numbers:
    """AP and AP50 by a library with the classes of pycocotools."""
    coco = coco_class(truth)
    evaluation = eval_class(coco, coco.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


def of_pycocotools(truth: str, found: str) -> Numbers:
    """AP and AP50 by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return of_coco_api(COCO, COCOeval, truth, found)


def of_faster_coco_eval(truth: str, found: str) -> Numbers:
    """AP and AP50 by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    return of_coco_api(COCO, COCOeval_faster, truth, found)


def of_hotcoco(truth: str, found: str) -> Numbers:
    """AP and AP50 by hotcoco."""
    from hotcoco import COCO, COCOeval

    return of_coco_api(COCO, COCOeval, truth, found)


def of_torchmetrics(truth: str, found: str) -> Numbers:
    """AP and AP50 by torchmetrics, whose default backend is pycocotools."""
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(box_format="xywh", iou_type="bbox")
    objects, detections = _by_image(truth, found)
    targets = [
        {
            "boxes": torch.tensor([row["bbox"] for row in rows]).reshape(-1, 4),
            "labels": torch.tensor([row["category_id"] for row in rows], dtype=torch.int64),
            "iscrowd": torch.tensor([row["iscrowd"] for row in rows], dtype=torch.int64),
            "area": torch.tensor([row["area"] for row in rows]),
        }
        for rows in objects
    ]
    predictions = [
        {
            "boxes": torch.tensor([row["bbox"] for row in rows]).reshape(-1, 4),
            "labels": torch.tensor([row["category_id"] for row in rows], dtype=torch.int64),
            "scores": torch.tensor([row["score"] for row in rows]),
        }
        for rows in detections
    ]
    metric.update(predictions, targets)
    result = metric.compute()
    return float(result["map"]), float(result["map_50"])


def of_supervision(truth: str, found: str) -> Numbers:
    """AP and AP50 by supervision's MeanAveragePrecision."""
    import supervision
    from supervision.metrics import MeanAveragePrecision

    def with_boxes(rows: list[dict[str, Any]], **more: Any) -> Any:
        if not rows:
            return supervision.Detections.empty()
        boxes = np.array([row["bbox"] for row in rows], np.float64)
        classes = np.array([row["category_id"] for row in rows])
        corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        return supervision.Detections(xyxy=corners, class_id=classes, **more)

    objects, detections = _by_image(truth, found)
    targets = [
        with_boxes(
            rows,
            data={
                key: np.array([row.get(key, 0) for row in rows])
                for key in ("iscrowd", "ignore", "area")
            },
        )
        for rows in objects
    ]
    predictions = [
        with_boxes(rows, confidence=np.array([row["score"] for row in rows])) for rows in detections
    ]
    result = MeanAveragePrecision().update(predictions, targets).compute()
    return float(result.map50_95), float(result.map50)


def of_tidecv(truth: str, found: str) -> Numbers:
    """AP and AP50 by tidecv and its own readers of COCO's files."""
    import tidecv

    tide = tidecv.TIDE()
    results = tidecv.datasets.COCOResult(found, name="found")
    tide.evaluate_range(tidecv.datasets.COCO(truth), results, mode=tidecv.TIDE.BOX)
    values = [run.ap / 100 for run in tide.run_thresholds["found"]]
    return float(np.mean(values)), float(values[0])


def of_lvis(truth: str, found: str) -> Numbers:
    """AP and AP50 by lvis-api; for COCO's data, every class was verified in every image."""
    vars(np)["float"] = float  # lvis-api 0.5.3 is older than numpy 1.24
    from lvis import LVISEval

    content = json.loads(pathlib.Path(truth).read_text())
    classes = {category["id"] for category in content["categories"]}
    has: dict[int, set[int]] = {image["id"]: set() for image in content["images"]}
    for row in content["annotations"]:
        has[row["image_id"]].add(row["category_id"])
    for image in content["images"]:
        image["neg_category_ids"] = sorted(classes - has[image["id"]])
        image["not_exhaustive_category_ids"] = []
        image["coco_url"] = image["file_name"]
    for category in content["categories"]:
        category |= {"frequency": "f", "image_count": 1, "instance_count": 1}
    path = pathlib.Path(truth).with_suffix(".lvis.json")
    path.write_text(json.dumps(content))
    evaluation = LVISEval(str(path), found, "bbox")
    evaluation.run()
    return float(evaluation.results["AP"]), float(evaluation.results["AP50"])


def _by_image(truth: str, found: str) -> tuple[list[list[dict[str, Any]]], ...]:
    """Returns the objects and the detections of each image, in the order of the images."""
    content = json.loads(pathlib.Path(truth).read_text())
    images = [image["id"] for image in content["images"]]
    both = []
    for rows in (content["annotations"], json.loads(pathlib.Path(found).read_text())):
        of_images: dict[Any, list[dict[str, Any]]] = {image: [] for image in images}
        for row in rows:
            of_images[row["image_id"]].append(row)
        both.append([of_images[image] for image in images])
    return tuple(both)


LIBRARIES: dict[str, Callable[[str, str], Numbers]] = {
    "pycocotools": of_pycocotools,
    "faster-coco-eval": of_faster_coco_eval,
    "hotcoco": of_hotcoco,
    "torchmetrics": of_torchmetrics,
    "supervision": of_supervision,
    "tidecv": of_tidecv,
    "lvis": of_lvis,
}


def main(folder: pathlib.Path) -> None:
    """Prints version and numbers of every library: a list of pairs, in the order of the sets."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    count = len(list(folder.glob("*.truth.json")))
    report = {}
    for name, function in LIBRARIES.items():
        numbers = []
        for number in range(count):
            paths = [str(folder / f"{number}.{kind}.json") for kind in ("truth", "found")]
            with contextlib.redirect_stdout(io.StringIO()):
                numbers.append([float(value) for value in function(*paths)])
        report[name] = {"version": importlib.metadata.version(name), "numbers": numbers}
    print(json.dumps(report))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
