#!/usr/bin/env bash
# Expected: to accumulate gradients, a batch on several devices is reshaped to [microbatches, images, ...] and scanned.
# Each device computes its share of every microbatch, as many images in all as without accumulation.
# Actual: in jax 0.10.2 on CPUs, a microbatch lies on some of the devices: they send it to the others, and all compute
# it. With 8 devices and 8 microbatches, each device computes every image. After reshape(images, microbatches, ...) and
# swapaxes(0, 1), by which a microbatch has one image in eight, none is sent and each is computed once.
# Why it matters: accumulation is then as slow as one device. Gradients are correct, and one device shows nothing.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/scan.py" <<'PYTHON'
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

BATCH, SIDE, CHANNELS = 64, 32, 16
sharding = NamedSharding(Mesh(np.array(jax.devices()), "data"), PartitionSpec("data"))
random = np.random.default_rng(0)
images = jax.device_put(random.random((BATCH, SIDE, SIDE, 3), np.float32), sharding)
kernel = jnp.asarray(random.random((3, 3, 3, CHANNELS), np.float32))


def loss(kernel, images):
    axes = ("NHWC", "HWIO", "NHWC")
    return jnp.mean(jnp.tanh(jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=axes)))


def accumulated(kernel, microbatches):
    def step(total, microbatch):
        return total + jax.grad(loss)(kernel, microbatch), None

    return jax.lax.scan(step, jnp.zeros_like(kernel), microbatches)[0] / len(microbatches)


def in_order(images, count):
    return images.reshape(count, -1, *images.shape[1:])


def interleaved(images, count):
    return images.reshape(-1, count, *images.shape[1:]).swapaxes(0, 1)


print(f"jax {jax.__version__}, {BATCH} images on {jax.device_count()} CPU devices")
whole = np.asarray(jax.jit(jax.grad(loss))(kernel, images))
found = {}
for split in (in_order, interleaved):
    for count in (2, 4, 8):
        gradient = jax.jit(lambda kernel, images, split=split, count=count: accumulated(kernel, split(images, count)))
        compiled = gradient.lower(kernel, images).compile()
        text = compiled.as_text()
        (at_once,) = set(re.findall(rf"f32\[(\d+),{SIDE},{SIDE},{CHANNELS}\]\S* convolution\(", text))
        found[split, count] = (count * int(at_once), " all-gather(" in text)
        print(
            f"  {count} microbatches {split.__name__}: each device computes {found[split, count][0]} images, "
            f"{'gathers images' if found[split, count][1] else 'gathers none'}"
        )
        np.testing.assert_allclose(compiled(kernel, images), whole, rtol=1e-4)
share = BATCH // jax.device_count()
told = {(in_order, count): (share * count, True) for count in (2, 4, 8)}
told |= {(interleaved, count): (share, False) for count in (2, 4, 8)}
assert found == told, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=8 "$folder/environment/bin/python" "$folder/scan.py"
