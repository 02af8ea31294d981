#!/usr/bin/env bash
# Expected: the orientation of a photograph is applied only on request, whatever the format of the file: by
# ImageOps.exif_transpose in Pillow, and in OpenCV unless IMREAD_IGNORE_ORIENTATION or IMREAD_UNCHANGED is given.
# Actual: for a TIFF, Pillow 13.0.0 returns upright pixels without a request, although getexif() returned 6 before, and
# OpenCV 5.0.0 rotates the image with either flag, too. JPEG and PNG behave as expected.
# Why it matters: code that reads the orientation and rotates the array itself rotates TIFFs twice. Boxes drawn on the
# stored pixels fit a JPEG but not a TIFF of the same photograph.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/turn.py" <<'PYTHON'
import io

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps

ORIENTATION, STORED, UPRIGHT = 274, (40, 60), (60, 40)
FLAGS = {
    "IMREAD_COLOR": cv2.IMREAD_COLOR,
    "IMREAD_IGNORE_ORIENTATION": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    "IMREAD_UNCHANGED": cv2.IMREAD_UNCHANGED,
}
image = Image.fromarray(np.zeros((*STORED, 3), np.uint8))
exif = Image.Exif()
exif[ORIENTATION] = 6
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}: stored {STORED}, upright {UPRIGHT}")
is_upright = {}
for suffix in ("JPEG", "PNG", "TIFF"):
    file = io.BytesIO()
    image.save(file, suffix, exif=exif)
    data = file.getvalue()
    opened = Image.open(io.BytesIO(data))
    number = opened.getexif().get(ORIENTATION)
    shapes = {
        "np.asarray": np.asarray(opened).shape[:2],
        "exif_transpose": np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).shape[:2],
    }
    for name, flag in FLAGS.items():
        shapes[name] = cv2.imdecode(np.frombuffer(data, np.uint8), flag).shape[:2]
    print(f"  {suffix}: getexif returns {number}; {shapes}")
    is_upright[suffix] = [shape == UPRIGHT for shape in shapes.values()]
    assert number == 6
as_expected = [False, True, True, False, False]
assert is_upright == {"JPEG": as_expected, "PNG": as_expected, "TIFF": [True] * 5}, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "pillow==13.0.0" "opencv-python-headless==5.0.0.93" "numpy==2.4.6" 2>/dev/null
"$folder/environment/bin/python" "$folder/turn.py"
