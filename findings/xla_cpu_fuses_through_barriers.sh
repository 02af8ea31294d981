#!/usr/bin/env bash
# Expected: jax.lax.optimization_barrier keeps XLA from moving work across it, so what precedes it is computed once.
# Actual: on a CPU (jaxlib 0.10.1) the barriers are removed before instructions are fused. A cheap chain of elementwise
# operations before a barrier is recomputed in each of the nine sums behind it, as it is without the barrier. XLA does
# not fuse into a loop (jax.lax.map): there, the chain is computed once.
# Why it matters: the gradient with respect to a depthwise kernel is k * k sums of products. The elementwise layers
# before it are recomputed in each sum, unless the sums are in a loop.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/barriers.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import jaxlib

SHIFTS = 9


def chain(x):
    """A cheap chain of operations, recognizable in a program by its clamp."""
    return jnp.clip(1.5 * x + 0.25, 0.0, 6.0)


def sums(y, gradient):
    rows = gradient.shape[0]
    return jnp.stack([jnp.sum(y[i : i + rows] * gradient, axis=0) for i in range(SHIFTS)])


def plain(x, gradient):
    return sums(chain(x), gradient)


def with_barrier(x, gradient):
    return sums(jax.lax.optimization_barrier(chain(x)), gradient)


def in_loop(x, gradient):
    y, rows = chain(x), gradient.shape[0]
    shifts = jnp.arange(SHIFTS)
    return jax.lax.map(
        lambda i: jnp.sum(jax.lax.dynamic_slice_in_dim(y, i, rows) * gradient, axis=0), shifts
    )


x, gradient = jnp.ones((64 + SHIFTS - 1, 32)), jnp.ones((64, 32))
clamps = {}
for function in (plain, with_barrier, in_loop):
    lowered = jax.jit(function).lower(x, gradient)
    clamps[function.__name__] = lowered.compile().as_text().count(" clamp(")
    barriers = lowered.as_text().count("optimization_barrier")
    print(
        f"jaxlib {jaxlib.__version__}, {function.__name__}: {barriers} barriers in the lowered program, "
        f"the chain is computed in {clamps[function.__name__]} places of the compiled one"
    )
expected = {"plain": SHIFTS, "with_barrier": SHIFTS, "in_loop": 1}
assert clamps == expected, f"the behavior has changed: {clamps}"
PYTHON

python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.1" "jaxlib==0.10.1" "numpy==2.3.5"
JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/barriers.py"
