import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax import losses

FIRST = np.array([0.0, 0.0, 2.0, 2.0], np.float32)
SECOND = np.array([1.0, 0.0, 3.0, 2.0], np.float32)
# Overlap 1 x 2, union 4 + 4 - 2.
IOU = 1 / 3
# Centers 1 apart, hull 3 x 2; one shape.
PENALTY = {"iou": 0.0, "giou": 0.0, "diou": 1 / 13, "ciou": 1 / 13}


def test_smooth_l1_loss():
    pred = jnp.array([0.0, 0.2, -0.5, 3.0])
    # beta 0.5: 0.5 d^2 / 0.5 below it, d - 0.25 from it on.
    expected = [0.0, 0.04, 0.25, 2.75]
    loss = losses.smooth_l1_loss(pred, jnp.zeros(4), beta=0.5)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_smooth_l1_loss_with_beta_0_is_l1():
    pred = jnp.array([0.0, 1e-20, -2.0, 3.0])

    def loss(pred):
        return losses.smooth_l1_loss(pred, jnp.zeros(4), beta=0.0)

    np.testing.assert_allclose(loss(pred), jnp.abs(pred), rtol=1e-6)
    gradient = jax.grad(lambda pred: jnp.sum(loss(pred)))(pred)
    np.testing.assert_array_equal(gradient, [0.0, 1.0, -1.0, 1.0])


def test_balanced_l1_loss():
    pred = jnp.array([0.0, 0.5, -1.0, 3.0])
    # b = e^3 - 1; below 1: 0.5 / b (b d + 1) ln(b d + 1) - 0.5 d; above: 1.5 d + 1.5 / b - 0.5.
    b = math.exp(3) - 1
    inlier = 0.5 / b * (b * 0.5 + 1) * math.log(b * 0.5 + 1) - 0.25
    expected = [0.0, inlier, 1.5 + 1.5 / b - 0.5, 4.5 + 1.5 / b - 0.5]
    np.testing.assert_allclose(losses.balanced_l1_loss(pred, jnp.zeros(4)), expected, rtol=1e-5)


def test_balanced_l1_loss_pieces_meet_at_beta_1():
    pred = jnp.array([1 - 1e-6, 1 + 1e-6])
    below, above = losses.balanced_l1_loss(pred, jnp.zeros(2))
    np.testing.assert_allclose(below, above, atol=1e-5)


@pytest.mark.parametrize("kind", PENALTY)
@pytest.mark.parametrize("power", [1, 1.0, 2.0, 3.0, 0.5])
def test_iou_loss(kind, power):
    loss = losses.iou_loss(FIRST, SECOND, kind=kind, power=power)
    expected = 1 - IOU**power + PENALTY[kind] ** power
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_iou_loss_with_power_1_is_one_minus_the_iou():
    other = np.array([0.5, 0.5, 3.0, 1.0], np.float32)
    for kind, iou in (
        ("giou", box_ops.generalized_iou),
        ("diou", box_ops.distance_iou),
        ("ciou", box_ops.complete_iou),
    ):
        loss = losses.iou_loss(FIRST, other, kind=kind)
        np.testing.assert_allclose(loss, 1 - iou(FIRST, other), rtol=1e-6)


def test_iou_loss_names_the_kinds_it_knows():
    with pytest.raises(ValueError, match=r"iou, giou, diou, ciou, eiou, .*, not 'uiou'"):
        losses.iou_loss(FIRST, SECOND, kind="uiou")


@pytest.mark.parametrize("kind", PENALTY)
def test_iou_loss_of_extreme_boxes_has_finite_gradients(kind):
    boxes = jnp.array(
        [
            [0.0, 0.0, 2.0, 2.0],  # coincident
            [5.0, 5.0, 7.0, 9.0],  # apart
            [2.0, 0.0, 4.0, 2.0],  # touching
            [1.0, 1.0, 1.0, 1.0],  # a point
            [2.0, 2.0, 0.0, 0.0],  # inverted
            [-1e6, -1e6, 1e6, 1e6],
            [1e30, 1e30, 3e30, 2e30],  # of a training that diverges
        ]
    )

    def total(boxes):
        target = jnp.broadcast_to(jnp.asarray(FIRST), boxes.shape)
        powers = (1.0, 3.0, 0.5)
        return sum(jnp.sum(losses.iou_loss(boxes, target, kind=kind, power=p)) for p in powers)

    value, gradient = jax.jit(jax.value_and_grad(total))(boxes)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", PENALTY)
def test_iou_loss_of_any_boxes_is_small_with_finite_gradients(kind):
    """Turned over, without area, tiny and beyond what float32 can square; both arguments."""
    random = np.random.default_rng(0)

    def draw():
        boxes = random.choice([-1, 1], (2000, 4)) * 10 ** random.uniform(-30, 38.5, (2000, 4))
        boxes[:800] = random.normal(size=(800, 4)) * 10 ** random.uniform(-8, 38, (800, 1))
        boxes[:200, 2:] = boxes[:200, :2]
        return np.clip(boxes, -3e38, 3e38).astype(np.float32)

    boxes, targets = draw(), draw()
    targets[400:800] = boxes[400:800] * random.uniform(0.9, 1.1, (400, 1))

    def loss(boxes, targets):
        powers = (0.1, 1.0, 3.0)
        values = jnp.stack([losses.iou_loss(boxes, targets, kind=kind, power=p) for p in powers])
        return jnp.sum(values), values

    by_both = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    gradients, values = by_both(boxes, targets)
    # 1 - IoU and two penalties, each in 0..1 but for rounding.
    assert np.all((values >= 0) & (values <= 3.0001))
    assert np.isfinite(gradients).all()


def test_loss_of_a_box_that_is_turned_over():
    # Corners x 3 and 1, y 0 and 2: no area. Centers (2, 1) and (5, 1); hull 1..6 by 0..2, so the
    # penalty of DIoU is 9 / (25 + 4); GIoU's hull of 10 has 4 covered.
    boxes, target = jnp.array([3.0, 0.0, 1.0, 2.0]), jnp.array([4.0, 0.0, 6.0, 2.0])
    np.testing.assert_allclose(losses.iou_loss(boxes, target, kind="diou"), 1 + 9 / 29, rtol=1e-6)
    np.testing.assert_allclose(losses.iou_loss(boxes, target, kind="giou"), 1 + 6 / 10, rtol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda pred: losses.smooth_l1_loss(pred, jnp.zeros_like(pred), beta=0.11),
        lambda pred: losses.smooth_l1_loss(pred, jnp.zeros_like(pred), beta=0.0),
        lambda pred: losses.balanced_l1_loss(pred, jnp.zeros_like(pred)),
    ],
)
def test_huge_deltas_have_finite_losses_and_gradients(loss):
    value_and_gradient = jax.jit(jax.value_and_grad(lambda pred: jnp.sum(loss(pred))))
    value, gradient = value_and_gradient(jnp.array([1e30, -1e30, 0.0, 1e-30]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    # Their sum is beyond float32, their gradients are not.
    _, gradient = value_and_gradient(jnp.array([3e38, -3e38, 3e38, -1.0]))
    assert np.isfinite(gradient).all()


def test_a_distance_beyond_float32_has_a_finite_gradient():
    pred, target = jnp.array([3e38, -3e38]), jnp.array([-3e38, 3e38])
    gradient = jax.grad(lambda pred: jnp.sum(losses.smooth_l1_loss(pred, target, beta=0.1)))(pred)
    np.testing.assert_array_equal(gradient, [1.0, -1.0])


def test_bfloat16_is_computed_in_float32():
    pred, target = jnp.ones(4, jnp.bfloat16), jnp.zeros(4)
    assert losses.smooth_l1_loss(pred, target, beta=1.0).dtype == jnp.float32
    assert losses.balanced_l1_loss(pred, target).dtype == jnp.float32
    assert losses.iou_loss(pred, pred).dtype == jnp.float32
