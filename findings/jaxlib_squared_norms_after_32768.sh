#!/usr/bin/env bash
# Expected: jit only changes the rounding, so the squared norms of a mapped array differ from numpy's by about 1e-7.
# Actual: on a CPU, jaxlib 0.10.2 returns wrong values from the 32,769th row on, by up to .8 % and without a warning
# (here in float32; jax issue 39103 reports it for float64); 0.10.1 is right. The error only occurs if the product of
# a vmapped function is summed immediately: the same sum of x @ A + b is right.
# Why it matters: boxes and anchors are arrays of shape [n, 4] with n far above 32,768, and a training whose numbers are
# off by less than a percent still converges. Exclude this version, or test the computation at start.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/norms.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

COUNT = 40_000
first = np.arange(COUNT, dtype=np.float32)
points = np.stack([first, 0 * first, 0 * first], axis=1)
matrix, offset = jnp.eye(3, dtype=jnp.float32), jnp.zeros(3, jnp.float32)
right = first.astype(np.float64) ** 2


def told(name, values):
    error = np.abs(np.asarray(values, np.float64) - right) / np.maximum(right, 1)
    wrong = np.flatnonzero(error > 1e-5)
    where = f"from row {wrong[0]} on, largest error {error.max():.2%}" if len(wrong) else "none"
    print(f"jaxlib {jaxlib.__version__}, {name}: {len(wrong)} of {COUNT} rows wrong, {where}")
    return len(wrong)


by_row = jax.jit(jax.vmap(lambda point: jnp.sum((matrix @ point) ** 2)))
at_once = jax.jit(lambda points: jnp.sum((points @ matrix + offset) ** 2, axis=1))
wrong = told("vmap of sum((A @ x)^2)", by_row(points))
assert told("sum((X @ A + b)^2)", at_once(points)) == 0
expected = {"0.10.1": False, "0.10.2": True}[jaxlib.__version__]
assert (wrong > 0) == expected, "the behavior has changed"
PYTHON

for version in 0.10.1 0.10.2; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check \
    "jax==$version" "jaxlib==$version" "numpy==2.3.5" 2>/dev/null
  JAX_PLATFORMS=cpu "$folder/$version/bin/python" "$folder/norms.py"
done
