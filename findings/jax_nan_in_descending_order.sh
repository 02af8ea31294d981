#!/usr/bin/env bash
# Expected: sorting in descending order puts NaN last, as np.argsort(-x) and jnp.argsort(-x) do.
# Actual: jnp.argsort(x, descending=True), jnp.sort(x, descending=True) and jax.lax.top_k of jax 0.10.2 put NaN before
# the largest number; jnp.argsort(-x) puts it last.
# Why it matters: one NaN among 100,000 scores becomes the best detection and, in non-maximum suppression, the first box
# that suppresses others. The two common ways to sort by descending score differ in this case only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/order.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

SCORES = np.array([0.25, np.nan, 0.75, -np.inf], np.float32)
orders = {
    "np.argsort(-x)": np.argsort(-SCORES, kind="stable"),
    "jnp.argsort(-x)": jnp.argsort(-jnp.asarray(SCORES)),
    "jnp.argsort(x, descending=True)": jnp.argsort(jnp.asarray(SCORES), descending=True),
    "jax.lax.top_k(x, 4)": jax.lax.top_k(jnp.asarray(SCORES), 4)[1],
}
print(f"jax {jax.__version__}, numpy {np.__version__}, scores {SCORES.tolist()}")
places = {}
for name, order in orders.items():
    print(f"  {name}: {SCORES[np.asarray(order)].tolist()}")
    places[name] = int(np.isnan(SCORES[np.asarray(order)]).argmax())
assert list(places.values()) == [3, 3, 0, 0], "the behavior has changed"
assert bool(jnp.isnan(jnp.sort(jnp.asarray(SCORES), descending=True)[0])), "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/order.py"
