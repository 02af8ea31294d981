import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes as box_ops
from ioub_jax import losses, wasserstein

FAMILY = {
    "iou": box_ops.aligned_iou,
    "giou": box_ops.generalized_iou,
    "diou": box_ops.distance_iou,
    "ciou": box_ops.complete_iou,
}
EXTREME_BOXES = {
    "a point": [3.0, 3.0, 3.0, 3.0],
    "the origin": [0.0, 0.0, 0.0, 0.0],
    "no width": [3.0, 3.0, 3.0, 9.0],
    "no height": [3.0, 3.0, 9.0, 3.0],
    "inverted": [9.0, 9.0, 3.0, 3.0],
    "coincident": [2.0, 4.0, 10.0, 12.0],
    "apart": [100.0, 100.0, 120.0, 130.0],
    "touching": [10.0, 4.0, 20.0, 12.0],
    "tiny": [5.0, 5.0, 5.0 + 1e-6, 5.0 + 1e-6],
    "vanishing at the origin": [0.0, 0.0, 1e-19, 1e-19],
    "huge": [-1e8, -1e8, 1e8, 1e8],
    "a sliver": [0.0, 5.0, 1e6, 5.001],
}
BOX = [2.0, 4.0, 10.0, 12.0]

coordinate = st.floats(-50, 50, width=32, allow_subnormal=False)
side = st.floats(0.5, 60, width=32)


@st.composite
def box(draw):
    left, top = draw(coordinate), draw(coordinate)
    return np.array([left, top, left + draw(side), top + draw(side)], np.float32)


def few_examples(test):
    return hypothesis.settings(max_examples=25, deadline=None)(test)


def test_area():
    # 8 x 8 = 64; an inverted box and a line have none.
    boxes = jnp.array([BOX, [9.0, 9.0, 3.0, 3.0], [3.0, 3.0, 3.0, 9.0]])
    np.testing.assert_array_equal(box_ops.area(boxes), [64.0, 0.0, 0.0])


def test_aligned_iou():
    other = jnp.array([[6.0, 4.0, 14.0, 12.0], BOX, [10.0, 4.0, 20.0, 12.0]])
    boxes = jnp.array([BOX] * 3)
    # Overlap 4 x 8 = 32, union 64 + 64 - 32 = 96; itself; a shared edge is no overlap.
    np.testing.assert_allclose(box_ops.aligned_iou(boxes, other), [1 / 3, 1.0, 0.0], rtol=1e-6)


def test_pairwise_iou_broadcasts_leading_dimensions():
    anchors = np.array([BOX, [6.0, 4.0, 14.0, 12.0], [0.0, 0.0, 1.0, 1.0]], np.float32)
    boxes = np.stack([anchors[:2], anchors[1:]])
    ious = box_ops.pairwise_iou(anchors, boxes)
    assert ious.shape == (2, 3, 2)
    expected = [[[1, 1 / 3], [1 / 3, 1], [0, 0]], [[1 / 3, 0], [1, 0], [0, 1]]]
    np.testing.assert_allclose(ious, expected, rtol=1e-6)


def test_pairwise_intersection_over_first_area():
    boxes = jnp.array([BOX, [0.0, 0.0, 4.0, 4.0], [5.0, 5.0, 5.0, 5.0]])
    regions = jnp.array([[6.0, 0.0, 100.0, 100.0], [2.0, 2.0, 4.0, 4.0]])
    # 4 x 8 of 64 and nothing; nothing and 2 x 2 of 16; a point has no area to cover.
    expected = [[0.5, 0.0], [0.0, 0.25], [0.0, 0.0]]
    shares = box_ops.pairwise_intersection_over_first_area(boxes, regions)
    np.testing.assert_allclose(shares, expected)


def test_generalized_iou():
    # Two unit boxes with a unit gap: IoU 0, hull 3, union 2, so -1/3.
    first, second = jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([2.0, 0.0, 3.0, 1.0])
    np.testing.assert_allclose(box_ops.generalized_iou(first, second), -1 / 3, rtol=1e-6)


def test_distance_iou():
    # Centers 2 apart, diagonal^2 of the hull 3^2 + 1^2: 0 - 4/10.
    first, second = jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([2.0, 0.0, 3.0, 1.0])
    np.testing.assert_allclose(box_ops.distance_iou(first, second), -0.4, rtol=1e-6)


def test_complete_iou():
    first, second = jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.0, 0.0, 2.0, 1.0])
    # IoU 2/4; centers 0.5 apart, diagonal^2 8; v = 4/pi^2 (atan 1 - atan 2)^2.
    v = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
    expected = 0.5 - 0.25 / 8 - v / (1 - 0.5 + v) * v
    np.testing.assert_allclose(box_ops.complete_iou(first, second), expected, rtol=1e-6)


@few_examples
@hypothesis.given(box(), box())
def test_family_is_bounded_ordered_and_symmetric(first, second):
    values = {kind: float(function(first, second)) for kind, function in FAMILY.items()}
    assert 0 <= values["iou"] <= 1 + 1e-6
    assert -1 - 1e-5 <= values["giou"] <= values["iou"] + 1e-5
    assert values["ciou"] <= values["diou"] + 1e-5 <= values["iou"] + 2e-5
    for kind, function in FAMILY.items():
        np.testing.assert_allclose(function(second, first), values[kind], atol=1e-5)
        np.testing.assert_allclose(function(first, first), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILY)
def test_family_is_finite_with_finite_gradients(kind):
    extremes = jnp.array(list(EXTREME_BOXES.values()))
    first, second = (
        grid.reshape(-1, 4)
        for grid in jnp.broadcast_arrays(extremes[:, None, :], extremes[None, :, :])
    )

    def total(first, second):
        values = FAMILY[kind](first, second)
        return jnp.sum(values), values

    gradients, values = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(first, second)
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()


def test_the_hull_holds_a_box_that_is_turned_over():
    # Without its own corners the hull would be 50 pixels wide, of centers 4,975 apart.
    turned, other = [1e4, 0.0, 0.0, 1.0], [50.0, 0.0, 50.001, 1.0]
    penalty = box_ops.center_distance_penalty(np.float32(turned), np.float32(other))
    np.testing.assert_allclose(penalty, (5000 - 50.0005) ** 2 / (1e8 + 1), rtol=1e-5)
    # The hull has 10,000 square pixels, of which .001 are covered.
    np.testing.assert_allclose(
        box_ops.hull_penalty(np.float32(turned), np.float32(other)), 1 - 1e-7, rtol=1e-6
    )


def test_boxes_without_area_have_iou_zero():
    flat = jnp.array([EXTREME_BOXES[name] for name in ("a point", "no width", "inverted")])
    every = jnp.array(list(EXTREME_BOXES.values()))
    np.testing.assert_array_equal(box_ops.pairwise_iou(flat, every), 0.0)
    np.testing.assert_array_equal(box_ops.aligned_iou(flat, flat), 0.0)


def test_encode():
    anchor = jnp.array([0.0, 0.0, 10.0, 20.0])
    boxes = jnp.array([5.0, 0.0, 25.0, 10.0])
    # Centers (15, 5) and (5, 10), sides (20, 10) and (10, 20).
    expected = np.array([10 / 10, -5 / 20, math.log(2), math.log(0.5)])
    np.testing.assert_allclose(box_ops.encode(boxes, anchor), expected, rtol=1e-6)
    weighted = box_ops.encode(boxes, anchor, weights=(10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(weighted, expected * [10, 10, 5, 5], rtol=1e-6)


@few_examples
@hypothesis.given(box(), box())
def test_decode_inverts_encode(boxes, anchors):
    weights = (10.0, 10.0, 5.0, 5.0)
    # Sides of 0.5 .. 60 have log ratios up to log(120), beyond the usual limit of log(62.5).
    decoded = box_ops.decode(
        box_ops.encode(boxes, anchors, weights=weights),
        anchors,
        weights=weights,
        max_log_ratio=5.0,
    )
    np.testing.assert_allclose(decoded, boxes, atol=1e-3)


def test_decode_limits_the_size_both_ways():
    anchor = jnp.array([0.0, 0.0, 16.0, 16.0])
    # exp(log(1000 / 16)) * 16 = 1000, around the center (8, 8); 16 * 16 / 1000 = 0.256.
    large = box_ops.decode(jnp.array([0.0, 0.0, 1e4, 1e4]), anchor)
    np.testing.assert_allclose(large, [-492, -492, 508, 508], rtol=1e-5)
    small = box_ops.decode(jnp.array([0.0, 0.0, -1e4, -1e4]), anchor)
    np.testing.assert_allclose(small, [7.872, 7.872, 8.128, 8.128], rtol=1e-5)


def test_codec_is_finite_with_finite_gradients():
    extremes = jnp.array(list(EXTREME_BOXES.values()))
    anchors = jnp.broadcast_to(jnp.array(BOX), extremes.shape)
    for function, argument in ((box_ops.encode, extremes), (box_ops.decode, extremes * 1e4)):
        value, gradient = jax.value_and_grad(lambda x, f=function: jnp.sum(f(x, anchors)))(argument)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    assert np.isfinite(box_ops.encode(anchors, extremes)).all()


def test_decode_broadcasts_anchors_over_images():
    deltas = jnp.zeros((2, 3, 4))
    anchors = np.arange(12, dtype=np.float32).reshape(3, 4)
    decoded = box_ops.decode(deltas, anchors)
    np.testing.assert_allclose(decoded, np.stack([anchors, anchors]), rtol=1e-6)


def test_clip():
    boxes = jnp.array([[[-5.0, -5.0, 50.0, 50.0]], [[1.0, 2.0, 3.0, 4.0]]])
    same = box_ops.clip(boxes, 20, 30)
    np.testing.assert_array_equal(same, [[[0, 0, 30, 20]], [[1, 2, 3, 4]]])
    each = box_ops.clip(boxes, np.array([[20], [3]]), np.array([[30], [2]]))
    np.testing.assert_array_equal(each, [[[0, 0, 30, 20]], [[1, 2, 2, 3]]])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.int32])
def test_everything_is_computed_in_float32(dtype):
    boxes = jnp.array([BOX]).astype(dtype)
    results = [
        box_ops.area(boxes),
        box_ops.pairwise_iou(boxes, boxes),
        box_ops.pairwise_intersection_over_first_area(boxes, boxes),
        box_ops.encode(boxes, boxes),
        box_ops.decode(jnp.zeros((1, 4), dtype), boxes),
        box_ops.clip(boxes, 5, 5),
        *(function(boxes, boxes) for function in FAMILY.values()),
    ]
    assert all(result.dtype == jnp.float32 for result in results)


def test_float64_stays_float64():
    with jax.enable_x64(True):
        boxes, anchors = np.array([BOX]), np.array([BOX], np.float32)
        assert box_ops.encode(boxes, anchors).dtype == np.float64
        assert box_ops.clip(boxes, 5, 5).dtype == np.float64
        assert box_ops.aligned_iou(anchors, anchors).dtype == np.float32


def test_jit_and_vmap_agree_with_the_plain_call():
    random = np.random.default_rng(0)
    boxes = np.sort(random.uniform(0, 100, (3, 5, 2, 2)), axis=2).reshape(3, 5, 4)
    boxes = boxes.astype(np.float32)
    plain = box_ops.pairwise_iou(boxes, boxes)
    np.testing.assert_allclose(jax.jit(box_ops.pairwise_iou)(boxes, boxes), plain, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(box_ops.pairwise_iou)(boxes, boxes), plain, rtol=1e-6)


def test_edges_are_columns():
    found = box_ops.edges(jnp.array([[1.0, 2.0, 3.0, 5.0], [0.0, 4.0, 6.0, 7.0]]))
    np.testing.assert_array_equal(found.left, [1.0, 0.0])
    np.testing.assert_array_equal(found.top, [2.0, 4.0])
    np.testing.assert_array_equal(found.right, [3.0, 6.0])
    np.testing.assert_array_equal(found.bottom, [5.0, 7.0])


@pytest.mark.parametrize(
    "measure",
    [
        box_ops.generalized_iou,
        box_ops.complete_iou,
        box_ops.decode,
        functools.partial(losses.iou_loss, kind="siou", inner=0.8),
    ],
)
def test_gradients_pad_nothing(measure):
    # Every slice of boxes would be padded to the size of all boxes: several times the time.
    first, second = jnp.ones((3, 4)), jnp.ones((3, 4))
    gradient = jax.grad(lambda each: jnp.sum(measure(each, second)))
    program = str(jax.make_jaxpr(gradient)(first))
    assert "concatenate" in program
    assert " pad" not in program


@pytest.mark.parametrize("columns", [5, 8])
def test_boxes_have_four_columns(columns):
    """A score beside each box would be taken for an edge."""
    given = np.zeros((3, columns))
    for function in (box_ops.aligned_iou, box_ops.pairwise_iou, box_ops.generalized_iou):
        with pytest.raises(ValueError, match=rf"boxes has shape .*{columns}\); it must be"):
            function(given, given)
    with pytest.raises(ValueError, match=rf"boxes has shape \(3, {columns}\); it must be"):
        wasserstein.aligned_similarity(given, given)
