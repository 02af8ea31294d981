#!/usr/bin/env bash
# Expected: a function that counts labels drops a label of -1 ("ignored", "padding") or refuses it as numpy's bincount
# does.
# Actual: in jax 0.10.2, jnp.bincount counts -1 for class 0 and drops labels that are too large, jax.ops.segment_sum and
# jax.nn.one_hot drop both, and counts.at[labels].add counts -1 for the last class.
# Why it matters: batches of detection data are padded with such labels, so class 0 or the last class appears to be by
# far the most frequent one in class weights, confusion matrices and losses per class.
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
assert [counts.tolist() for counts in ways.values()] == told, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/count.py"
