"""The losses on boxes: numbers by hand, what moves them, finite everywhere, and descent."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax import losses

IMAGE = (3.0, 4.0)
KINDS = {
    "eiou": {},
    "focal_eiou": {},
    "siou": {},
    "mpdiou": {"image_size": IMAGE},
    "wiou_v1": {},
    "shape_iou": {"scale": 1.0},
    "piou": {},
    "piou2": {},
}


def wise(boxes, targets, version):
    return losses.wise_iou_loss(boxes, targets, 0.5, version=version)[0]


LOSSES = {
    **{
        kind: functools.partial(losses.iou_loss, kind=kind, **options)
        for kind, options in KINDS.items()
    },
    "inner and focaler": functools.partial(
        losses.iou_loss, kind="ciou", inner=0.7, focaler=(0.0, 0.95), power=0.5
    ),
    "inner": functools.partial(losses.iou_loss, kind="giou", inner=1.2),
    "shape_iou, .7": functools.partial(losses.iou_loss, kind="shape_iou", scale=0.7, theta=2.0),
    "wiou_v2": functools.partial(wise, version=2),
    "wiou_v3": functools.partial(wise, version=3),
    "nwd": losses.normalized_wasserstein_distance,
    "nwd without eps": functools.partial(losses.normalized_wasserstein_distance, eps=0.0),
    "iou-balanced": functools.partial(losses.iou_balanced_iou_loss, kind="siou", w_loc=3.0),
}


@jax.jit
def _compiled(boxes, targets):
    results = {}
    for name, loss in LOSSES.items():
        values, pull_back = jax.vjp(loss, boxes[name], targets)
        results[name] = values, pull_back(jnp.ones_like(values))
    return results


def of_each(boxes, targets):
    """Values and gradients by both arguments; every test has 24 pairs, so that it compiles once.

    Args:
      boxes: `[24, 4]`, or name -> those of each loss.
      targets: `[24, 4]`.
    """
    if not isinstance(boxes, dict):
        boxes = dict.fromkeys(LOSSES, boxes)
    return jax.device_get(_compiled(boxes, targets))


def of_all(boxes, targets):
    return {name: values for name, (values, _) in of_each(boxes, targets).items()}


# ------------------------------------------------------------------ by hand

# Overlap 2 x 2 of areas 8 and 8: IoU 4 / 12. Hull 4 x 4, c^2 = 32; centers (2, 1) and (2, 2).
BOX, TARGET = np.array([0.0, 0.0, 4.0, 2.0], "f4"), np.array([1.0, 0.0, 3.0, 4.0], "f4")
EIOU = 2 / 3 + 1 / 32 + (2 / 4) ** 2 + (2 / 4) ** 2
SHAPE = 2 * (1 - math.exp(-2 / 4)) ** 4
# Edges 1, 1 apart in x, over 2, and 0, 2 in y, over 4.
P = (2 / 2 + 2 / 4) / 4
U = 1.3 * math.exp(-P)
PIOU = 2 - 1 / 3 - math.exp(-(P**2))
BY_HAND = {
    "eiou": EIOU,
    "focal_eiou": math.sqrt(1 / 3) * EIOU,
    # The centers lie above each other: L = 0.
    "siou": 2 / 3 + (1 - math.exp(-2 * (1 / 4) ** 2) + SHAPE) / 2,
    # Corners 1 and sqrt 5 apart, the image's diagonal is 5.
    "mpdiou": 2 / 3 + 1 / 25 + 5 / 25,
    "wiou_v1": math.exp(1 / 32) * 2 / 3,
    # ww = 2 * 2 / 6, hh = 2 * 4 / 6.
    "shape_iou": 2 / 3
    + (2 / 3) / 32
    + ((1 - math.exp(-4 / 3 * 2 / 4)) ** 4 + (1 - math.exp(-2 / 3 * 2 / 4)) ** 4) / 2,
    "piou": PIOU,
    "piou2": 3 * U * math.exp(-(U**2)) * PIOU,
    # W^2 = 1 + (2^2 + 2^2) / 4.
    "nwd without eps": 1 - math.exp(-math.sqrt(3) / 12.8),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    np.testing.assert_allclose(LOSSES[name](BOX, TARGET), BY_HAND[name], rtol=1e-6)


def test_siou_of_an_oblique_offset():
    # dx 3, dy 4, L = 2 * 12 / 25; hull 5 x 6; one shape.
    first, second = np.array([0, 0, 2, 2]), np.array([3, 4, 5, 6])
    cost = 2 - math.exp(-1.04 * (3 / 5) ** 2) - math.exp(-1.04 * (4 / 6) ** 2)
    loss = losses.iou_loss(first, second, kind="siou")
    np.testing.assert_allclose(loss, 1 + cost / 2, rtol=1e-6)


def test_inner_and_focaler_by_hand():
    # Halves: 2 x 1 and 1 x 2 about the same centers meet in 1 x .5 of 3.5.
    np.testing.assert_allclose(losses.iou_loss(BOX, TARGET, inner=0.5), 6 / 7, rtol=1e-6)
    found = losses.iou_loss(BOX, TARGET, focaler=(0.1, 0.6))
    np.testing.assert_allclose(found, 1 - (1 / 3 - 0.1) / 0.5, rtol=1e-6)
    # DIoU's penalty is that of the boxes as they are.
    found = losses.iou_loss(BOX, TARGET, kind="diou", inner=0.5, focaler=(0.0, 0.5))
    np.testing.assert_allclose(found, 1 - 2 / 7 + 1 / 32, rtol=1e-6)


def test_iou_balanced():
    found = losses.iou_balanced_iou_loss(BOX, TARGET, kind="eiou", lambda_=2.0, w_loc=3.0)
    np.testing.assert_allclose(found, 3 / 9 * EIOU, rtol=1e-6)


def test_an_image_size_of_each_box():
    sizes = np.array([[3, 4], [6, 8]])
    pair = np.stack([BOX, BOX]), np.stack([TARGET, TARGET])
    found = losses.iou_loss(*pair, kind="mpdiou", image_size=sizes)
    np.testing.assert_allclose(found, [2 / 3 + 6 / 25, 2 / 3 + 6 / 100], rtol=1e-6)


# ------------------------------------------------------------------ what moves them


def some_boxes(random, number=24):
    corners = random.uniform(0, 40, (number, 2))
    sides = np.exp(random.uniform(0, 3.5, (number, 2)))
    return np.concatenate([corners, corners + sides], axis=-1).astype("f4")


NOT_OF_SHARES = ("mpdiou", "nwd", "nwd without eps")


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_invariances(seed):
    random = np.random.default_rng(seed)
    boxes, targets = some_boxes(random), some_boxes(random)
    before = of_all(boxes, targets)
    shift = random.uniform(-50, 50, 2).astype("f4")[[0, 1, 0, 1]]
    mirror = np.array([-1, 1, -1, 1])
    scale = np.float32(random.uniform(0.2, 5))
    changes = {
        "moved": (boxes + shift, targets + shift),
        "transposed": (boxes[:, [1, 0, 3, 2]], targets[:, [1, 0, 3, 2]]),
        "mirrored": (boxes[:, [2, 1, 0, 3]] * mirror, targets[:, [2, 1, 0, 3]] * mirror),
        "scaled": (boxes * scale, targets * scale),
    }
    for change, pair in changes.items():
        after = of_all(*(each.astype("f4") for each in pair))
        for name in LOSSES:
            if change != "scaled" or name not in NOT_OF_SHARES:
                np.testing.assert_allclose(
                    after[name], before[name], rtol=2e-4, atol=2e-5, err_msg=f"{name}, {change}"
                )


def test_a_box_that_is_its_target():
    boxes = some_boxes(np.random.default_rng(0))
    for name, (values, (gradient, _)) in of_each(boxes, boxes).items():
        assert np.all(np.abs(values) <= (3e-5 if name == "nwd" else 1e-6)), name
        if name.startswith("nwd"):
            np.testing.assert_array_equal(gradient, 0.0)


# ------------------------------------------------------------------ finite everywhere


@st.composite
def extreme_pairs(draw):
    """Equal, apart, touching, without area, turned over, tiny, huge; in one shape."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = 10.0 ** draw(st.sampled_from([-30, -8, -3, 0, 2, 6, 8, 38]))
    boxes = random.normal(size=(24, 4)) * size
    kind = draw(st.sampled_from(["any", "ordered", "points", "lines", "whole numbers"]))
    if kind == "ordered":
        boxes[:, 2:] = boxes[:, :2] + np.abs(boxes[:, 2:])
    elif kind == "points":
        boxes[:, 2:] = boxes[:, :2]
    elif kind == "lines":
        boxes[:, 2] = boxes[:, 0]
    elif kind == "whole numbers":
        boxes = np.round(random.uniform(0, 4, (24, 4)))
    targets = np.roll(boxes, 1, axis=0)
    targets[:8] = boxes[:8]
    targets[8:12] = boxes[8:12] * random.uniform(0.999, 1.001, (4, 1))
    targets[12:16] = boxes[12:16, [2, 1, 2, 3]] + [0, 0, size, 0]
    if draw(st.booleans()):
        targets = some_boxes(random)
    limit = 3e38
    return tuple(np.clip(each, -limit, limit).astype("f4") for each in (boxes, targets))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(pairs=extreme_pairs())
def test_finite_values_and_gradients(pairs):
    for name, (values, gradients) in of_each(*pairs).items():
        if name != "mpdiou":  # of an image of 3 x 4 pixels: as large as it comes
            assert np.all((values >= -1e-5) & (values < 30)), name
        assert np.isfinite(values).all(), name
        assert all(np.isfinite(gradient).all() for gradient in gradients), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32", "uint8"])
def test_computed_in_float32(dtype):
    boxes = jax.ShapeDtypeStruct((5, 4), dtype)
    for name, loss in LOSSES.items():
        shape = jax.eval_shape(loss, boxes, boxes)
        assert (shape.dtype, shape.shape) == (jnp.float32, (5,)), name


# ------------------------------------------------------------------ descent


def test_fifty_steps_lower_each_loss_and_raise_the_iou():
    random = np.random.default_rng(1)
    targets = some_boxes(random)
    sides = np.maximum(targets[:, 2:] - targets[:, :2], 4.0)
    targets[:, 2:] = targets[:, :2] + sides
    start = targets + 0.25 * np.tile(sides, 2) * random.uniform(-1, 1, targets.shape)
    # As a head learns them: in units of the box's sides.
    start, unit = start.astype("f4"), np.tile(sides, 2).astype("f4")

    deltas = dict.fromkeys(LOSSES, np.zeros_like(start))
    found = []
    for _ in range(51):
        boxes = {name: start + unit * delta for name, delta in deltas.items()}
        found.append(of_each(boxes, targets))
        for name, (_, (gradient, _)) in found[-1].items():
            by_delta = gradient * unit
            norm = np.linalg.norm(by_delta, axis=-1, keepdims=True)
            deltas[name] = deltas[name] - np.float32(0.01) * by_delta / np.maximum(norm, 1e-3)

    before = float(jnp.mean(box_ops.aligned_iou(start, targets)))
    assert 0.5 < before < 0.8
    for name in LOSSES:
        first, last = (float(np.sum(step[name][0])) for step in (found[0], found[-1]))
        assert last < 0.6 * first or name == "iou-balanced", name
        iou = float(jnp.mean(box_ops.aligned_iou(boxes[name], targets)))
        assert iou > before + 0.1, name
