"""Arguments of other kinds than numbers in their range: one sentence that names the argument."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses

BOXES = np.array([[0, 0, 4, 4]] * 5, np.float32)
LOGITS, LABELS = np.zeros((4, 3), np.float32), np.array([0, 1, -1, -2])
IOUS = np.full(4, 0.5, np.float32)
WHERE = "is of float32; it must be of bools"


def traced_gamma(gamma):
    return losses.iou_loss(BOXES, BOXES, kind="focal_eiou", gamma=gamma)


REFUSED = {
    "one flag more than IoUs": (
        lambda: losses.wise_iou_weights(IOUS, 1.0, where=np.ones(5, bool)),
        ValueError,
        r"where has shape \(5,\); it must be \(4,\), one for each of ious",
    ),
    "a version that is True": (
        lambda: losses.wise_iou_weights(IOUS, 1.0, version=True),
        ValueError,
        "version is True; it must be 1, 2 or 3",
    ),
    "a class weight that is NaN": (
        lambda: losses.sigmoid_focal_loss(LOGITS, LABELS, class_weights=[1, np.nan, 1]),
        ValueError,
        "class_weights is .*; all must be finite and at least 0",
    ),
    "an integer beyond all floats": (
        lambda: losses.wise_iou_weights(IOUS, 1.0, alpha=10**400),
        ValueError,
        "alpha is 10+; it must be above 1",
    ),
    "one positive for two IoUs": (
        lambda: losses.calibrate_w_loc([2.0], [0.5, 0.5], [True]),
        ValueError,
        r"ious has shape \(2,\); it must be \(1,\), one for each of loss",
    ),
    "an image size of other boxes": (
        lambda: losses.iou_loss(BOXES, BOXES, kind="mpdiou", image_size=np.ones((3, 2))),
        ValueError,
        r"image_size has shape \(3, 2\); it must be \(5, 2\), height and width for each box",
    ),
    "an infinite image size": (
        lambda: losses.iou_loss(BOXES, BOXES, kind="mpdiou", image_size=(np.inf, 3)),
        ValueError,
        "both numbers must be finite and above 0",
    ),
    "a traced gamma": (lambda: jax.jit(traced_gamma)(0.5), TypeError, "gamma is traced; it must"),
    "an array of gammas": (lambda: traced_gamma(np.ones(5)), ValueError, "gamma has shape"),
    "a list as a kind": (
        lambda: losses.iou_loss(BOXES, BOXES, kind=["iou"]),
        ValueError,
        r"iou_loss knows the kinds .*, not \['iou'\]",
    ),
    "wiou as a kind": (
        lambda: losses.iou_loss(BOXES, BOXES, kind="wiou"),
        ValueError,
        "use wise_iou_loss",
    ),
    "nwd as a kind": (
        lambda: losses.iou_loss(BOXES, BOXES, kind="nwd"),
        ValueError,
        "use normalized_wasserstein_distance",
    ),
    "floats as positives": (
        lambda: losses.iou_balanced_classification_weights(IOUS, IOUS, IOUS),
        TypeError,
        f"positive {WHERE}",
    ),
    "labels as positives": (
        lambda: losses.iou_balanced_classification_weights(IOUS, IOUS, LABELS),
        TypeError,
        "positive is of int64; it must be of bools, such as labels >= 0 for positives",
    ),
    "floats as positives of CARL": (
        lambda: losses.carl_weights(IOUS, IOUS),
        TypeError,
        f"positive {WHERE}",
    ),
    "floats as a mask of a ranking": (
        lambda: losses.rank_and_sort_loss(LOGITS, LABELS, IOUS, where=IOUS),
        TypeError,
        f"where {WHERE}",
    ),
    "floats as a mask of GHM": (
        lambda: losses.ghm_c_loss(LOGITS, LABELS, where=LOGITS),
        TypeError,
        f"where {WHERE}",
    ),
    "floats as a mask of a correlation": (
        lambda: losses.correlation_loss(IOUS, IOUS, where=IOUS),
        TypeError,
        f"where {WHERE}",
    ),
    "floats as a mask of Wise-IoU": (
        lambda: losses.wise_iou_weights(IOUS, 1.0, where=IOUS),
        TypeError,
        f"where {WHERE}",
    ),
    "a mean below 0": (
        lambda: losses.wise_iou_weights(IOUS, -1.0),
        ValueError,
        "mean is -1.0; it must be at least 0",
    ),
    "complex IoUs": (
        lambda: losses.quality_focal_loss(LOGITS, LABELS, IOUS.astype(complex)),
        TypeError,
        "ious is of complex128; it must be of real numbers",
    ),
    "words as IoUs": (
        lambda: losses.quality_focal_loss(LOGITS, LABELS, "none"),
        TypeError,
        "ious is of <U4; it must be of real numbers",
    ),
    "no labels": (
        lambda: losses.sigmoid_focal_loss(LOGITS, None),
        TypeError,
        "labels must be an array of integers, not None",
    ),
    "labels of one image": (
        lambda: losses.isr_p_weights(IOUS, IOUS, LABELS, LABELS),
        ValueError,
        r"labels has shape \(4,\); it must be \[B, N\]",
    ),
    "no IoUs": (
        lambda: losses.quality_focal_loss(LOGITS, LABELS, None),
        TypeError,
        "ious is of object; it must be of real numbers",
    ),
    "no IoUs of a ranking": (
        lambda: losses.rank_and_sort_loss(LOGITS, LABELS, None),
        TypeError,
        "ious is of object; it must be of real numbers",
    ),
    "no localization losses": (
        lambda: losses.average_lrp_loss(LOGITS, LABELS, None),
        TypeError,
        "localization_losses is of object; it must be of real numbers",
    ),
    "an axis beyond the last": (
        lambda: losses.iou_balanced_sigmoid_focal_loss(LOGITS, LABELS, IOUS, axis=1),
        ValueError,
        r"axis is 1; labels has shape \(4,\), so the axes 0 to 0",
    ),
    "an axis of a softmax": (
        lambda: losses.iou_balanced_softmax_cross_entropy(LOGITS, LABELS, IOUS, axis=(0, -2)),
        ValueError,
        r"axis is \(0, -2\); labels has shape \(4,\)",
    ),
    "an axis twice": (
        lambda: losses.iou_balanced_classification_weights(IOUS, IOUS, LABELS >= 0, axis=(0, -1)),
        ValueError,
        r"axis is \(0, -1\), which has an axis twice",
    ),
    "a part of an axis": (
        lambda: losses.carl_weights(IOUS, LABELS >= 0, axis=1.5),
        TypeError,
        "axis is 1.5; it must be a number, several numbers or None",
    ),
    "a name as an axis": (
        lambda: losses.carl_weights(IOUS, LABELS >= 0, axis="data"),
        TypeError,
        "axis is 'data'; it must be a number, several numbers or None",
    ),
    "a number instead of deltas": (
        lambda: losses.iou_balanced_smooth_l1_loss(1.0, 2.0, 0.5),
        ValueError,
        r"pred has shape \(\); it must be \[..., 4\]: the deltas of each box",
    ),
    "a word as a flag": (
        lambda: losses.matchability_aware_loss(LOGITS, LABELS, IOUS, detach_weights="no"),
        TypeError,
        "detach_weights is 'no'; it must be True or False",
    ),
    "two flags": (
        lambda: losses.varifocal_loss(LOGITS, LABELS, IOUS, detach_weights=np.array([1, 0])),
        TypeError,
        "detach_weights is .*; it must be True or False",
    ),
    "an array as a kind": (
        lambda: losses.correlation_loss(IOUS, IOUS, kind=np.array([1, 2])),
        ValueError,
        "kind is .*; it must be one of concordance",
    ),
    "ranks of a strength below all": (
        lambda: losses.correlation_loss(IOUS, IOUS, kind="spearman", regularization_strength=1e-39),
        ValueError,
        "regularization_strength is 1e-39; it must be at least 1e-30",
    ),
    "weights of no class": (
        lambda: losses.weights_of_classes(LABELS, np.zeros(0)),
        ValueError,
        r"class_weights has shape \(0,\); it must be \[C\]",
    ),
    "a balanced L1 without a curve": (
        lambda: losses.balanced_l1_loss(LOGITS, LOGITS, alpha=1e10),
        ValueError,
        "gamma is 1.5; it must be at least 1e.08",
    ),
    "a label alone": (
        lambda: losses.hard_negative_mask(0.5, 1),
        ValueError,
        r"labels has shape \(\); it must be \[..., N\]",
    ),
    "class weights below 0": (
        lambda: losses.sigmoid_focal_loss(LOGITS, LABELS, class_weights=np.array([1, -1, 1])),
        ValueError,
        "class_weights is .*; all must be finite and at least 0",
    ),
    "a ratio that float32 cannot hold": (
        lambda: losses.balanced_l1_loss(BOXES, BOXES, alpha=0.01),
        ValueError,
        "gamma is 1.5; it must be at least 0.0001 and at most 0.8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_sentence_names_the_argument(case):
    call, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        call()


def test_a_delta_may_be_an_array_without_dimensions():
    for loss in (
        losses.rank_and_sort_loss,
        losses.bucketed_rank_and_sort_loss,
        lambda *arguments, delta: losses.average_lrp_loss(*arguments, delta=delta).classification,
    ):
        expected = loss(LOGITS, LABELS, IOUS, delta=0.5)
        for delta in (jnp.float32(0.5), np.float64(0.5), jnp.bfloat16(0.5)):
            np.testing.assert_array_equal(loss(LOGITS, LABELS, IOUS, delta=delta), expected)


def test_an_interval_of_focaler_may_be_an_array():
    expected = losses.iou_loss(BOXES, BOXES + 1, focaler=(0.0, 0.95))
    for array in (np.array([0.0, 0.95]), jnp.array([0.0, 0.95])):
        found = losses.iou_loss(BOXES, BOXES + 1, focaler=array)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_empty_list_is_a_mask_of_nothing():
    assert losses.carl_weights(np.zeros(0), []).shape == (0,)
    assert losses.iou_balanced_classification_weights(np.zeros(0), np.zeros(0), []).shape == (0,)
    assert float(losses.calibrate_w_loc([], [], [])) == 1.0
    assert float(losses.correlation_loss([], [], where=[])) == 0.0
    empty = np.zeros((0, 3))
    assert losses.ghm_c_loss(empty, [], where=empty)[0].shape == (0, 3)
    assert losses.ghm_r_loss(empty, empty, where=empty)[0].shape == (0, 3)
    assert losses.rank_and_sort_loss(empty, [], np.zeros(0), where=[]).shape == (0,)
    assert losses.wise_iou_loss(np.zeros((0, 4)), np.zeros((0, 4)), 1.0, where=[])[0].shape == (0,)


@pytest.mark.parametrize("number", [1e-50, 1e-30])
def test_the_smallest_hyper_parameters_have_finite_losses(number):
    """float32 has no number below 1e-45, and none whose square is below that."""
    logits, labels = jnp.array([[1.0], [1.0]]), jnp.array([0, -1])
    # The negative is as high as the positive, half a step above it, as is the positive itself:
    # .5 / (.5 + .5).
    found = losses.rank_and_sort_loss(logits, labels, jnp.ones(2), delta=number)
    np.testing.assert_allclose(found, [0.5, 0.0], rtol=1e-6)
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sum(losses.ghm_r_loss(x, jnp.array([0.0, 1.0]), mu=number)[0])
    )(jnp.array([0.0, 3.0]))
    # Norms 0 and 1 are in two bins of one entry each: 0 / 2 and 2 / 2.
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0.0, 0.5], rtol=1e-6)
    apart = np.array([[9, 9, 10, 10]])
    assert float(losses.iou_loss(BOXES[:1], apart, focaler=(0.0, number))[0]) == 1.0


def test_the_largest_hyper_parameters_of_wise_iou_have_finite_weights():
    for numbers in ({"delta": 170.0}, {"alpha": 1e15}, {"delta": 1e3, "alpha": 1e3}):
        weights, _ = losses.wise_iou_weights(np.array([1.0, 0.5]), 1.0, **numbers)
        assert np.isfinite(weights).all() and float(weights[0]) == 0.0


@pytest.mark.parametrize("value", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("count", [6, 7, 10, 11])
def test_equal_scores_or_ious_have_no_correlation(value, count):
    """Their mean is rounded, so they seem to differ from it."""
    equal = jnp.full(count, value)
    others = jnp.linspace(0.2, 0.9, count)
    for kind in ("pearson", "spearman"):
        loss = functools.partial(losses.correlation_loss, kind=kind)
        value_and_gradient = jax.jit(jax.value_and_grad(loss))
        for scores, ious in ((equal, others), (others, equal)):
            found = value_and_gradient(scores, ious)
            assert float(found[0]) == 0.0
            np.testing.assert_array_equal(found[1], np.zeros(count))


def test_scores_that_differ_a_little_are_correlated():
    scores = 0.5 + 1e-5 * jnp.arange(6.0)
    found = losses.correlation_loss(scores, jnp.arange(6.0) / 10, kind="pearson")
    np.testing.assert_allclose(found, 0.0, atol=1e-3)
    assert float(losses.correlation_loss(scores, -jnp.arange(6.0) / 10, kind="pearson")) > 1.9


def test_the_largest_numbers_have_finite_losses():
    largest = np.float32(3e38)
    found, _ = losses.ghm_r_loss(jnp.array([largest]), jnp.array([-largest]))
    gradient = jax.grad(lambda x: jnp.sum(losses.ghm_r_loss(x, jnp.array([-largest]))[0]))
    assert np.isfinite(found).all() and np.isfinite(gradient(jnp.array([largest]))).all()
    logits = jnp.array([largest, -largest, largest])
    assert np.isfinite(losses.distribution_focal_loss(logits, 2.0))
    deltas = jnp.array([0.0, 1e-6, 0.5, 1.0, 9.0])
    for alpha in (0.02, 0.5):
        values, gradients = jax.vmap(
            jax.value_and_grad(lambda d, alpha=alpha: losses.balanced_l1_loss(d, 0.0, alpha=alpha))
        )(deltas)
        assert np.isfinite(values).all() and np.isfinite(gradients).all()
