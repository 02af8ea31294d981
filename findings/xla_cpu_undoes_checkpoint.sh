#!/usr/bin/env bash
# Expected: jax.checkpoint around each block of a network reduces the memory of its gradient on every device.
# Actual: on a CPU (jaxlib 0.10.2) eight unrolled blocks take as much memory with it as without it, and compute as
# many sines: XLA recognizes that the recomputation equals the forward pass and shares the results. In jax.lax.scan it
# works: 16 arrays of the input's size instead of 104.
# Why it matters: measurements on a CPU do not tell whether a model fits into memory, or which blocks to recompute. To
# train with larger images on a CPU, the blocks must be in a loop.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/memory.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import jaxlib

BLOCKS, DEPTH = 8, 6


def block(x, weight):
    for _ in range(DEPTH):
        x = jnp.sin(x * weight)
    return x


def unrolled(weights, x, function):
    for i in range(BLOCKS):
        x = function(x, weights[i])
    return jnp.sum(x)


def scanned(weights, x, function):
    return jnp.sum(jax.lax.scan(lambda x, weight: (function(x, weight), None), x, weights)[0])


weights, x = jnp.ones(BLOCKS), jnp.ones((4096, 256))
print(f"jaxlib {jaxlib.__version__}: temporary memory of the gradient, in arrays of the input's size")
sizes, sines = {}, {}
for network in (unrolled, scanned):
    for name, function in (("plain", block), ("jax.checkpoint", jax.checkpoint(block))):
        gradient = jax.jit(jax.grad(lambda w, x, n=network, f=function: n(w, x, f)))
        compiled = gradient.lower(weights, x).compile()
        memory = compiled.memory_analysis().temp_size_in_bytes
        sizes[network.__name__, name] = memory / x.nbytes
        sines[network.__name__, name] = compiled.as_text().count(" sine(")
        print(f"  {network.__name__}, {name}: {memory / x.nbytes:.1f}, sines {sines[network.__name__, name]}")
assert sizes["unrolled", "jax.checkpoint"] > 0.9 * sizes["unrolled", "plain"], "the behavior has changed"
assert sines["unrolled", "jax.checkpoint"] == sines["unrolled", "plain"], "the behavior has changed"
assert sizes["scanned", "jax.checkpoint"] < 0.3 * sizes["scanned", "plain"], "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/memory.py"
