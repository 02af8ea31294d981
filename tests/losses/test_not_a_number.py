"""A NaN is seen in the loss: nothing that sorts, compares or divides may pass it over."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ioub_jax.boxes
from ioub_jax import losses, wasserstein

LABELS = np.array([0, 1, -1, -1, 1, -2])
IOUS = np.array([0.9, 0.6, 0.0, 0.0, 0.7, 0.0], np.float32)
LOGITS = np.array([[2, 0], [1, 3], [0, 1], [1, 1], [0, 2], [5, 5]], np.float32)

RANKING = {
    f"{name}, delta {delta}": lambda logits, function=function, delta=delta: jnp.sum(
        jnp.stack(jax.tree.leaves(function(logits, LABELS, IOUS, delta=delta)))
    )
    for name, function in {
        "rank_and_sort_loss": losses.rank_and_sort_loss,
        "bucketed_rank_and_sort_loss": losses.bucketed_rank_and_sort_loss,
        "average_lrp_loss": losses.average_lrp_loss,
    }.items()
    for delta in (0.5, 0.0)
}


@pytest.mark.parametrize("name", RANKING)
def test_a_ranking_loss_of_a_nan_is_nan(name):
    loss = jax.jit(RANKING[name])
    assert np.isfinite(loss(LOGITS))
    for anchor, entry in ((0, 0), (2, 1)):  # the matched entry of a positive, and a negative
        logits = LOGITS.copy()
        logits[anchor, entry] = np.nan
        assert np.isnan(loss(logits)), (anchor, entry)
    ignored = LOGITS.copy()
    ignored[5] = np.nan
    np.testing.assert_array_equal(loss(ignored), loss(LOGITS))


@pytest.mark.parametrize("kind", ["concordance", "pearson", "spearman"])
def test_a_correlation_with_a_nan_is_nan(kind):
    positive = LABELS >= 0
    scores = np.array([0.9, 0.2, 0.1, 0.3, 0.5, 0.4], np.float32)
    loss = jax.jit(lambda s: losses.correlation_loss(s, IOUS, kind=kind, where=positive))
    assert np.isfinite(loss(scores))
    assert np.isnan(loss(np.where(np.arange(6) == 1, np.nan, scores)))
    np.testing.assert_array_equal(loss(np.where(positive, scores, np.nan)), loss(scores))


def test_a_nan_is_the_first_that_is_mined():
    """One negative is kept for the positive: the NaN, beside a loss of 9."""
    labels = np.array([[0, -1, -1, -1, -2]])
    loss = np.array([[1.0, 9.0, np.nan, 0.1, np.nan]], np.float32)
    mask = losses.hard_negative_mask(loss, labels, ratio=1)
    assert mask.tolist() == [[False, False, True, False, False]]


BOX = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
OF_BOXES = {
    **{
        kind: functools.partial(losses.iou_loss, kind=kind)
        for kind in (
            *("iou", "giou", "diou", "ciou", "eiou", "focal_eiou", "siou", "wiou_v1"),
            *("shape_iou", "piou", "piou2"),
        )
    },
    "mpdiou": functools.partial(losses.iou_loss, kind="mpdiou", image_size=(9, 9)),
    "inner": functools.partial(losses.iou_loss, inner=0.7),
    "focaler": functools.partial(losses.iou_loss, focaler=(0.0, 0.95)),
    "alpha": functools.partial(losses.iou_loss, kind="giou", power=3.0),
    "nwd": losses.normalized_wasserstein_distance,
    "iou_balanced": losses.iou_balanced_iou_loss,
    **{
        f"wiou_v{version}": lambda boxes, targets, version=version: losses.wise_iou_loss(
            boxes, targets, 1.0, version=version
        )[0]
        for version in (2, 3)
    },
}


@pytest.mark.parametrize("name", OF_BOXES)
@pytest.mark.parametrize("edge", range(4))
def test_a_box_with_a_nan_does_not_fit(name, edge):
    """Otherwise a network that has diverged has an IoU of 0, or, by NWD, a perfect box."""
    boxes = BOX.copy()
    boxes[0, edge] = np.nan
    found = np.asarray(OF_BOXES[name](boxes, BOX + 1))
    assert np.isnan(found[0])
    if not name.startswith("wiou_v"):  # whose mean is of all boxes
        assert np.isfinite(found[1])


def test_a_similarity_with_a_nan_is_nan():
    boxes = np.where(np.arange(4) == 2, np.nan, BOX[:1])
    assert np.isnan(wasserstein.pairwise_similarity(boxes, BOX)).all()
    assert np.isnan(ioub_jax.boxes.pairwise_iou(boxes, BOX)).all()


def test_a_mean_of_wise_iou_that_is_nan_is_seen():
    weights, mean = losses.wise_iou_weights(np.array([np.nan, 0.5]), 1.0)
    assert np.isnan(mean) and np.isnan(weights).all()
    weights, _ = jax.jit(losses.wise_iou_weights)(np.array([0.5, 0.5]), jnp.nan)
    assert np.isnan(weights).all()


def test_a_nan_is_no_distance_in_bins():
    found = losses.distribution_focal_loss(np.zeros((2, 4)), np.array([np.nan, 1.5]))
    # Any target costs log 4 if all bins have equal scores.
    np.testing.assert_allclose(found, [np.nan, np.log(4)], rtol=1e-6)


def test_what_does_not_count_may_be_nan():
    """Neither the value nor the gradient knows it: a gradient of 0 times NaN would be NaN."""
    boxes = np.where([[True], [False]], BOX, np.nan).astype(np.float32)
    counted = np.array([True, False])
    value, gradient = jax.value_and_grad(
        lambda boxes: jnp.sum(losses.wise_iou_loss(boxes, BOX + 1, 1.0, where=counted)[0])
    )(boxes)
    assert value > 0 and np.isfinite(gradient).all() and np.any(np.asarray(gradient)[0])
    logits = np.where([[True], [False]], [[1.0, 2.0]] * 2, np.nan)
    where = np.array([[True] * 2, [False] * 2])
    value, gradient = jax.value_and_grad(
        lambda logits: jnp.sum(losses.ghm_c_loss(logits, np.array([0, -1]), where=where)[0])
    )(logits)
    assert value > 0 and np.isfinite(gradient).all()
    value, gradient = jax.value_and_grad(
        lambda logits: jnp.sum(
            losses.iou_aware_bce_loss(
                logits, np.array([0, -1]), np.ones(2), target_weights=np.array([0.5, np.nan])
            )
        )
    )(np.zeros((2, 2)))
    assert value > 0 and np.isfinite(gradient).all()


OF_LOGITS = {
    "focal": losses.sigmoid_focal_loss,
    "softmax": losses.softmax_cross_entropy,
    **{
        name: functools.partial(lambda loss, logits, labels: loss(logits, labels, OF_THREE), loss)
        for name, loss in {
            "quality focal": losses.quality_focal_loss,
            "varifocal": losses.varifocal_loss,
            "MAL": losses.matchability_aware_loss,
            "IA-BCE": losses.iou_aware_bce_loss,
            "IoU-balanced focal": losses.iou_balanced_sigmoid_focal_loss,
            "IoU-balanced softmax": losses.iou_balanced_softmax_cross_entropy,
            "Rank & Sort": losses.rank_and_sort_loss,
        }.items()
    },
    "GHM-C": lambda logits, labels: losses.ghm_c_loss(logits, labels)[0],
}
OF_THREE = np.array([0.5, 0.75, 0.25], np.float32)


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_the_logits_of_what_is_ignored_may_be_anything(name, broken):
    labels = np.array([0, -1, -2])

    def loss(logits):
        return jnp.sum(OF_LOGITS[name](logits, labels))

    logits = jnp.array([[1.0, -1.0, 0.5], [0.0, 2.0, -0.5], [0.0, 0.0, 0.0]])
    expected, wanted = jax.value_and_grad(loss)(logits)
    value, gradient = jax.value_and_grad(loss)(logits.at[2].set(broken))
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(gradient, wanted)
    assert not np.any(gradient[2])
