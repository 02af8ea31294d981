#!/usr/bin/env bash
# Expected: IMREAD_COLOR_RGB | IMREAD_ANYDEPTH returns what IMREAD_COLOR | IMREAD_ANYDEPTH returns, with the channels in
# reverse order.
# Actual: for a TIFF with three channels of 16 bits OpenCV 5.0.0 returns other values. A PNG with the same pixels and a
# TIFF of 8 bits are right.
# Why it matters: photographs of 10 to 16 bits are stored as such TIFFs, and there is no warning: an image is
# returned, but its values are wrong. With IMREAD_COLOR, and channels reversed afterwards, they are right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/read.py" <<'PYTHON'
import cv2
import numpy as np

print("OpenCV", cv2.__version__)
random = np.random.default_rng(0)
wrong = {}
for dtype in (np.uint8, np.uint16):
    pixels = random.integers(0, np.iinfo(dtype).max, (5, 7, 3), dtype)
    for suffix in (".png", ".tif"):
        _, data = cv2.imencode(suffix, pixels)
        by_bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        by_rgb = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
        assert np.array_equal(by_bgr, pixels), "the behavior has changed"
        name = f"{np.dtype(dtype).name} {suffix}"
        wrong[name] = int((by_rgb[..., ::-1] != pixels).sum())
        print(f"  {name}: {wrong[name]} of {pixels.size} values wrong in RGB, dtype {by_rgb.dtype}")
        if wrong[name]:
            print(f"    written {pixels[0, 0, ::-1].tolist()}, read {by_rgb[0, 0].tolist()}")
assert {name for name, count in wrong.items() if count} == {"uint16 .tif"}, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "opencv-python-headless==5.0.0.93" "numpy==2.4.6"
"$folder/environment/bin/python" "$folder/read.py"
