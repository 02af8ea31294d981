#!/usr/bin/env bash
# Expected: antialias only matters for shrinking. Enlarging gives the same values with and without, as for "bilinear".
# Actual: torch 2.14.1 has two cubic kernels. Without antialias their coefficient is -0.75, as in OpenCV; with it, -0.5,
# as in Pillow and jax.image.resize. Random values enlarged by mode="bicubic" differ by 7 % of their range, and an edge
# overshoots by 11 % or by 7 %.
# Why it matters: the position embeddings of a ViT are enlarged for a detector's larger images, in some models with
# antialias and in others without. A port to JAX agrees with one of the two only, and all shapes are right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/enlarge.py" <<'PYTHON'
import cv2
import jax
import numpy as np
import PIL
import torch
from PIL import Image
from torch.nn.functional import interpolate

random = np.random.default_rng(0)
grid = random.random((14, 14), np.float32)
edge = np.repeat(np.repeat([[0, 1]], 8, axis=1), 14, axis=0).astype(np.float32)


def by_torch(array, size, mode, antialias):
    return interpolate(torch.tensor(array)[None, None], (size, size), mode=mode, antialias=antialias)[0, 0].numpy()


def difference(first, second):
    return float(np.abs(first - second).max())


versions = f"torch {torch.__version__}, Pillow {PIL.__version__}, jax {jax.__version__}, OpenCV {cv2.__version__}"
print(f"{versions}: 14 x 14 numbers in 0..1, enlarged")
for size in (16, 28, 37):
    linear = [by_torch(grid, size, "bilinear", antialias) for antialias in (False, True)]
    plain, smooth = (by_torch(grid, size, "bicubic", antialias) for antialias in (False, True))
    pillow = np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))
    by_jax = jax.image.resize(grid, (size, size), "cubic")
    opencv = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    print(
        f"  to {size} x {size}: bilinear with and without antialias differ by {difference(*linear):.0e}, bicubic by "
        f"{difference(plain, smooth):.3f}; with it from Pillow by {difference(smooth, pillow):.0e} "
        f"and from jax by {difference(smooth, by_jax):.0e}, without it from OpenCV by {difference(plain, opencv):.0e}"
    )
    assert difference(*linear) < 1e-5 and difference(plain, smooth) > 0.03, "the behavior has changed"
    assert max(difference(smooth, pillow), difference(smooth, by_jax)) < 1e-4, "the behavior has changed"
    assert difference(plain, opencv) < 1e-4, "the behavior has changed"
overshoot = [float(by_torch(edge, 64, "bicubic", antialias).max()) - 1 for antialias in (False, True)]
print(f"  an edge from 0 to 1 overshoots by {overshoot[0]:.3f} without antialias, by {overshoot[1]:.3f} with it")
assert overshoot[0] > 0.1 and overshoot[1] < 0.08, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "torch==2.14.1" "numpy==2.4.6" "pillow==13.0.0" "opencv-python-headless==5.0.0.93" "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/enlarge.py"
