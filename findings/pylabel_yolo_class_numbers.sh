#!/usr/bin/env bash
# Expected: in a YOLO data set, the number at the start of a line is an index into the list of names.
# Actual: for COCO's category ids 3, 7 and 90, pylabel 0.1.55 writes 3, 7 and 90 at the start of the lines, together
# with a YAML file that has three names and "nc: 3".
# Why it matters: at best, a trainer refuses the files. With the common ids 1, 2 and 3, every class except the last gets
# the name of its neighbor, 0 never occurs, and the last class is out of range.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/convert.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from pylabel import importer

NAMES = {3: "cat", 7: "zebra", 90: "dog"}
folder = Path(sys.argv[1])
os.chdir(folder)
(folder / "images").mkdir()
for number in NAMES:
    Image.fromarray(np.zeros((50, 100, 3), np.uint8)).save(folder / "images" / f"{number}.png")
content = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 50} for n in NAMES],
    "categories": [{"id": n, "name": name, "supercategory": "animal"} for n, name in NAMES.items()],
    "annotations": [
        {"id": n, "image_id": n, "category_id": n, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
        | {"segmentation": []}
        for n in NAMES
    ],
}
(folder / "coco.json").write_text(json.dumps(content))
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    data = importer.ImportCoco(str(folder / "coco.json"), path_to_images=str(folder / "images"))
    data.export.ExportToYoloV5(output_path=str(folder / "yolo/labels"), yaml_file="dataset.yaml")
names = yaml.safe_load((folder / "yolo/dataset.yaml").read_text())
print(f"pylabel {importlib.metadata.version('pylabel')}: nc {names['nc']}, names {names['names']}")
numbers = {}
for number, name in NAMES.items():
    line = (folder / f"yolo/labels/{number}.txt").read_text().strip()
    print(f"  image of a {name}: {line}")
    numbers[name] = int(line.split()[0])
assert numbers == {"cat": 3, "zebra": 7, "dog": 90} and names["nc"] == 3, "the behavior has changed"
assert len(names["names"]) == 3, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "pylabel==0.1.55" "pandas==2.3.3" "numpy==2.4.6" "pillow==12.3.0"
"$folder/environment/bin/python" -W ignore "$folder/convert.py" "$folder"
