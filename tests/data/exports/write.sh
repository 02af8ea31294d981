#!/usr/bin/env bash
# Writes the files of this folder that are not of shared exports: what labelme2coco, datumaro and
# pylabel make of truth.json. `tests/data/exports/write.sh` installs the pinned tools into a
# temporary environment; the truth's categories get the ids 3, 7 and 90 first, for those that number
# anew.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/write.py" <<'PYTHON'
import json
import os
import shutil
import sys
from pathlib import Path

import datumaro
import labelme2coco
import numpy as np
from PIL import Image
from pylabel import importer

here, folder = map(Path, sys.argv[1:])
truth = json.loads((here / "truth.json").read_text())
IDS = {1: 3, 2: 7, 3: 90}
for category in truth["categories"]:
    category["id"] = IDS[category["id"]]
for annotation in truth["annotations"]:
    annotation["category_id"] = IDS[annotation["category_id"]]
names = {category["id"]: category["name"] for category in truth["categories"]}
images = folder / "images"
images.mkdir()
for image in truth["images"]:
    pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
    Image.fromarray(pixels).save(images / image["file_name"])


def write(name, text):
    """Without the path of the temporary folder, which some write."""
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).write_text(text.replace(str(folder), "/data").rstrip() + "\n")


def write_json(name, content):
    write(name, json.dumps(content, indent=1))


labelme = folder / "labelme"
shutil.copytree(images, labelme)
for image in truth["images"]:
    shapes = []
    for annotation in truth["annotations"]:
        if annotation["image_id"] == image["id"]:
            x, y, width, height = annotation["bbox"]
            points = [[x, y], [x + width, y + height]]
            shapes.append({"label": names[annotation["category_id"]], "points": points, "shape_type": "rectangle"})
    if image["id"] == truth["images"][-1]["id"]:  # a line at 45 degrees, of which no box is left
        shapes.append({"label": "bolt", "points": [[5, 5], [30, 30]], "shape_type": "line"})
    content = {"version": "5.5.0", "flags": {}, "imagePath": image["file_name"], "imageData": None}
    content |= {"imageHeight": image["height"], "imageWidth": image["width"]}
    content["shapes"] = [{"group_id": None, "flags": {}} | shape for shape in shapes]
    (labelme / image["file_name"]).with_suffix(".json").write_text(json.dumps(content))
written = labelme2coco.get_coco_from_labelme_folder(str(labelme)).json
for image in written["images"]:
    image["file_name"] = Path(image["file_name"]).name
write_json("labelme2coco_0.2.6_coco.json", written)

coco = folder / "coco"
(coco / "annotations").mkdir(parents=True)
(coco / "annotations" / "instances_default.json").write_text(json.dumps(truth))
shutil.copytree(images, coco / "images" / "default")
exported = folder / "datumaro"
datumaro.Dataset.import_from(str(coco), "coco").export(str(exported), "coco_instances")
(path,) = exported.rglob("instances*.json")
write_json("datumaro_1.13.12_coco.json", json.loads(path.read_text()))

os.chdir(folder)
(folder / "truth.json").write_text(json.dumps(truth))
data = importer.ImportCoco(str(folder / "truth.json"), path_to_images=str(images))
data.export.ExportToYoloV5(output_path=str(folder / "yolo/labels"), yaml_file="dataset.yaml")
shutil.rmtree(here / "pylabel_0.1.55_yolo", ignore_errors=True)
write("pylabel_0.1.55_yolo/data.yaml", (folder / "yolo/dataset.yaml").read_text())
for path in (folder / "yolo/labels").glob("*.txt"):
    write(f"pylabel_0.1.55_yolo/labels/{path.name}", path.read_text())
data.export.ExportToCoco(output_path=str(folder / "pylabel.json"), cat_id_index=1)
write_json("pylabel_0.1.55_coco.json", json.loads((folder / "pylabel.json").read_text()))
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "labelme2coco==0.2.6" "sahi==0.12.8" "datumaro==1.13.12" "pylabel==0.1.55" "pandas==2.3.3" \
  "numpy==2.4.6" "pillow==12.3.0"
"$folder/environment/bin/python" -W ignore "$folder/write.py" "$here" "$folder"
