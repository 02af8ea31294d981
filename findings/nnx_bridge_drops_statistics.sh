#!/usr/bin/env bash
# Expected: a Linen module in training mode does not lose new batch statistics silently: `apply` without
# mutable=["batch_stats"] raises ModifyScopeVariableError.
# Actual: an NNX module converted to Linen by flax.nnx.bridge.to_linen (flax 0.12.8) raises nothing. It returns the
# outputs of a training step and drops the statistics.
# Why it matters: a detector with NNX layers in a Linen trainer that omits `mutable` trains well but is evaluated with
# the initial mean 0 and variance 1: the loss falls, and the AP stays near 0.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/bridge.py" <<'PYTHON'
import flax
import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np

x = jnp.asarray(np.random.default_rng(0).normal(5, 2, (64, 3)), jnp.float32)
layers = {
    "flax.linen.BatchNorm": flax.linen.BatchNorm(use_running_average=False, momentum=0.5),
    "to_linen(flax.nnx.BatchNorm)": flax.nnx.bridge.to_linen(flax.nnx.BatchNorm, 3, momentum=0.5),
}
print("flax", flax.__version__)
raises = {}
for name, layer in layers.items():
    variables = layer.init(jax.random.key(0), x)
    outputs, updates = layer.apply(variables, x, mutable=["batch_stats"])
    before, after = (float(jax.tree.leaves(v["batch_stats"])[0].sum()) for v in (variables, updates))
    print(f"  {name}: with mutable the sum of the running means goes from {before:.2f} to {after:.2f}")
    assert after != before, "the behavior has changed"
    try:
        silent = layer.apply(variables, x)
        raises[name] = False
        assert jnp.allclose(silent, outputs, atol=1e-5), "the behavior has changed"
        print("    without: same outputs as in training, no error")
    except flax.errors.ModifyScopeVariableError as error:
        raises[name] = True
        print(f"    without: {type(error).__name__}")
assert list(raises.values()) == [True, False], "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/bridge.py"
