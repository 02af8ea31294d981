#!/usr/bin/env bash
# Expected: a converter keeps the coordinates of polygons, which labelme stores as fractions of a pixel.
# Actual: labelme2coco 0.2.6 (with sahi 0.12.8) truncates the coordinates in "segmentation", a shift of up to a pixel
# to the upper left, and the areas, but not "bbox": the polygon and the box of an object disagree. A line at 45 degrees
# becomes an annotation with "bbox": []. Categories are numbered from 0 in the order in which they first occur.
# Why it matters: boxes computed from the polygons, e.g. in augmentation, are all shifted. The one empty list fails in
# readers that build an array of all boxes, with a message about shapes; and another folder gets other ids.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/convert.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io
import json
import sys
from pathlib import Path

import labelme2coco
import numpy as np
from PIL import Image

SHAPES = [
    ("wire", [[5, 5], [30, 30]], "line"),
    ("mark", [[7, 8]], "point"),
    ("dog", [[10.4, 10.6], [30.5, 40.5]], "rectangle"),
    ("cat", [[10.9, 10.9], [20.9, 10.9], [20.9, 20.9], [10.9, 20.9]], "polygon"),
]
folder = Path(sys.argv[1]) / "labelme"
folder.mkdir()
Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(folder / "a.jpg")
shapes = [
    {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}
    for label, points, kind in SHAPES
]
content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.jpg", "imageData": None}
(folder / "a.json").write_text(json.dumps(content | {"imageHeight": 60, "imageWidth": 80}))
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    written = labelme2coco.get_coco_from_labelme_folder(str(folder)).json
names = {category["id"]: category["name"] for category in written["categories"]}
boxes = {names[a["category_id"]]: a["bbox"] for a in written["annotations"]}
polygons = {names[a["category_id"]]: a["segmentation"] for a in written["annotations"]}
areas = {names[a["category_id"]]: a["area"] for a in written["annotations"]}
versions = [f"{name} {importlib.metadata.version(name)}" for name in ("labelme2coco", "sahi")]
print(f"{', '.join(versions)}, categories {names}")
for label, _, kind in SHAPES:
    print(f"  {label}, a {kind}: bbox {boxes[label]}, area {areas[label]}, segmentation {polygons[label]}")
assert names == {0: "wire", 1: "mark", 2: "dog", 3: "cat"}, "the behavior has changed"
assert boxes["wire"] == [] and areas["wire"] == 0, "the behavior has changed"
assert areas["dog"] == 600 and np.allclose(boxes["cat"], [10.9, 10.9, 10, 10]), "the behavior has changed"
assert polygons["cat"] == [[10, 10, 20, 10, 20, 20, 10, 20]], "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "labelme2coco==0.2.6" "sahi==0.12.8" "pillow==12.3.0" "numpy==2.4.6"
"$folder/environment/bin/python" -W ignore "$folder/convert.py" "$folder"
