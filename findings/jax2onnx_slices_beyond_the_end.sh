#!/usr/bin/env bash
# Expected: a converted jax program computes what jax computes, also where jax limits a position to the array.
# Actual: jax.lax.dynamic_slice of 2 of 4 numbers at position 3 or 7 is the last 2 of them. Converted by jax2onnx 0.17,
# it has 1 number or none, and dynamic_index_in_dim makes onnxruntime raise an error. dynamic_update_slice is limited.
# Why it matters: a loop over boxes often looks one position past the last one before it ends (is another one left?).
# Such a detector converts and runs, until the first image in which every candidate is used.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/slices.py" <<'PYTHON'
import importlib.metadata

import jax
import jax.numpy as jnp
import jax2onnx
import numpy as np
import onnxruntime

NUMBERS = np.arange(4, dtype=np.float32)


def two_from(numbers, position):
    return jax.lax.dynamic_slice_in_dim(numbers, position, 2)


def two_replaced(numbers, position):
    return jax.lax.dynamic_update_slice_in_dim(numbers, jnp.full(2, 9, jnp.float32), position, 0)


def number_at(numbers, position):
    return jax.lax.dynamic_index_in_dim(numbers, position, keepdims=False)


def converted(function):
    """Returns a call of the converted function: its result, or the name of its error."""
    shapes = [jax.ShapeDtypeStruct((4,), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)]
    content = jax2onnx.to_onnx(function, shapes, model_name="slices").SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    numbers, position = (value.name for value in session.get_inputs())

    def call(at):
        try:
            return session.run(None, {numbers: NUMBERS, position: np.array(at, np.int32)})[0].tolist()
        except Exception as error:
            return type(error).__name__

    return call


print(" ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jax2onnx", "onnxruntime")))
found = {}
for function in (two_from, two_replaced, number_at):
    call = converted(function)
    for at in (1, 3, 7):
        found[function.__name__, at] = function(NUMBERS, at).tolist(), call(at)
        in_jax, in_onnx = found[function.__name__, at]
        print(f"  {function.__name__} at {at}: jax {in_jax}, ONNX {in_onnx}")
assert found["two_from", 3] == ([2, 3], [3]), "the behavior has changed"
assert found["two_from", 7] == ([2, 3], []), "the behavior has changed"
assert found["number_at", 7] == (3, "Fail"), "the behavior has changed"
agree = [("two_from", 1), ("number_at", 1), ("number_at", 3), *(("two_replaced", at) for at in (1, 3, 7))]
assert all(found[key][0] == found[key][1] for key in agree), "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.1" "jaxlib==0.10.1" "jax2onnx==0.17.1" "onnxruntime==1.32.0"
"$folder/environment/bin/python" "$folder/slices.py"
