"""What the README shows runs as it stands there."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_the_losses_in_your_own_model():
    program = next(block for block in PROGRAMS if "losses" in block)
    anchors = jnp.array([[0.0, 0, 16, 16], [8, 8, 24, 24], [0, 0, 32, 32]])
    names = {
        "logits": jax.random.normal(jax.random.key(0), (3, 5)),
        "labels": jnp.array([2, -1, -2]),
        "deltas": 0.1 * jax.random.normal(jax.random.key(1), (3, 4)),
        "anchors": anchors,
        "matched_boxes": anchors + 1.0,
    }
    exec(program, names)
    assert np.isfinite(names["loss"])
    assert names["loss"] > 0
