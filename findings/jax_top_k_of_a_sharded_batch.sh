#!/usr/bin/env bash
# Expected: the top k of every row needs no other row: with the rows spread over devices, jax.lax.top_k works on each
# device's own rows, as jnp.argsort and jnp.argmax do.
# Actual: for jax 0.10.2 on CPUs, XLA first gathers all rows on every device, top_k runs over the whole batch there, and
# each device keeps its part of the result. jax.lax.approx_max_k with a recall of 1, and top_k in jax.shard_map, do not.
# Why it matters: detectors and assigners choose candidates by top_k from the scores of every anchor. Each added device
# then adds its rows to the work and memory of every device. The results are right; only the compiled program shows it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/rows.py" <<'PYTHON'
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

DEVICES, ROWS, COLUMNS, BEST = 8, 16, 20_000, 100
mesh = jax.make_mesh((DEVICES,), ("data",))
by_row = PartitionSpec("data")
values = np.random.default_rng(0).permutation(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.float32)
values = jax.device_put(values, NamedSharding(mesh, by_row))


def top_k(rows):
    return jax.lax.top_k(rows, BEST)[1]


WAYS = {
    "jax.lax.top_k": (top_k, True),
    "jax.vmap of jax.lax.top_k": (jax.vmap(top_k), True),
    "jax.lax.approx_max_k, recall 1": (lambda rows: jax.lax.approx_max_k(rows, BEST, recall_target=1.0)[1], False),
    "jnp.argsort": (lambda rows: jnp.argsort(rows, descending=True)[:, :BEST], False),
    "jnp.argmax": (lambda rows: jnp.argmax(rows, axis=-1, keepdims=True), False),
    "jax.shard_map of jax.lax.top_k": (jax.shard_map(top_k, mesh=mesh, in_specs=by_row, out_specs=by_row), False),
}
print(f"jax {jax.__version__}, {jax.device_count()} CPU devices with {ROWS // DEVICES} of {ROWS} rows each")
exact = np.argsort(-np.asarray(values), axis=-1)
gathers = {}
for name, (function, _) in WAYS.items():
    compiled = jax.jit(function).lower(values).compile()
    shapes = re.findall(r"= (\S+?)(?:\{\S*)? all-gather\(", compiled.as_text())
    result = compiled(values)
    print(f"  {name}: gathers {', '.join(shapes) or 'nothing'}; the result is sharded by {result.sharding.spec}")
    assert result.sharding.spec[0] == "data"
    np.testing.assert_array_equal(result, exact[:, : result.shape[1]])
    gathers[name] = f"f32[{ROWS},{COLUMNS}]" in shapes
assert gathers == {name: gathered for name, (_, gathered) in WAYS.items()}, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=8 "$folder/environment/bin/python" "$folder/rows.py"
