#!/usr/bin/env bash
# Expected: the outputs of batch normalization in float32 have mean 0 and standard deviation 1 for any usual input.
# Actual: flax 0.12.8 computes the variance as E[x^2] - E[x]^2 (use_fast_variance=True, the default in Linen and NNX).
# For a mean of 300 and a standard deviation of .1 the difference loses all its digits, and the outputs have a standard
# deviation of about 19; with use_fast_variance=False it is 1. LayerNorm and GroupNorm have the same default.
# Why it matters: a thermal image in kelvin, or the depth of a flat wall, has such values. Nothing becomes NaN, and the
# training continues.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/variance.py" <<'PYTHON'
import flax
import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np

RANDOM = np.random.default_rng(0).standard_normal((4096, 8)).astype(np.float32)


def by_linen(x, **options):
    layer = flax.linen.BatchNorm(use_running_average=False, **options)
    variables = layer.init(jax.random.key(0), x)
    return layer.apply(variables, x, mutable=["batch_stats"])[0]


def by_nnx(x, **options):
    return flax.nnx.BatchNorm(x.shape[-1], rngs=flax.nnx.Rngs(0), **options)(x)


print("flax", flax.__version__)
for norm in (flax.linen.LayerNorm, flax.linen.GroupNorm):
    assert norm.use_fast_variance is True, "the behavior has changed"
deviations = {}
for mean, deviation in ((0, 1), (10, 1), (300, 0.1)):
    x = jnp.asarray(mean + deviation * RANDOM)
    for name, layer in (("linen", by_linen), ("nnx", by_nnx)):
        fast, exact = (float(layer(x, use_fast_variance=is_fast).std()) for is_fast in (True, False))
        default = float(layer(x).std())
        print(f"  {name}, input {mean} +- {deviation}: output deviation {default:.3f}, exact variance {exact:.3f}")
        assert default == fast and abs(exact - 1) < 0.01, "the behavior has changed"
        deviations[name, mean] = default
small = [value for (_, mean), value in deviations.items() if mean < 300]
assert all(abs(value - 1) < 0.01 for value in small), "the behavior has changed"
assert all(15 < deviations[name, 300] < 25 for name in ("linen", "nnx")), "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/variance.py"
