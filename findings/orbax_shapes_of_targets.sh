#!/usr/bin/env bash
# Expected: orbax refuses to restore an array into a target of another shape and names both shapes.
# Actual: orbax-checkpoint 0.12.8 does so if the target is a jax array or a ShapeDtypeStruct given to
# StandardCheckpointer. If it is a numpy array, or if a jax array is given to PyTreeCheckpointer, the array is returned
# in its stored shape without an error.
# Why it matters: a head of 80 classes is restored into a model with 20. The error arises steps later in a matrix
# product, or never, if the shape is only a number of anchors or classes that broadcasts.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/shapes.py" <<'PYTHON'
import importlib.metadata
import logging
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint

logging.disable(logging.CRITICAL)
path = sys.argv[1] + "/checkpoint"
with orbax.checkpoint.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, {"head": jnp.ones((80, 4))})


def by_standard(target):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, target)


def by_pytree(target):
    with orbax.checkpoint.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(path, args=orbax.checkpoint.args.PyTreeRestore(item=target))


TARGETS = {
    "StandardCheckpointer, jax array": (by_standard, jnp.zeros((20, 4))),
    "StandardCheckpointer, ShapeDtypeStruct": (by_standard, jax.ShapeDtypeStruct((20, 4), jnp.float32)),
    "StandardCheckpointer, numpy array": (by_standard, np.zeros((20, 4), np.float32)),
    "PyTreeCheckpointer, jax array": (by_pytree, jnp.zeros((20, 4))),
}
print(f"orbax-checkpoint {importlib.metadata.version('orbax-checkpoint')}: stored (80, 4), target (20, 4)")
is_refused = {}
for name, (restore, target) in TARGETS.items():
    try:
        shape = restore({"head": target})["head"].shape
        is_refused[name] = False
        print(f"  {name}: {shape}")
        assert shape == (80, 4), "the behavior has changed"
    except ValueError as error:
        is_refused[name] = True
        assert "80" in str(error) and "20" in str(error), "the behavior has changed"
        print(f"  {name}: {str(error).splitlines()[0][:90]}...")
assert list(is_refused.values()) == [True, True, False, False], "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "orbax-checkpoint==0.12.8" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" -W ignore "$folder/shapes.py" "$folder" 2>"$folder/errors" ||
  { cat "$folder/errors" >&2; exit 1; }
