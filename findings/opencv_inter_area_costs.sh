#!/usr/bin/env bash
# Expected: decoding a JPEG is the expensive part of loading an image, and shrinking it afterwards costs little.
# Actual: in OpenCV 5.0.0, shrinking from 640 x 480 to 300 x 300 with INTER_AREA, the filter usually recommended, takes
# half as long to twice as long as decoding the JPEG. Shrinking to 320 x 240, by a whole factor, runs other code and
# takes less than a quarter of that, and INTER_LINEAR less than a third.
# Why it matters: the image sizes of SSD (300, 512) and a short side of 800 are rarely reached by whole factors, so data
# loading is limited by resizing, not by the decoder, which most people would replace first.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/resize.py" <<'PYTHON'
import time

import cv2
import numpy as np


def seconds(function):
    """The minimum CPU time of nine measurements, per call."""
    times = []
    for _ in range(9):
        start = time.process_time()
        for _ in range(10):
            function()
        times.append(time.process_time() - start)
    return min(times) / 10


cv2.setNumThreads(1)
noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
image = cv2.GaussianBlur(noise, (0, 0), 3)
data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
decode = seconds(lambda: cv2.imdecode(data, cv2.IMREAD_COLOR))
print(f"OpenCV {cv2.__version__}, one thread: decoding 640 x 480 takes {1000 * decode:.2f} ms")
ratios = {}
for name, size, method in (
    ("INTER_AREA to 300 x 300", (300, 300), cv2.INTER_AREA),
    ("INTER_AREA to 320 x 240", (320, 240), cv2.INTER_AREA),
    ("INTER_LINEAR to 300 x 300", (300, 300), cv2.INTER_LINEAR),
):
    took = seconds(lambda size=size, method=method: cv2.resize(image, size, interpolation=method))
    ratios[name] = took / decode
    print(f"  {name}: {1000 * took:.2f} ms, {took / decode:.2f} of decoding")
area, halved, linear = ratios.values()
assert area > 0.5 and area > 4 * halved and area > 3 * linear, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "opencv-python-headless==5.0.0.93" "numpy==2.4.6"
"$folder/environment/bin/python" "$folder/resize.py"
