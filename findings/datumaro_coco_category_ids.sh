#!/usr/bin/env bash
# Expected: reading a COCO file and writing it again keeps all ids.
# Actual: datumaro 1.13.12 renumbers the categories 1, 2, 3, ... in the order of their ids: 3, 7, 90 become 1, 2, 3 (the
# ids of COCO's 80 categories, which go up to 90, become 1 to 80), and the annotations follow. The ids of images and
# annotations are kept.
# Why it matters: detections with the old ids are counted for other classes, without an error if those ids exist in the
# new file too. In COCO, a person still has the id 1, which hides the problem.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/ids.py" <<'PYTHON'
import json
import logging
import sys
from pathlib import Path

import cv2
import datumaro
import numpy as np

logging.disable(logging.CRITICAL)
before, after = Path(sys.argv[1]) / "before", Path(sys.argv[1]) / "after"
(before / "images/val").mkdir(parents=True)
(before / "annotations").mkdir()
cv2.imwrite(str(before / "images/val/a.png"), np.zeros((50, 100, 3), np.uint8))
NAMES = {7: "zebra", 3: "cat", 90: "dog"}
content = {
    "info": {},
    "licenses": [],
    "images": [{"id": 55, "file_name": "a.png", "width": 100, "height": 50}],
    "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in NAMES.items()],
    "annotations": [
        {"id": 11 + i, "image_id": 55, "category_id": number, "bbox": [10 + 20 * i, 10, 20, 20]}
        | {"area": 400, "iscrowd": 0, "segmentation": []}
        for i, number in enumerate(NAMES)
    ],
}
(before / "annotations/instances_val.json").write_text(json.dumps(content))
datumaro.Dataset.import_from(str(before), "coco_instances").export(str(after), "coco_instances", save_media=False)
written = json.loads((after / "annotations/instances_val.json").read_text())


def told(content):
    categories = {category["id"]: category["name"] for category in content["categories"]}
    labels = {a["id"]: a["category_id"] for a in sorted(content["annotations"], key=lambda a: a["id"])}
    return [image["id"] for image in content["images"]], dict(sorted(categories.items())), labels


print("datumaro", datumaro.__version__)
for name, each in (("before", content), ("after", written)):
    images, categories, labels = told(each)
    print(f"  {name}: images {images}, categories {categories}, category of each annotation {labels}")
assert told(written) == ([55], {1: "cat", 2: "zebra", 3: "dog"}, {11: 2, 12: 1, 13: 3}), "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "datumaro==1.13.12" "numpy==2.4.6"
"$folder/environment/bin/python" -W ignore "$folder/ids.py" "$folder"
