#!/usr/bin/env bash
# One expects: a photograph's orientation is applied when asked for: by Pillow's ImageOps.exif_transpose, and by OpenCV unless
# IMREAD_IGNORE_ORIENTATION or IMREAD_UNCHANGED is given, whatever the file's format.
# What happens: of a TIFF Pillow 13.0.0 gives upright pixels without being asked, though getexif() has said 6 before; and
# OpenCV 5.0.0 turns it even with either flag. JPEG and PNG are as expected.
# Why it matters: code that reads the orientation first and turns the array itself turns TIFFs twice, and boxes that were
# drawn on stored pixels fit a JPEG and miss in a TIFF of the same photograph.
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
    print(f"  {suffix}: getexif says {number}; {shapes}")
    is_upright[suffix] = [shape == UPRIGHT for shape in shapes.values()]
    assert number == 6
as_expected = [False, True, True, False, False]
assert is_upright == {"JPEG": as_expected, "PNG": as_expected, "TIFF": [True] * 5}, "otherwise than told above"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "pillow==13.0.0" "opencv-python-headless==5.0.0.93" "numpy==2.4.6" 2>/dev/null
"$folder/environment/bin/python" "$folder/turn.py"
