"""A train step with any loss on boxes costs at most 1 % more than with smooth L1.

What XLA counts of the loss alone, decoding and gradient with it, is a small part of the train step
of RetinaNet-R50 at 800x1344 with 8 images, as `python -m experiments.benchmark losses` counted it.
What each adds to the whole step says `python -m experiments.benchmark arms`.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax import losses

COUNTED = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results" / "loss_cost.json"
STEP = json.loads(COUNTED.read_text())["losses alone"]["baseline"]
PAIRS = 8 * 201_600


def of_loss(kind, deltas, anchors, targets):
    decoded = box_ops.decode(deltas, anchors)
    if kind == "nwd":
        return losses.normalized_wasserstein_distance(decoded, targets)
    if kind == "wiou_v3":
        return losses.wise_iou_loss(decoded, targets, 1.0)[0]
    size = {"image_size": (800, 1344)} if kind == "mpdiou" else {}
    return losses.iou_loss(decoded, targets, kind=kind, **size)


@pytest.mark.parametrize("kind", ["focal_eiou", "siou", "shape_iou", "wiou_v3", "nwd"])
def test_forward_and_backward(kind):
    boxes = jax.ShapeDtypeStruct((PAIRS, 4), jnp.float32)
    gradient = jax.jit(jax.grad(lambda *given: jnp.sum(of_loss(kind, *given))))
    cost = gradient.lower(boxes, boxes, boxes).compile().cost_analysis()
    assert 0 < cost["flops"] < 0.01 * STEP["flops"]
    assert 0 < cost["bytes accessed"] < 0.01 * STEP["bytes accessed"]
