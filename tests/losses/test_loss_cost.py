"""A train step with any loss on boxes costs at most 1 % more than with smooth L1.

With any classification loss of every entry by itself, it costs at most 3 % more than with focal.

What XLA counts of the loss alone, decoding and gradient with it, is a small part of the train step
of RetinaNet-R50 at 800x1344 with 8 images, as `python -m experiments.benchmark losses` counted it.
What each adds to the whole step says `python -m experiments.benchmark arms`.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax import losses

COUNTED = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results" / "loss_cost.json"
STEP = json.loads(COUNTED.read_text())["losses alone"]["baseline"]
PAIRS, CLASSES = 8 * 201_600, 80


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


def of_entries(name, logits, labels, ious):
    if name == "focal":
        return losses.sigmoid_focal_loss(logits, labels)
    if name == "ghm_c":
        return losses.ghm_c_loss(logits, labels)[0]
    formula = {
        "quality_focal": losses.quality_focal_loss,
        "varifocal": losses.varifocal_loss,
        "mal": losses.matchability_aware_loss,
        "ia_bce": losses.iou_aware_bce_loss,
    }[name]
    return formula(logits, labels, ious)


@functools.cache
def cost_of_entries(name):
    logits = jax.ShapeDtypeStruct((PAIRS, CLASSES), jnp.float32)
    labels, ious = (jax.ShapeDtypeStruct((PAIRS,), dtype) for dtype in (jnp.int32, jnp.float32))
    gradient = jax.jit(jax.value_and_grad(lambda *given: jnp.sum(of_entries(name, *given))))
    return gradient.lower(logits, labels, ious).compile().cost_analysis()


@pytest.mark.parametrize("name", ["quality_focal", "varifocal", "mal", "ia_bce", "ghm_c"])
def test_forward_and_backward_of_every_entry(name):
    cost, focal = cost_of_entries(name), cost_of_entries("focal")
    for key in ("flops", "bytes accessed"):
        assert focal[key] > 0
        assert cost[key] - focal[key] < 0.03 * STEP[key]
