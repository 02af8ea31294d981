"""Values and gradients against published code, in float64 (tests/golden/README.md)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax import losses

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
# The authors add this to the denominator of the normalizer.
EPS = 1e-6


def load(case: str) -> tuple[dict, float, dict]:
    """Returns the inputs, the value and the gradients of a case."""
    inputs, gradients, value = {}, {}, np.nan
    for name in ("author_losses.npz", "peer_losses.npz"):
        with np.load(GOLDEN / name) as file:
            for key in file.files:
                key_case, kind, *rest = key.split("|")
                if key_case != case:
                    continue
                array = file[key] if file[key].ndim else file[key].item()
                if kind == "value":
                    value = array
                else:
                    {"in": inputs, "grad": gradients}[kind][rest[0]] = array
    assert inputs, case
    return inputs, value, gradients


def labels_of(x: dict) -> jax.Array:
    """Our labels: an ignored anchor of the authors' is -2."""
    labels = np.where(x["ignore"], -2, x["labels"]) if "ignore" in x else x["labels"]
    return jnp.asarray(labels.astype(np.int32))


def sigmoid_focal(x):
    loss = losses.sigmoid_focal_loss(x["logits"], labels_of(x), alpha=x["alpha"], gamma=x["gamma"])
    return jnp.sum(loss)


def iou_balanced_sigmoid_focal(x):
    loss = losses.iou_balanced_sigmoid_focal_loss(
        x["logits"],
        labels_of(x),
        x["iou"],
        eta=x["eta"],
        alpha=x["alpha"],
        gamma=x["gamma"],
        eps=EPS,
    )
    return jnp.sum(loss)


def retinanet_levels(x):
    """normalizer_scope='level': the same loss, level by level."""
    total, first = 0.0, 0
    for size in x["level_sizes"]:
        level = slice(first, first + int(size))
        per_anchor = {name: x[name][level] for name in ("logits", "labels", "iou")}
        total = total + iou_balanced_sigmoid_focal({**x, **per_anchor})
        first += int(size)
    return total


def iou_balanced_cross_entropy(x):
    loss = losses.iou_balanced_softmax_cross_entropy(
        x["logits"], labels_of(x) - 1, x["iou"], eta=x["eta"], eps=EPS
    )
    return jnp.sum(loss)


def ssd_classification(x):
    labels = labels_of(x) - 1
    plain = losses.softmax_cross_entropy(x["logits"], labels)
    loss = losses.iou_balanced_softmax_cross_entropy(
        x["logits"], labels, x["iou"], eta=x["eta"], eps=EPS
    )
    negatives = losses.hard_negative_mask(plain, labels, ratio=x["neg_pos_ratio"])
    return jnp.sum(jnp.where((labels >= 0) | negatives, loss, 0.0))


def iou_balanced_smooth_l1(x):
    loss = losses.iou_balanced_smooth_l1_loss(
        x["pred"], x["target"], x["iou"], lambda_=x["lam"], beta=x["beta"]
    )
    return jnp.sum(loss * x["positive"][:, None].astype(np.float64))


def balanced_l1(x):
    loss = losses.balanced_l1_loss(
        x["pred"], x["target"], alpha=x["alpha"], gamma=x["gamma"], beta=x["beta"]
    )
    return jnp.sum(loss * x["positive"][:, None].astype(np.float64))


def quality_focal(x):
    loss = losses.quality_focal_loss(x["logits"], labels_of(x), x["iou"], beta=x["beta"])
    return jnp.sum(loss)


def varifocal(x):
    loss = losses.varifocal_loss(
        x["logits"], labels_of(x), x["iou"], alpha=x["alpha"], gamma=x["gamma"]
    )
    return jnp.sum(loss)


def carl_smooth_l1(x):
    labels = labels_of(x)
    positive = labels >= 0
    scores = jax.nn.sigmoid(x["logits"])
    matched = jnp.take_along_axis(scores, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    weights = losses.carl_weights(matched, positive, k=x["k"], bias=x["bias"])
    loss = losses.smooth_l1_loss(x["pred"], x["target"], beta=x["beta"])
    return jnp.sum(jnp.where(positive, jnp.sum(loss, axis=-1) * weights, 0.0))


def iou_loss_of_kind(kind):
    return lambda x: jnp.sum(losses.iou_loss(x["pred"], x["target"], kind=kind))


CASES = {
    "sigmoid_focal/0": sigmoid_focal,
    "sigmoid_focal/5": sigmoid_focal,
    "iou_balanced_sigmoid_focal/0": iou_balanced_sigmoid_focal,
    "iou_balanced_sigmoid_focal/5": iou_balanced_sigmoid_focal,
    "retinanet_levels/0": retinanet_levels,
    "iou_balanced_cross_entropy/0": iou_balanced_cross_entropy,
    "ssd_classification/0": ssd_classification,
    "iou_balanced_smooth_l1/0": iou_balanced_smooth_l1,
    "balanced_l1/0": balanced_l1,
    "quality_focal/0": quality_focal,
    "varifocal/0": varifocal,
    "carl_smooth_l1/0": carl_smooth_l1,
    "giou/0": iou_loss_of_kind("giou"),
    "diou/0": iou_loss_of_kind("diou"),
    "ciou/0": iou_loss_of_kind("ciou"),
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients(case):
    inputs, expected_value, expected_gradients = load(case)
    normalizer = float(inputs.get("normalizer", 1.0))
    assert expected_gradients

    def loss(differentiable):
        return CASES[case]({**inputs, **differentiable}) / normalizer

    with jax.enable_x64(True):
        differentiable = {name: jnp.asarray(inputs[name]) for name in expected_gradients}
        value, gradients = jax.jit(jax.value_and_grad(loss))(differentiable)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    for name, expected in expected_gradients.items():
        # The absolute tolerance is for entries that are 0 but for rounding.
        absolute = 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-6, atol=absolute)


def test_every_case_of_a_loss_is_compared():
    names = set()
    for name in ("author_losses.npz", "peer_losses.npz"):
        with np.load(GOLDEN / name) as file:
            names |= {key.split("|")[0] for key in file.files}
    # Compared below, and with the non-maximum suppression.
    assert names - set(CASES) == {"box_iou/0", "legacy_codec/0", "batched_nms/0"}


def test_box_iou():
    inputs, _, expected = load("box_iou/0")
    with jax.enable_x64(True):
        pairs = box_ops.pairwise_iou(inputs["a"], inputs["b"])
        aligned = box_ops.aligned_iou(inputs["a"], inputs["b"])
    np.testing.assert_allclose(pairs, expected["iou"], rtol=1e-6)
    np.testing.assert_allclose(aligned, np.diagonal(expected["iou"]), rtol=1e-6)


def test_legacy_codec_has_inclusive_edges():
    """The authors' boxes include their last pixel: ours are those with 1 added to two edges."""
    inputs, _, expected = load("legacy_codec/0")
    exclusive = np.array([0.0, 0.0, 1.0, 1.0])
    with jax.enable_x64(True):
        anchors, boxes = inputs["anchors"] + exclusive, inputs["boxes"] + exclusive
        deltas = box_ops.encode(boxes, anchors)
        iou = box_ops.aligned_iou(boxes, anchors)
        unshifted = np.asarray(box_ops.aligned_iou(inputs["boxes"], inputs["anchors"]))
    # The authors' encoder rounds its boxes to float32.
    np.testing.assert_allclose(deltas, expected["deltas"], atol=3e-6)
    np.testing.assert_allclose(iou, expected["iou"], atol=1e-6)
    assert np.abs(unshifted - expected["iou"]).max() > 1e-3
