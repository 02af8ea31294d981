#!/usr/bin/env bash
# Expected: slicing boxes[..., 0] to boxes[..., 3] wherever needed costs no more than splitting once: XLA fuses slices.
# Actual: that holds for the value of a loss. In its gradient, every slice is as large as all boxes and zero but for
# one column. For the GIoU loss of decoded boxes, value and gradient access, by XLA's count, seven times as much memory
# as with jnp.split and need ten times as much temporary memory (jax 0.10.1 on a CPU), so they also take longer.
# Why it matters: most code for boxes is written with slices. For eight images of 800 x 1344 pixels, nine anchors per
# location, the loss of the boxes accesses gigabytes in each step instead of a third of one.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/slices.py" <<'PYTHON'
import time

import jax
import jax.numpy as jnp
import numpy as np

IMAGES, ANCHORS = 8, 201_600


def decoded_by_slices(offsets, anchors):
    """Centers and sides relative to the anchors, as corners."""
    widths, heights = anchors[..., 2] - anchors[..., 0], anchors[..., 3] - anchors[..., 1]
    x = (anchors[..., 0] + anchors[..., 2]) / 2 + offsets[..., 0] * widths
    y = (anchors[..., 1] + anchors[..., 3]) / 2 + offsets[..., 1] * heights
    widths, heights = widths * jnp.exp(offsets[..., 2]), heights * jnp.exp(offsets[..., 3])
    return jnp.stack([x - widths / 2, y - heights / 2, x + widths / 2, y + heights / 2], axis=-1)


def area_by_slices(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def loss_by_slices(offsets, anchors, targets):
    boxes = decoded_by_slices(offsets, anchors)
    widths = jnp.minimum(boxes[..., 2], targets[..., 2]) - jnp.maximum(boxes[..., 0], targets[..., 0])
    heights = jnp.minimum(boxes[..., 3], targets[..., 3]) - jnp.maximum(boxes[..., 1], targets[..., 1])
    intersection = jnp.maximum(widths, 0) * jnp.maximum(heights, 0)
    union = area_by_slices(boxes) + area_by_slices(targets) - intersection
    widths = jnp.maximum(boxes[..., 2], targets[..., 2]) - jnp.minimum(boxes[..., 0], targets[..., 0])
    heights = jnp.maximum(boxes[..., 3], targets[..., 3]) - jnp.minimum(boxes[..., 1], targets[..., 1])
    hull = widths * heights
    return jnp.mean(1 - intersection / union + (hull - union) / hull)


def columns(array):
    return [column[..., 0] for column in jnp.split(array, 4, axis=-1)]


def loss_by_split(offsets, anchors, targets):
    (left, top, right, bottom), (x, y, log_width, log_height) = columns(anchors), columns(offsets)
    widths, heights = right - left, bottom - top
    x, y = (left + right) / 2 + x * widths, (top + bottom) / 2 + y * heights
    widths, heights = widths * jnp.exp(log_width), heights * jnp.exp(log_height)
    boxes = jnp.stack([x - widths / 2, y - heights / 2, x + widths / 2, y + heights / 2], axis=-1)
    (x0, y0, x1, y1), (u0, v0, u1, v1) = columns(boxes), columns(targets)
    widths, heights = jnp.minimum(x1, u1) - jnp.maximum(x0, u0), jnp.minimum(y1, v1) - jnp.maximum(y0, v0)
    intersection = jnp.maximum(widths, 0) * jnp.maximum(heights, 0)
    union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - intersection
    hull = (jnp.maximum(x1, u1) - jnp.minimum(x0, u0)) * (jnp.maximum(y1, v1) - jnp.minimum(y0, v0))
    return jnp.mean(1 - intersection / union + (hull - union) / hull)


random = np.random.default_rng(0)
corners = random.random((IMAGES, ANCHORS, 2), np.float32)
anchors = np.concatenate([corners, corners + 0.1 + random.random(corners.shape, np.float32)], axis=-1)
offsets = 0.1 * random.standard_normal(anchors.shape, np.float32)
arguments = tuple(jnp.asarray(array) for array in (offsets, anchors, anchors + np.float32(0.03)))
print(f"jax {jax.__version__}, {IMAGES} x {ANCHORS:,} boxes")
found = {}
for name, loss in (("slices", loss_by_slices), ("split", loss_by_split)):
    value = jax.jit(loss).lower(*arguments).compile()
    both = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    result = both(*arguments)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(both(*arguments))
        times.append(time.perf_counter() - start)
    accessed = [compiled.cost_analysis()["bytes accessed"] / 1e9 for compiled in (value, both)]
    temporary = both.memory_analysis().temp_size_in_bytes / 1e6
    found[name] = (*accessed, temporary, result)
    print(
        f"  {name}: {accessed[0]:.2f} GB for the value, {accessed[1]:.2f} GB with the gradient, "
        f"{temporary:.0f} MB temporary, {min(times):.2f} s"
    )
slices, split = found["slices"], found["split"]
for one, other in zip(slices[3], split[3], strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-9)
assert slices[0] < 1.1 * split[0], "the behavior has changed"
assert 6 < slices[1] / split[1] < 8 and 8 < slices[2] / split[2] < 12, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.1" "jaxlib==0.10.1" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/slices.py"
