#!/usr/bin/env bash
# Expected: boxes[jnp.arange(batch)[:, None], indices] costs the same as jnp.take_along_axis and as jax.vmap of
# boxes[indices], which pick the same boxes of each image.
# Actual: with the images spread over devices, jax 0.10.2 on CPUs adds up the picked boxes of the whole batch over all
# devices and, in the gradient, an array as large as all boxes. The other two ways communicate nothing.
# Why it matters: losses pick predictions by an assigner's indices. Every device then holds and sends the gradients of
# the whole batch's boxes, logits or features. The results are equal, and on one device there is no difference.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/pick.py" <<'PYTHON'
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

IMAGES, BOXES, PICKED = 16, 20_000, 100
# The axes of jax.make_mesh are explicit, which refuse such indices unless the sharding of the result is given.
sharding = NamedSharding(Mesh(np.array(jax.devices()), "data"), PartitionSpec("data"))
random = np.random.default_rng(0)
boxes = jax.device_put(random.random((IMAGES, BOXES, 4), np.float32), sharding)
indices = jax.device_put(random.integers(BOXES, size=(IMAGES, PICKED), dtype=np.int32), sharding)
WAYS = {
    "boxes[arange, indices]": lambda boxes, indices: boxes[jnp.arange(IMAGES)[:, None], indices],
    "take_along_axis": lambda boxes, indices: jnp.take_along_axis(boxes, indices[..., None], axis=1),
    "vmap of boxes[indices]": jax.vmap(lambda boxes, indices: boxes[indices]),
}


def summed(compiled):
    """Counts the numbers that all devices sum up, in the compiled program."""
    shapes = re.findall(r"= f32\[([\d,]+)\]\S* all-reduce\(", compiled.as_text())
    return sum(math.prod(map(int, shape.split(","))) for shape in shapes)


print(f"jax {jax.__version__}, {jax.device_count()} CPU devices, {IMAGES} images with {BOXES} boxes, {PICKED} picked")
found = {}
results = []
for name, pick in WAYS.items():
    forward = jax.jit(pick).lower(boxes, indices).compile()
    gradient = jax.jit(jax.grad(lambda *arrays, pick=pick: jnp.square(pick(*arrays)).sum())).lower(boxes, indices)
    gradient = gradient.compile()
    results.append((np.asarray(forward(boxes, indices)), np.asarray(gradient(boxes, indices))))
    found[name] = (summed(forward), summed(gradient))
    print(f"  {name}: {found[name][0]:,} numbers summed over the devices, {found[name][1]:,} with the gradient")
for picked, gradients in results[1:]:
    np.testing.assert_array_equal(picked, results[0][0])
    np.testing.assert_allclose(gradients, results[0][1], rtol=1e-6)
first, *others = found.values()
assert first[0] >= IMAGES * PICKED * 4 and first[1] >= IMAGES * BOXES * 4, "the behavior has changed"
assert set(others) == {(0, 0)}, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=8 "$folder/environment/bin/python" "$folder/pick.py"
