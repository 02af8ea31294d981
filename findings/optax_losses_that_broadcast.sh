#!/usr/bin/env bash
# Expected: all losses of a library treat shapes alike: either all refuse predictions of shape [n, 1] with targets of
# shape [n], or all broadcast them.
# Actual: in optax 0.2.8 squared_error and l2_loss raise an error, but huber_loss, log_cosh, hinge_loss,
# sigmoid_binary_cross_entropy and sigmoid_focal_loss return an [n, n] matrix of every prediction with every target.
# Why it matters: smooth L1 and focal loss are the two losses of a detector. With the extra axis of a one-class head,
# each anchor is trained towards all targets at once: the loss is finite, falls, and ends at the mean.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/shapes.py" <<'PYTHON'
import jax.numpy as jnp
import optax

NAMES = {
    "squared_error": False,
    "l2_loss": False,
    "huber_loss": True,
    "log_cosh": True,
    "hinge_loss": True,
    "sigmoid_binary_cross_entropy": True,
    "sigmoid_focal_loss": True,
}
print(f"optax {optax.__version__}: predictions (5, 1), targets (5,)")
broadcasts = {}
for name in NAMES:
    try:
        shape = getattr(optax.losses, name)(jnp.zeros((5, 1)), jnp.zeros(5)).shape
        broadcasts[name] = True
        print(f"  {name}: a loss of shape {shape}")
        assert shape == (5, 5), "the behavior has changed"
    except ValueError as error:
        broadcasts[name] = False
        print(f"  {name}: {error}")
assert broadcasts == NAMES, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "optax==0.2.8" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/shapes.py"
