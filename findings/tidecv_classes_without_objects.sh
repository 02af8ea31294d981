#!/usr/bin/env bash
# Expected: TIDE's AP equals COCO's, which leaves out classes without objects in the validation set.
# Actual: tidecv 1.0.1 counts such a class with an AP of 0 as soon as one detection names it: one perfect class and one
# stray detection yield an AP of 50, where pycocotools returns 100. Its table then attributes 50 points to "Bkg", since
# without that false positive the class does not enter the mean.
# Why it matters: on a small validation set or one with rare classes, most of the "background error" may come from such
# classes. One would look for hard negatives to gain points that COCO's AP never lost.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/classes.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io

import pycocotools.coco
import pycocotools.cocoeval
import tidecv

BOX, STRAY = [10.0, 20.0, 40.0, 30.0], [200.0, 20.0, 40.0, 30.0]
FOUND = [(1, BOX, 0.9), (2, STRAY, 0.3)]


def of_pycocotools():
    coco = pycocotools.coco.COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": 1, "width": 640, "height": 480, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "area": 1200.0, "iscrowd": 0}],
    }
    coco.createIndex()
    found = [{"image_id": 1, "category_id": c, "bbox": box, "score": score} for c, box, score in FOUND]
    evaluation = pycocotools.cocoeval.COCOeval(coco, coco.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return 100 * float(evaluation.stats[1])


def of_tidecv():
    truth, found = tidecv.Data("truth"), tidecv.Data("found")
    for number, name in ((1, "cat"), (2, "dog")):
        truth.add_class(number, name)
    truth.add_image(1, "1.jpg")
    truth.add_ground_truth(1, 1, box=BOX)
    for number, box, score in FOUND:
        found.add_detection(1, number, score, box=box)
    run = tidecv.TIDE().evaluate(truth, found, mode=tidecv.TIDE.BOX)
    return run.ap, {kind.short_name: gain for kind, gain in run.fix_main_errors().items()}


with contextlib.redirect_stdout(io.StringIO()):
    coco_ap, (tide_ap, gains) = of_pycocotools(), of_tidecv()
print("one cat, detected; one detection of a dog where there is none")
print(f"  pycocotools {importlib.metadata.version('pycocotools')}: AP50 {coco_ap:.1f}")
print(f"  tidecv {importlib.metadata.version('tidecv')}: AP50 {tide_ap:.1f}, gains {gains}")
assert round(coco_ap, 6) == 100 and round(tide_ap, 6) == 50, "the behavior has changed"
assert {name for name, gain in gains.items() if gain} == {"Bkg"}, "the behavior has changed"
assert round(gains["Bkg"], 6) == 50, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "pycocotools==2.0.11" "tidecv==1.0.1" "numpy==2.4.6"
"$folder/environment/bin/python" -W ignore "$folder/classes.py"
