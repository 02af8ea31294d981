#!/usr/bin/env bash
# Expected: the gradient of |x| at 0 is 0, like jnp.sign(0), and the gradient of a clipped value is either 0 or 1.
# Actual: jax 0.10.2 returns 1 for jax.grad(jnp.abs)(0.), for arrays of zeros too, and 1 for jax.nn.leaky_relu. The
# gradient of jnp.clip is .5 at either bound, that of jax.nn.relu6 at 6 is 0.
# Why it matters: an L1 loss keeps pushing a coordinate that is already exact in one direction, and boxes clipped to the
# image have half a gradient at its border, where many annotated boxes end.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/gradients.py" <<'PYTHON'
import jax
import jax.numpy as jnp

FUNCTIONS = {
    "jnp.abs at 0": (jnp.abs, 0.0, 1.0),
    "jnp.abs at -0.": (jnp.abs, -0.0, 1.0),
    "mean of abs(a - b) at a = b": (lambda x: jnp.mean(jnp.abs(x * jnp.ones(4) - 2.0)), 2.0, 1.0),
    "sign(x) * x at 0": (lambda x: jnp.sign(x) * x, 0.0, 0.0),
    "jnp.clip(x, 0, 1) at 0": (lambda x: jnp.clip(x, 0.0, 1.0), 0.0, 0.5),
    "jnp.clip(x, 0, 1) at 1": (lambda x: jnp.clip(x, 0.0, 1.0), 1.0, 0.5),
    "jax.nn.relu at 0": (jax.nn.relu, 0.0, 0.0),
    "jax.nn.leaky_relu at 0": (jax.nn.leaky_relu, 0.0, 1.0),
    "jax.nn.relu6 at 6": (jax.nn.relu6, 6.0, 0.0),
}
print("jax", jax.__version__)
found = {}
for name, (function, at, _) in FUNCTIONS.items():
    found[name] = float(jax.grad(function)(at))
    print(f"  gradient of {name}: {found[name]}")
assert found == {name: told for name, (_, _, told) in FUNCTIONS.items()}, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/gradients.py"
