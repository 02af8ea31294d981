#!/usr/bin/env bash
# Expected: a reader of VOC folders numbers the classes by their names, so that "train" and "val" of a data set agree.
# Actual: supervision 0.31.2 numbers classes file by file, the new names of each file in alphabetical order. In "train"
# the first file contains a zebra: zebra is 0, cat 1, dog 2; in "val" cat is 0 and dog 1, without a warning.
# DetectionDataset.merge makes one list of both.
# Why it matters: a label means different classes in training and validation, and the AP is near 0 or, if some classes
# have the same number in both, just lower than it should be. Adding a single file may renumber all classes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/classes.py" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np
import supervision

SPLITS = {"train": {"a": ["zebra"], "b": ["dog", "cat"]}, "val": {"c": ["cat", "dog"]}}


def voc_object(name, left):
    box = f"<xmin>{left}</xmin><ymin>10</ymin><xmax>{left + 20}</xmax><ymax>30</ymax>"
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"


def write(folder, files):
    folder.mkdir()
    for stem, names in files.items():
        cv2.imwrite(str(folder / f"{stem}.png"), np.zeros((50, 100, 3), np.uint8))
        objects = "".join(voc_object(name, 10 + 30 * i) for i, name in enumerate(names))
        size = "<size><width>100</width><height>50</height><depth>3</depth></size>"
        (folder / f"{stem}.xml").write_text(f"<annotation><filename>{stem}.png</filename>{size}{objects}</annotation>")


print("supervision", supervision.__version__)
data_sets = {}
for split, files in SPLITS.items():
    folder = Path(sys.argv[1]) / split
    write(folder, files)
    data_sets[split] = supervision.DetectionDataset.from_pascal_voc(str(folder), str(folder))
    print(f"  {split}: {dict(enumerate(data_sets[split].classes))}")
merged = supervision.DetectionDataset.merge(list(data_sets.values()))
print(f"  merged: {dict(enumerate(merged.classes))}")
assert data_sets["train"].classes == ["zebra", "cat", "dog"], "the behavior has changed"
assert data_sets["val"].classes == ["cat", "dog"], "the behavior has changed"
assert sorted(merged.classes) == ["cat", "dog", "zebra"], "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "supervision==0.31.2" "opencv-python==5.0.0.93" "numpy==2.4.6"
"$folder/environment/bin/python" -W error::UserWarning "$folder/classes.py" "$folder"
