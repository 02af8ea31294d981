import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ioub_jax import boxes as box_ops
from ioub_jax import losses

# Every random case has one shape, so that each function is compiled once.
IMAGES, ANCHORS, CLASSES = 2, 8, 3
AXES = (None, 0, -1, (0, 1))

weights_of = {
    axis: jax.jit(
        lambda loss, ious, positive, eta, axis=axis: losses.iou_balanced_classification_weights(
            loss, ious, positive, eta=eta, axis=axis
        )
    )
    for axis in AXES
}


@jax.jit
def focal_and_gradient(logits, labels, ious, eta):
    def total(logits):
        return jnp.sum(losses.iou_balanced_sigmoid_focal_loss(logits, labels, ious, eta=eta))

    return jax.value_and_grad(total)(logits)


def few_examples(test):
    return hypothesis.settings(max_examples=25, deadline=None)(test)


@st.composite
def scene(draw):
    """Random logits, labels and IoUs, with every rare thing in them often enough."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (IMAGES, ANCHORS)
    logits = random.normal(scale=draw(st.sampled_from([0.1, 3.0, 30.0])), size=(*shape, CLASSES))
    labels = random.integers(-2, CLASSES, shape)
    labels = np.where(
        random.uniform(size=shape) < draw(st.sampled_from([0.0, 0.5, 1.0])), -1, labels
    )
    ious = random.uniform(0.05, 1.0, size=shape)
    ious[random.uniform(size=shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0.0
    return logits.astype(np.float32), labels.astype(np.int32), ious.astype(np.float32)


matched_loss = jax.jit(losses.sigmoid_focal_loss_of_matched_class)
calibrate_w_loc = jax.jit(losses.calibrate_w_loc)
focal_loss = jax.jit(losses.sigmoid_focal_loss)
smooth_l1_loss = jax.jit(losses.smooth_l1_loss)
softmax_loss = jax.jit(losses.softmax_cross_entropy)
balanced_focal_loss = jax.jit(losses.iou_balanced_sigmoid_focal_loss)
balanced_smooth_l1_loss = jax.jit(losses.iou_balanced_smooth_l1_loss)
balanced_softmax_loss = jax.jit(
    losses.iou_balanced_softmax_cross_entropy, static_argnames=("axis",)
)


def test_classification_weights_by_hand():
    loss = jnp.array([1.0, 2.0, 3.0, 9.0])
    ious = jnp.array([0.5, 1.0, 0.0, 0.7])
    positive = jnp.array([True, True, True, False])
    # iou^2 = .25, 1, 0: sum of loss 6, of iou^2 loss 2.25.
    weights = losses.iou_balanced_classification_weights(loss, ious, positive, eta=2.0)
    np.testing.assert_allclose(weights, [0.25 * 6 / 2.25, 6 / 2.25, 0.0, 1.0], rtol=1e-6)
    # The authors add eps to 2.25.
    weights = losses.iou_balanced_classification_weights(loss, ious, positive, eta=2.0, eps=0.75)
    np.testing.assert_allclose(weights, [0.25 * 2, 2.0, 0.0, 1.0], rtol=1e-6)
    # Half the IoUs: iou^2 = .0625, .25, 0, and 0.5625 + 0.1875 = 0.75.
    weights = losses.iou_balanced_classification_weights(
        loss, 0.5 * ious, positive, eta=2.0, eps=0.1875
    )
    np.testing.assert_allclose(weights, [0.0625 * 8, 0.25 * 8, 0.0, 1.0], rtol=1e-6)


def test_the_dynamic_normalizer_of_localization():
    # Equation 5 is equation 2 of the localization loss.
    loss, ious, positive = jnp.array([1.0, 3.0]), jnp.array([1.0, 0.25]), jnp.array([True, True])
    weights = losses.iou_balanced_classification_weights(loss, ious, positive, eta=0.5)
    np.testing.assert_allclose(weights, [4 / 2.5, 0.5 * 4 / 2.5], rtol=1e-6)


def test_localization_weights_by_hand():
    ious = jnp.array([0.25, 1.0, 0.0])
    weights = losses.iou_balanced_localization_weights(ious, lambda_=1.5, w_loc=3.0)
    np.testing.assert_allclose(weights, [3 / 8, 3.0, 0.0], rtol=1e-6)
    # 0^0 is 1: lambda 0 is the plain loss times w_loc.
    weights = losses.iou_balanced_localization_weights(ious, lambda_=0.0, w_loc=3.0)
    np.testing.assert_array_equal(weights, 3.0)


def test_only_the_matched_class_of_a_positive_is_weighted():
    logits = jnp.linspace(-2, 2, 12).reshape(4, 3)
    labels = jnp.array([0, 2, -1, -2])
    ious = jnp.array([0.9, 0.3, 0.5, 0.5])
    plain = losses.sigmoid_focal_loss(logits, labels)
    balanced = losses.iou_balanced_sigmoid_focal_loss(logits, labels, ious)
    weights = losses.iou_balanced_classification_weights(
        matched_loss(logits, labels), ious, labels >= 0
    )
    factors = np.ones((4, 3), np.float32)
    factors[0, 0], factors[1, 2] = weights[0], weights[1]
    np.testing.assert_allclose(balanced, plain * factors, rtol=1e-6)
    assert weights[0] > 1 > weights[1]


@few_examples
@hypothesis.given(scene())
def test_eta_0_gives_the_plain_classification_losses(scene):
    logits, labels, ious = scene
    labels_of_softmax = np.minimum(labels, CLASSES - 2)
    focal = balanced_focal_loss(logits, labels, ious, eta=0.0)
    np.testing.assert_allclose(focal, focal_loss(logits, labels), rtol=1e-6)
    softmax = balanced_softmax_loss(logits, labels_of_softmax, ious, eta=0.0, axis=-1)
    np.testing.assert_allclose(softmax, softmax_loss(logits, labels_of_softmax), rtol=1e-6)


@few_examples
@hypothesis.given(scene())
def test_lambda_0_gives_the_plain_localization_loss(scene):
    pred, _, ious = scene
    target = np.zeros_like(pred)
    balanced = balanced_smooth_l1_loss(pred, target, ious, lambda_=0.0, beta=0.11)
    np.testing.assert_allclose(balanced, smooth_l1_loss(pred, target, beta=0.11), rtol=1e-6)


@few_examples
@hypothesis.given(scene(), st.sampled_from(AXES), st.floats(0.0, 4.0, width=32))
def test_the_sum_of_the_positives_is_kept_in_each_scope(scene, axis, eta):
    logits, labels, ious = scene
    positive = labels >= 0
    loss = np.asarray(matched_loss(logits, labels))
    weights = np.asarray(weights_of[axis](loss, ious, positive, eta))
    plain = np.sum(loss, axis=axis, where=positive)
    np.testing.assert_allclose(np.sum(weights * loss, axis=axis, where=positive), plain, rtol=1e-4)
    np.testing.assert_array_equal(weights[~positive], 1.0)


@few_examples
@hypothesis.given(scene(), st.sampled_from([1e-30, 1e-6, 0.5, 1.0]))
def test_the_scale_of_the_ious_changes_no_classification_weight(scene, scale):
    logits, labels, ious = scene
    loss, positive = matched_loss(logits, labels), labels >= 0
    weights = weights_of[None](loss, ious, positive, 1.5)
    scaled = weights_of[None](loss, (ious * scale).astype(np.float32), positive, 1.5)
    np.testing.assert_allclose(scaled, weights, rtol=1e-4)


@few_examples
@hypothesis.given(scene())
def test_gradients_of_all_other_entries_are_identical_to_the_bit(scene):
    logits, labels, ious = scene
    _, plain = focal_and_gradient(logits, labels, ious, 0.0)
    _, balanced = focal_and_gradient(logits, labels, ious, 1.5)
    others = labels[..., None] != np.arange(CLASSES)
    np.testing.assert_array_equal(np.asarray(plain)[others], np.asarray(balanced)[others])


@few_examples
@hypothesis.given(scene(), st.floats(0.0, 4.0, width=32))
def test_calibrated_w_loc_keeps_the_sum(scene, lambda_):
    pred, labels, ious = scene
    target, positive = np.zeros_like(pred), labels >= 0
    loss = np.asarray(smooth_l1_loss(pred, target, beta=0.11)).sum(axis=-1)
    w_loc = calibrate_w_loc(loss, ious, positive, lambda_=lambda_)
    if not np.any(ious[positive] > 0):
        # Nothing to weigh; where lambda is 0 the weight is 1 anyway.
        np.testing.assert_allclose(w_loc, 1.0)
        return
    balanced = balanced_smooth_l1_loss(pred, target, ious, lambda_=lambda_, w_loc=w_loc, beta=0.11)
    weighted_sum = np.sum(np.asarray(balanced).sum(axis=-1), where=positive)
    np.testing.assert_allclose(weighted_sum, np.sum(loss, where=positive), rtol=1e-4)


def test_calibrated_w_loc_by_hand():
    loss, ious = jnp.array([1.0, 2.0, 5.0]), jnp.array([0.25, 1.0, 0.9])
    w_loc = losses.calibrate_w_loc(loss, ious, jnp.array([True, True, False]))
    np.testing.assert_allclose(w_loc, 3 / (1 / 8 + 2), rtol=1e-6)
    for positive, value in (([False] * 3, ious), ([True] * 3, jnp.zeros(3))):
        assert losses.calibrate_w_loc(loss, value, jnp.array(positive)) == 1.0


def test_no_gradient_reaches_a_box_through_a_weight():
    anchors = jnp.array([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 15.0, 25.0], [0.0, 0.0, 4.0, 4.0]])
    target_boxes = anchors + 1.0
    labels = jnp.array([0, 2, -1])
    logits = jnp.linspace(-1, 1, 9).reshape(3, 3)

    def total(boxes):
        ious = box_ops.aligned_iou(boxes, target_boxes)
        positive = labels >= 0
        plain = jnp.array([1.0, 2.0, 3.0])
        weights = losses.iou_balanced_classification_weights(plain, ious, positive)
        focal = losses.iou_balanced_sigmoid_focal_loss(logits, labels, ious)
        softmax = losses.iou_balanced_softmax_cross_entropy(logits, labels - 1, ious)
        deltas = jnp.ones((3, 4))
        localization = losses.iou_balanced_smooth_l1_loss(deltas, 0.5 * deltas, ious)
        w_loc = losses.calibrate_w_loc(plain, ious, positive)
        isr = losses.isr_p_weights(plain[None], ious[None], labels[None], labels[None])
        parts = (weights, focal, softmax, localization, w_loc, isr)
        return sum(jnp.sum(part) for part in parts)

    value, gradient = jax.jit(jax.value_and_grad(total))(anchors)
    assert np.isfinite(value)
    np.testing.assert_array_equal(gradient, 0.0)


def test_no_gradient_flows_through_the_normalizer():
    logits, labels = jnp.linspace(-1, 1, 6).reshape(2, 3), jnp.array([0, 2])
    ious = jnp.array([0.9, 0.3])
    weights = losses.iou_balanced_classification_weights(
        matched_loss(logits, labels), ious, labels >= 0
    )

    def with_constant_weights(logits):
        factors = jnp.where(
            jax.nn.one_hot(labels, 3, dtype=bool), jnp.broadcast_to(weights[:, None], (2, 3)), 1.0
        )
        return jnp.sum(losses.sigmoid_focal_loss(logits, labels) * factors)

    expected = jax.grad(with_constant_weights)(logits)
    np.testing.assert_allclose(
        focal_and_gradient(logits, labels, ious, 1.5)[1], expected, rtol=1e-5
    )


def test_the_gradient_has_no_scatter():
    text = str(
        jax.make_jaxpr(focal_and_gradient)(
            jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32), jnp.zeros(2), 1.5
        )
    )
    assert "gather" in text
    assert "scatter" not in text


@jax.jit
def total_and_gradient(logits, labels, ious, eta, eps):
    def total(logits):
        focal = losses.iou_balanced_sigmoid_focal_loss(logits, labels, ious, eta=eta, eps=eps)
        softmax = losses.iou_balanced_softmax_cross_entropy(logits, labels, ious, eta=eta, eps=eps)
        return jnp.sum(focal) + jnp.sum(softmax)

    return jax.value_and_grad(total)(logits)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize(
    ("logit", "ious", "labels"),
    [
        (0.0, [0.0, 0.0], [0, 1]),
        (0.0, [1e-30, 1e-38], [0, 1]),
        (0.0, [1e-30, 1.0], [0, 1]),
        (0.0, [1.0, 1.0], [0, 1]),
        (1e4, [0.5, 0.9], [0, 1]),
        (-1e4, [0.5, 0.9], [0, 1]),
        (1e4, [1.0, 1e-20], [0, 0]),
        (0.0, [0.5, 0.9], [-1, -1]),
        (0.0, [0.5, 0.9], [-2, -2]),
        (0.0, [np.nan, np.inf], [-1, -2]),
    ],
)
def test_extremes_are_finite_with_finite_gradients(eta, eps, logit, ious, labels):
    ious, labels = jnp.array(ious), jnp.array(labels)

    logits = jnp.array([[logit, 0.0, -logit]] * 2)
    value, gradient = total_and_gradient(logits, labels, ious, eta, eps)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("loss", "ious", "positive"),
    [
        ([1.0, 2.0], [0.0, 0.0], [True, True]),
        ([1.0, 2.0], [0.5, 0.6], [False, False]),
        ([0.0, 0.0], [0.5, 0.6], [True, True]),
        # The one positive with an IoU has no loss: there is nothing to move.
        ([0.0, 2.0], [0.5, 0.0], [True, True]),
        # The ratio of the sums does not fit into float32.
        ([0.0, 1.0], [1.0, 1e-38], [True, True]),
    ],
)
def test_a_scope_without_a_normalizer_has_weight_1(loss, ious, positive):
    weights = weights_of[None](np.array(loss), np.array(ious), np.array(positive), 1.5)
    np.testing.assert_array_equal(weights, 1.0)


@pytest.mark.parametrize("count", [3, 100_000])
@pytest.mark.parametrize("where", ["loss", "ious"])
def test_what_is_not_a_number_stays_so(where, count):
    """However many there are: a maximum of many numbers on a CPU passes NaN over."""
    given = {"loss": np.full(count, 0.5, np.float32), "ious": np.full(count, 0.5, np.float32)}
    given[where][1] = np.nan
    positive = np.arange(count) != 2
    weights = losses.iou_balanced_classification_weights(**given, positive=positive)
    assert np.isnan(weights[positive]).all()
    assert weights[2] == 1
    assert np.isnan(losses.calibrate_w_loc(**given, positive=positive))
    carl = losses.carl_weights(given[where], positive)
    assert np.isnan(carl[positive]).all()
    assert carl[2] == 1
    # Where it is not positive, nobody reads it.
    elsewhere = np.arange(count) != 1
    assert np.isfinite(losses.carl_weights(given[where], elsewhere)).all()
    weights = losses.iou_balanced_classification_weights(**given, positive=elsewhere)
    assert np.isfinite(weights).all()


def test_a_scope_of_tiny_ious_does_not_vanish():
    ious = np.array([1e-30, 2e-30], np.float32)
    weights = weights_of[None](np.ones(2, np.float32), ious, np.ones(2, bool), 1.0)
    np.testing.assert_allclose(weights, [2 / 3, 4 / 3], rtol=1e-6)


def test_vmap_normalizes_each_image_by_itself():
    random = np.random.default_rng(0)
    loss, ious = random.uniform(size=(2, IMAGES, ANCHORS)).astype(np.float32)
    positive = random.uniform(size=(IMAGES, ANCHORS)) < 0.5
    mapped = jax.vmap(losses.iou_balanced_classification_weights)(loss, ious, positive)
    np.testing.assert_allclose(mapped, weights_of[-1](loss, ious, positive, 1.5), rtol=1e-6)


def test_sharded_arrays_have_one_global_normalizer():
    random = np.random.default_rng(0)
    loss, ious = random.uniform(size=(2, 16, 5)).astype(np.float32)
    positive = random.uniform(size=(16, 5)) < 0.5
    devices = np.array(jax.devices())
    assert devices.size == 8
    sharding = NamedSharding(jax.sharding.Mesh(devices, ("data",)), PartitionSpec("data"))
    sharded = [jax.device_put(array, sharding) for array in (loss, ious, positive)]
    weights = weights_of[None](*sharded, 1.5)
    assert len(weights.sharding.device_set) == 8
    np.testing.assert_allclose(weights, weights_of[None](loss, ious, positive, 1.5), rtol=1e-5)
    by_image = weights_of[-1](*sharded, 1.5)
    np.testing.assert_allclose(by_image, weights_of[-1](loss, ious, positive, 1.5), rtol=1e-5)
    # The value and the gradient of the loss too are those of one device.
    logits = random.normal(size=(16, 5, 3)).astype(np.float32)
    labels = np.where(positive, 1, -1).astype(np.int32)
    arguments = (logits, labels, ious)
    on_eight = focal_and_gradient(*(jax.device_put(x, sharding) for x in arguments), 1.5)
    on_one = focal_and_gradient(*arguments, 1.5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), on_eight, on_one)


def test_bfloat16_is_summed_in_float32():
    # 1000 ones sum to 256 in bfloat16.
    ones = jnp.ones(1000, jnp.bfloat16)
    ious = jnp.where(jnp.arange(1000) < 500, 1.0, 0.5).astype(jnp.bfloat16)
    weights = losses.iou_balanced_classification_weights(ones, ious, ones > 0, eta=1.0)
    assert weights.dtype == jnp.float32
    # Sum 1000 over 500 + 250.
    np.testing.assert_allclose(weights[jnp.array([0, 999])], [4 / 3, 2 / 3], rtol=1e-6)
    assert losses.iou_balanced_localization_weights(ious).dtype == jnp.float32
    assert losses.calibrate_w_loc(ones, ious, ones > 0).dtype == jnp.float32
    logits, labels = jnp.ones((1000, 2), jnp.bfloat16), jnp.zeros(1000, jnp.int32)
    loss = losses.iou_balanced_sigmoid_focal_loss(logits, labels, ious)
    assert loss.dtype == jnp.float32
