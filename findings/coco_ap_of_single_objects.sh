#!/usr/bin/env bash
# Expected: detections that equal the ground truth have an AP of exactly 1 in every library.
# Actual: in pycocotools and hotcoco a class with one object has an AP50 of .9999999999999999 and a precision of
# .9999999999999998, because the denominator of the precision contains an epsilon. With two objects both are 1, since
# 2 / (2 + epsilon) rounds to 1. faster-coco-eval returns 1 in both cases.
# Why it matters: whether `assert ap == 1.0` or a comparison of libraries by == holds depends on the number of objects,
# and a search for the best AP by > may rank one perfect model above another.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/perfect.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io
import json
import sys

import faster_coco_eval
import hotcoco
import pycocotools.coco
import pycocotools.cocoeval

LIBRARIES = {
    "pycocotools": (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    "hotcoco": (hotcoco.COCO, hotcoco.COCOeval),
    "faster-coco-eval": (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
}


def ap50(classes, count):
    """AP50 of `count` objects, each detected with its own box."""
    coco_class, eval_class = classes
    boxes = [[10.0 + 60 * i, 20.0, 40.0, 30.0] for i in range(count)]
    truth = {
        "images": [{"id": 1, "width": 640, "height": 480, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1200.0, "iscrowd": 0}
            for i, box in enumerate(boxes)
        ],
    }
    found = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9 - 0.1 * i} for i, box in enumerate(boxes)
    ]
    paths = []
    for name, content in (("truth", truth), ("found", found)):
        paths.append(f"{sys.argv[1]}/{name}.json")
        with open(paths[-1], "w") as file:
            json.dump(content, file)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_class(paths[0])
        evaluation = eval_class(coco, coco.loadRes(paths[1]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


is_one = {}
for name, classes in LIBRARIES.items():
    values = [ap50(classes, count) for count in (1, 2)]
    print(f"{name} {importlib.metadata.version(name)}: AP50 of one object {values[0]!r}, of two {values[1]!r}")
    assert min(values) > 0.999999
    is_one[name] = [value == 1.0 for value in values]
expected = {"pycocotools": [False, True], "hotcoco": [False, True], "faster-coco-eval": [True, True]}
assert is_one == expected, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "pycocotools==2.0.11" "hotcoco==1.3.0" "faster-coco-eval==1.8.0" "numpy==2.4.6" 2>/dev/null
"$folder/environment/bin/python" -W ignore "$folder/perfect.py" "$folder"
