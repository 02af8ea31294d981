#!/usr/bin/env bash
# Expected: if seven of ten objects are found without a false positive, the precision is 1 at the recalls 0, .01, ...,
# .70, so the AP50 is 71/101 in every library that uses COCO's 101 recall points.
# Actual: pycocotools, hotcoco, faster-coco-eval and supervision return 70/101, since numpy's linspace(0, 1, 101)[70] is
# greater than .7; tidecv divides integers by 100 and returns 71/101. Of all recalls k/n with n <= 100 that equal
# a recall point, 29 are affected, among them 7/10, 14/20 and 19/20.
# Why it matters: the APs of libraries said to agree differ by a point; small validation sets often have such recalls.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/recall.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io
import json
import sys

import faster_coco_eval
import hotcoco
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import supervision
import supervision.metrics
import tidecv

COUNT, FOUND = 10, 7
BOXES = [[10.0 + 60 * i, 20.0, 40.0, 30.0] for i in range(COUNT)]
SCORES = [0.9 - 0.1 * i for i in range(FOUND)]


def of_coco(coco_class, eval_class):
    truth = {
        "images": [{"id": 1, "width": 640, "height": 480, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1200.0, "iscrowd": 0}
            for i, box in enumerate(BOXES)
        ],
    }
    found = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score}
        for box, score in zip(BOXES, SCORES, strict=False)
    ]
    paths = []
    for name, content in (("truth", truth), ("found", found)):
        paths.append(f"{sys.argv[1]}/{name}.json")
        with open(paths[-1], "w") as file:
            json.dump(content, file)
    coco = coco_class(paths[0])
    evaluation = eval_class(coco, coco.loadRes(paths[1]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[1])


def of_supervision():
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in BOXES])
    truth = supervision.Detections(xyxy=corners, class_id=np.zeros(COUNT, int))
    found = supervision.Detections(
        xyxy=corners[:FOUND], class_id=np.zeros(FOUND, int), confidence=np.array(SCORES)
    )
    return float(supervision.metrics.MeanAveragePrecision().update([found], [truth]).compute().map50)


def of_tidecv():
    truth, found = tidecv.Data("truth"), tidecv.Data("found")
    truth.add_class(1, "thing")
    truth.add_image(1, "1.jpg")
    for box in BOXES:
        truth.add_ground_truth(1, 1, box=box)
    for box, score in zip(BOXES, SCORES, strict=False):
        found.add_detection(1, 1, score, box=box)
    return tidecv.TIDE().evaluate(truth, found, mode=tidecv.TIDE.BOX).ap / 100


LIBRARIES = {
    "pycocotools": lambda: of_coco(pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    "hotcoco": lambda: of_coco(hotcoco.COCO, hotcoco.COCOeval),
    "faster-coco-eval": lambda: of_coco(faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    "supervision": of_supervision,
    "tidecv": of_tidecv,
}
points = {}
for name, ap50 in LIBRARIES.items():
    with contextlib.redirect_stdout(io.StringIO()):
        value = ap50()
    points[name] = round(value * 101)
    print(f"{name} {importlib.metadata.version(name)}: AP50 {value:.4f}, {points[name]} of 101 points")
expected = dict.fromkeys(LIBRARIES, 70) | {"tidecv": 71}
assert points == expected, "the behavior has changed"

recalls = np.linspace(0, 1, 101)
meeting = [(k, n) for n in range(1, 101) for k in range(1, n + 1) if 100 * k % n == 0]
late = [f"{k}/{n}" for k, n in meeting if k / n < recalls[100 * k // n]]
print(f"numpy {np.__version__}: linspace(0, 1, 101)[70] is {float(recalls[70])!r}")
print(f"{len(late)} of {len(meeting)} are affected:")
print("  " + ", ".join(late))
assert len(late) == 29, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "pycocotools==2.0.11" "hotcoco==1.3.0" "faster-coco-eval==1.8.0" "supervision==0.31.2" "tidecv==1.0.1" \
  "numpy==2.4.6"
"$folder/environment/bin/python" -W ignore "$folder/recall.py" "$folder"
