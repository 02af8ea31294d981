#!/usr/bin/env bash
# Expected: jnp.cumsum promotes small integers, as jnp.sum and numpy's cumsum do.
# Actual: jnp.cumsum of uint8, int8 and int16 keeps that type and wraps around at its end (jax 0.10.2): the running sum
# of 300 ones in uint8 ends at 44, while jnp.sum returns 300. Booleans are counted in int32.
# Why it matters: masks, labels and images are uint8. Object numbers in a batch, run lengths, offsets and integral
# images computed by cumsum are right in tests with a few items and wrong beyond the largest number of the type.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/sums.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

COUNT = 300
print(f"jax {jax.__version__}, numpy {np.__version__}: sum and end of the running sum of {COUNT} ones")
found = {}
for dtype in (bool, np.uint8, np.int8, np.int16):
    ones = np.ones(COUNT, dtype)
    running = jnp.cumsum(jnp.asarray(ones))
    name = np.dtype(dtype).name
    found[name] = (str(running.dtype), int(running[-1]))
    print(
        f"  {name}: jnp.sum {int(jnp.sum(jnp.asarray(ones)))}, jnp.cumsum {int(running[-1])} in {running.dtype}, "
        f"np.cumsum {int(np.cumsum(ones)[-1])} in {np.cumsum(ones).dtype}"
    )
    assert int(jnp.sum(jnp.asarray(ones))) == int(np.cumsum(ones)[-1]) == COUNT, "the behavior has changed"
told = {"bool": ("int32", 300), "uint8": ("uint8", 44), "int8": ("int8", 44), "int16": ("int16", 300)}
assert found == told, "the behavior has changed"
assert int(jnp.cumsum(jnp.ones(40_000, jnp.int16))[-1]) < 0, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/sums.py"
