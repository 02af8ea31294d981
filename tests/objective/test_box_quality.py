"""Quality, distributions and instance weights against a loop over anchors in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import objective
from ioub_jax.box_codecs import DistanceCodec
from ioub_jax.matching import Matches

# Four anchors of 16 pixels at two levels: a positive a level, one ignored, one background.
ANCHORS = (
    np.array([[0, 0, 16, 16], [16, 0, 32, 16], [32, 0, 48, 16]], np.float32),
    np.array([[0, 16, 16, 32]], np.float32),
)
LABELS = np.array([[0, -1, -2, 1]])
# Around (8, 8): l 4, t 8, r 12, b 4, centreness sqrt(4/12 * 4/8). Around (8, 24): 8 each, 1.
TARGETS = np.array([[[4, 0, 20, 12], [0, 0, 1, 1], [0, 0, 1, 1], [0, 16, 16, 32]]], np.float32)
CENTRENESS = np.array([np.sqrt(1 / 6), 1.0])
POSITIVES = [0, 3]
CODEC = DistanceCodec(2.0)  # strides of 8
BINS = 3


def result(
    *,
    others,
    quality="none",
    instance_weights="none",
    lambda_=0.0,
    dynamic=False,
    w_loc=1.0,
    dtype=jnp.float32,
    **kwargs,
):
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 1, (1, len(level), 2)).astype(np.float32) for level in ANCHORS]
    distances = [np.full((1, len(level), 4), 1.0, np.float32) for level in ANCHORS]
    options = objective.ObjectiveOptions(
        classification=objective.ClassificationOptions(eta=0.0),
        localization=objective.LocalizationOptions(
            name="giou",
            lambda_=lambda_,
            w_loc=1.0,
            dynamic=dynamic,
            instance_weights=instance_weights,
        ),
        codec=CODEC,
        quality=objective.QualityOptions(quality, 0.5),
        distribution_weight=0.25,
    )
    matches = Matches(
        jnp.asarray(LABELS), jnp.zeros(LABELS.shape, jnp.int32), jnp.zeros(LABELS.shape)
    )
    compiled = jax.jit(functools.partial(objective.detection_objective, options=options, **kwargs))
    found = compiled(
        tuple(jnp.asarray(level, dtype) for level in logits),
        tuple(map(jnp.asarray, distances)),
        tuple(map(jnp.asarray, ANCHORS)),
        matches,
        jnp.asarray(TARGETS),
        w_loc=jnp.float32(w_loc),
        moving_average=jnp.float32(100.0),
        others=others,
    )
    return found.metrics, np.concatenate(logits, 1)


def quality_logits():
    return (jnp.array([[[0.5], [3.0], [-9.0]]]), jnp.array([[[-1.0]]]))


def bce(logit, target):
    p = 1 / (1 + np.exp(-logit))
    return -target * np.log(p) - (1 - target) * np.log(1 - p)


# Boxes of one stride around the points: [0, 16] x [0, 16] and the second target itself.
IOUS = np.array([(12 * 12) / (16 * 16 + 16 * 12 - 12 * 12), 1.0])


@pytest.mark.parametrize(("target", "expected"), [("centreness", CENTRENESS), ("iou", IOUS)])
def test_the_quality_of_positives_is_learned(target, expected):
    metrics, _ = result(others={"quality": quality_logits()}, quality=target)
    # Half of the sum over both positives, divided by two of them.
    of_both = bce(np.array([0.5, -1.0]), np.minimum(expected, 1))
    np.testing.assert_allclose(metrics["loss_quality"], 0.5 * of_both.sum() / 2, rtol=1e-5)
    parts = metrics["loss_classification"] + metrics["loss_localization"] + metrics["loss_quality"]
    np.testing.assert_allclose(metrics["loss"], parts, rtol=1e-6)


def giou_loss():
    # The hull of [0, 16]^2 and [4, 20] x [0, 12] is 20 x 16, of which 320 - 304 is empty.
    return np.array([1 - IOUS[0] + 16 / 320, 0.0])


def test_boxes_count_by_their_centreness_and_are_divided_by_its_sum():
    metrics, _ = result(others={}, instance_weights="centreness")
    expected = (CENTRENESS * giou_loss()).sum() / CENTRENESS.sum()
    np.testing.assert_allclose(metrics["loss_localization"], expected, rtol=1e-5)
    plain, _ = result(others={})
    np.testing.assert_allclose(plain["loss_localization"], giou_loss().sum() / 2, rtol=1e-5)


def test_boxes_count_by_their_highest_score():
    metrics, logits = result(others={}, instance_weights="score")
    scores = 1 / (1 + np.exp(-logits[0, POSITIVES].max(-1)))
    # Their sum, about 1.1 here, is at least 1.
    expected = (scores * giou_loss()).sum() / max(scores.sum(), 1)
    np.testing.assert_allclose(metrics["loss_localization"], expected, rtol=1e-5)


@pytest.mark.parametrize("instance_weights", ["none", "centreness", "score"])
def test_iou_balanced_weights_keep_the_sum_of_the_weighted_loss(monkeypatch, instance_weights):
    # The second box now is 14 of 16 wide: IoU .875, GIoU loss .125, so that both have a loss.
    targets = TARGETS.copy()
    targets[0, 3] = [2, 16, 16, 32]
    monkeypatch.setattr(f"{__name__}.TARGETS", targets)
    plain, _ = result(others={}, instance_weights=instance_weights)
    in_each_batch, _ = result(
        others={}, instance_weights=instance_weights, lambda_=1.5, dynamic=True
    )
    np.testing.assert_allclose(
        in_each_batch["loss_localization"], plain["loss_localization"], rtol=1e-6
    )
    before, _ = result(others={}, instance_weights=instance_weights, lambda_=1.5)
    w_loc = before["calibration_plain"] / before["calibration_balanced"]
    measured, _ = result(others={}, instance_weights=instance_weights, lambda_=1.5, w_loc=w_loc)
    np.testing.assert_allclose(measured["loss_localization"], plain["loss_localization"], rtol=1e-6)
    if instance_weights == "centreness":
        # Losses .5763 and .125 times sqrt(1/6) and sqrt(3/4), IoUs .4737 and .875 to the 1.5:
        # .2353 and .1083; (.2353 + .1083) / (.2353 * .3260 + .1083 * .8185) = 2.079.
        np.testing.assert_allclose(w_loc, 2.079, rtol=1e-3)


def test_distances_are_learned_as_distributions():
    rng = np.random.default_rng(1)
    bins = [rng.normal(0, 1, (1, len(level), 4 * BINS)).astype(np.float32) for level in ANCHORS]
    metrics, _ = result(others={"distribution": tuple(map(jnp.asarray, bins))})
    # In strides: (.5, 1, 1.5, .5) and (1, 1, 1, 1), of bins 0, 1 and 2 (the last up to 1.9).
    distances = np.array([[0.5, 1.0, 1.5, 0.5], [1.0] * 4])
    rows = np.concatenate(bins, 1)[0, POSITIVES].reshape(2, 4, BINS)
    log_shares = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
    left = np.minimum(np.floor(distances), 1).astype(int)[..., None]
    beyond = distances - left[..., 0]
    lower = np.take_along_axis(log_shares, left, -1)[..., 0]
    upper = np.take_along_axis(log_shares, left + 1, -1)[..., 0]
    losses = -((1 - beyond) * lower + beyond * upper).mean(-1)
    np.testing.assert_allclose(metrics["loss_distribution"], 0.25 * losses.sum() / 2, rtol=1e-5)


def test_a_network_without_a_quality_is_told():
    with pytest.raises(ValueError, match="the network has no 'quality'"):
        result(others={}, quality="iou")


def test_gradients_are_numbers_without_a_positive(monkeypatch):
    monkeypatch.setattr(f"{__name__}.LABELS", np.full((1, 4), -1))

    def loss_of(quality, bins):
        others = {"quality": quality, "distribution": bins}
        metrics, _ = result(others=others, quality="centreness", instance_weights="centreness")
        return metrics["loss"]

    bins = tuple(jnp.ones((1, len(level), 4 * BINS)) for level in ANCHORS)
    gradients = jax.grad(loss_of, argnums=(0, 1))(quality_logits(), bins)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradients))
