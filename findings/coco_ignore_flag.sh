#!/usr/bin/env bash
# Expected: an annotation with "ignore": 1 is left out of the evaluation like one with "iscrowd": 1. The key occurs in
# the code of pycocotools, and converters write it for regions that nobody labeled.
# Actual: pycocotools, faster-coco-eval and hotcoco overwrite the key with iscrowd and count the object as missed: the
# AP50 is .505 instead of 1. lvis-api respects the key but overlooks iscrowd.
# Why it matters: a data set with ignored regions gets a far lower AP than its authors report, without a warning. The
# workaround is iscrowd, but a crowd region may match several detections, and its IoU is defined differently.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/ignore.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io
import json
import logging
import sys

import faster_coco_eval
import hotcoco
import numpy as np

np.float = float  # lvis-api 0.5.3 is older than numpy 1.24

import lvis
import pycocotools.coco
import pycocotools.cocoeval

logging.disable(logging.CRITICAL)
BOXES = [[10.0, 20.0, 40.0, 30.0], [100.0, 20.0, 40.0, 30.0]]


def write(flags):
    """Writes two objects; the second has `flags` and no detection."""
    lvis_keys = {"neg_category_ids": [], "not_exhaustive_category_ids": [], "coco_url": "x/1.jpg"}
    truth = {
        "images": [{"id": 1, "width": 640, "height": 480, "file_name": "1.jpg"} | lvis_keys],
        "categories": [{"id": 1, "name": "thing", "frequency": "f", "image_count": 1, "instance_count": 2}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1200.0, "iscrowd": 0}
            for i, box in enumerate(BOXES)
        ],
    }
    truth["annotations"][1].update(flags)
    found = [{"image_id": 1, "category_id": 1, "bbox": BOXES[0], "score": 0.9}]
    for name, content in (("truth", truth), ("found", found)):
        with open(f"{sys.argv[1]}/{name}.json", "w") as file:
            json.dump(content, file)
    return f"{sys.argv[1]}/truth.json", f"{sys.argv[1]}/found.json"


def of_coco(coco_class, eval_class):
    def ap50(paths):
        coco = coco_class(paths[0])
        evaluation = eval_class(coco, coco.loadRes(paths[1]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return float(evaluation.stats[1])

    return ap50


def of_lvis(paths):
    evaluation = lvis.LVISEval(paths[0], paths[1], "bbox")
    evaluation.run()
    return float(evaluation.results["AP50"])


LIBRARIES = {
    "pycocotools": of_coco(pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    "faster-coco-eval": of_coco(faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    "hotcoco": of_coco(hotcoco.COCO, hotcoco.COCOeval),
    "lvis": of_lvis,
}
is_left_out = {}
for name, ap50 in LIBRARIES.items():
    values = []
    for flags in ({}, {"ignore": 1}, {"iscrowd": 1}):
        with contextlib.redirect_stdout(io.StringIO()):
            values.append(ap50(write(flags)))
    plain, ignored, crowd = values
    version = importlib.metadata.version(name)
    print(f"{name} {version}: AP50 without a flag {plain:.3f}, ignore {ignored:.3f}, iscrowd {crowd:.3f}")
    is_left_out[name] = (ignored > 0.99, crowd > 0.99)
    assert abs(plain - 0.505) < 1e-3, "the behavior has changed"
    assert ignored > 0.99 or abs(ignored - plain) < 1e-6, "the behavior has changed"
expected = dict.fromkeys(("pycocotools", "faster-coco-eval", "hotcoco"), (False, True)) | {"lvis": (True, False)}
assert is_left_out == expected, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "pycocotools==2.0.11" "hotcoco==1.3.0" "faster-coco-eval==1.8.0" "lvis==0.5.3" "numpy==2.4.6"
"$folder/environment/bin/python" -W ignore "$folder/ignore.py" "$folder"
