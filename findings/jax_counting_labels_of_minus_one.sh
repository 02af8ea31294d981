#!/usr/bin/env bash
# One expects: a label of -1 ("ignored", "padding") is dropped by whatever counts labels, or refused as numpy's bincount
# does.
# What happens: in jax 0.10.2 jnp.bincount counts it for class 0 and drops what is too large, jax.ops.segment_sum and
# jax.nn.one_hot drop both, and counts.at[labels].add counts it for the last class.
# Why it matters: batches of detection data are padded with such labels, so class 0 or the last one seems to be by far
# the most frequent, in class weights, confusion matrices and per-class losses.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/count.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

CLASSES = 4
LABELS = jnp.array([0, 1, 2, 3, -1, -1, -1, -1, -1, 9])
ways = {
    "jnp.bincount": jnp.bincount(LABELS, length=CLASSES),
    "jax.ops.segment_sum": jax.ops.segment_sum(jnp.ones(len(LABELS), int), LABELS, CLASSES),
    "sum of jax.nn.one_hot": jax.nn.one_hot(LABELS, CLASSES, dtype=int).sum(0),
    ".at[labels].add(1)": jnp.zeros(CLASSES, int).at[LABELS].add(1),
}
print(f"jax {jax.__version__}, labels {LABELS.tolist()}")
for name, counts in ways.items():
    print(f"  {name}: {counts.tolist()}")
try:
    np.bincount(np.asarray(LABELS), minlength=CLASSES)
    raise SystemExit("numpy counts negative labels now")
except ValueError as error:
    print(f"  numpy {np.__version__}: {error}")
told = [[6, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 6]]
assert [counts.tolist() for counts in ways.values()] == told, "it behaves otherwise than told above"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6" 2>/dev/null
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/count.py"
