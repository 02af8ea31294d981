#!/usr/bin/env bash
# Expected: the box of a mask of 6 x 6 pixels is 6 wide and 6 high, as exporters to COCO write it.
# Actual: mask_to_xyxy of supervision 0.31.2 returns the indices of the first and the last pixel as corners, so the box
# is 5 x 5, although Detections.area of the same object is 36. DetectionDataset.as_coco writes this box with the area 36
# and a polygon of 5 x 5. pycocotools' toBbox returns 6 x 6.
# Why it matters: the box of a small object has an IoU of .69 with the right one, so a perfect detector misses it at
# a threshold of .75, and all boxes made from masks are one pixel too small for training.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/masks.py" <<'PYTHON'
import importlib.metadata
import json
import sys

import cv2
import numpy as np
import pycocotools.mask
import supervision

SIDE = 6
mask = np.zeros((40, 50), bool)
mask[10 : 10 + SIDE, 20 : 20 + SIDE] = True
box = supervision.mask_to_xyxy(mask[None])
detections = supervision.Detections(xyxy=box, mask=mask[None], class_id=np.array([0]))
image = f"{sys.argv[1]}/image.png"
cv2.imwrite(image, np.zeros((40, 50, 3), np.uint8))
data_set = supervision.DetectionDataset(classes=["thing"], images=[image], annotations={image: detections})
data_set.as_coco(annotations_path=f"{sys.argv[1]}/coco.json")
with open(f"{sys.argv[1]}/coco.json") as file:
    annotation = json.load(file)["annotations"][0]
encoded = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
right = pycocotools.mask.toBbox(encoded)
iou = float(pycocotools.mask.iou([annotation["bbox"]], [right.tolist()], [0])[0, 0])
polygon = pycocotools.mask.frPyObjects(annotation["segmentation"], 40, 50)
polygon_area = int(pycocotools.mask.area(polygon)[0])
print(f"supervision {supervision.__version__}, a mask of {SIDE} x {SIDE} pixels")
print(f"  mask_to_xyxy {box[0].tolist()}, area {int(detections.area[0])}")
print(f"  as_coco: bbox {annotation['bbox']}, area {annotation['area']}, pixels of its polygon {polygon_area}")
print(f"pycocotools {importlib.metadata.version('pycocotools')}: bbox {right.tolist()}, IoU of the two {iou:.3f}")
assert annotation["bbox"] == [20, 10, 5, 5] and annotation["area"] == 36, "the behavior has changed"
assert right.tolist() == [20, 10, 6, 6] and iou < 0.7 and polygon_area == 25, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "supervision==0.31.2" "opencv-python==5.0.0.93" "pycocotools==2.0.11" "numpy==2.4.6"
"$folder/environment/bin/python" -W ignore "$folder/masks.py" "$folder"
