"""Losses that look at a batch together, and the correlation loss: in the objective as exported."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes, losses, objective
from ioub_jax.losses.score_correlation import KINDS
from ioub_jax.objective import options as choices
from tests.objective.test_class_weights import trained
from tests.objective.test_detection import case

WEIGHTS = (0.25, 3.0)


def average_lrp(logits, labels, ious, **more):
    return losses.average_lrp_loss(logits, labels, 1.0 - ious, **more).classification


RANKING = {
    "rank_and_sort": losses.rank_and_sort_loss,
    "bucketed_rank_and_sort": losses.bucketed_rank_and_sort_loss,
    "average_lrp": average_lrp,
}


def flat(arguments):
    """Logits of all levels, labels, and the IoUs of positives."""
    logits, deltas, anchors, matches, targets = arguments
    decoded = boxes.decode(jnp.concatenate(deltas, axis=1), jnp.concatenate(anchors)[None])
    ious = boxes.aligned_iou(decoded, targets)
    return jnp.concatenate(logits, axis=1), matches.labels, jnp.where(matches.labels >= 0, ious, 0)


def compare(options, exported, arguments):
    _, labels, ious = flat(arguments)

    def value_of(logits):
        return exported(jnp.concatenate(logits, axis=1), labels, ious)

    expected, gradient = jax.jit(jax.value_and_grad(value_of))(arguments[0])
    found, of_logits = trained(arguments[0], arguments[1:], options)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(of_logits, gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        assert np.isfinite(ours).all()


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ranking_losses_are_means_over_the_positives_of_the_batch(name, weights):
    options = objective.ClassificationOptions(
        name=name, eta=0.0, delta=0.75 if weights else None, class_weights=weights
    )
    step = {"delta": 0.75} if weights else {}

    def exported(logits, labels, ious):
        values = RANKING[name](logits, labels, ious, **step)
        if weights:
            values = values * losses.weights_of_classes(labels, jnp.asarray(weights))
        return jnp.sum(values) / jnp.sum(labels >= 0)

    compare(options, exported, case(3))


@pytest.mark.parametrize("bins", [1, 10])
def test_ghm_is_the_sum_over_all_levels(bins):
    def exported(logits, labels, _):
        return jnp.sum(losses.ghm_c_loss(logits, labels, bins=bins)[0])

    compare(objective.ClassificationOptions(name="ghm_c", eta=0.0, bins=bins), exported, case(3))


@pytest.mark.parametrize("name", ["ghm_c", *RANKING])
def test_without_a_positive_all_is_finite(name):
    arguments = case(3, positives=False)
    options = objective.ClassificationOptions(name=name, eta=0.0, correlation_weight=1.0)
    found, gradient = trained(arguments[0], arguments[1:], options)
    assert np.isfinite(found)
    assert all(np.isfinite(each).all() for each in gradient)


@pytest.mark.parametrize("columns", [2, 3])
def test_the_correlation_loss_is_added(columns):
    """Of sigmoids and, with a column for the background, of a softmax."""
    arguments = case(3, columns=columns)
    logits, labels, ious = flat(arguments)
    positive = np.asarray(labels) >= 0
    column = np.maximum(labels, 0)[..., None]
    if columns == 2:
        scores = np.take_along_axis(np.asarray(jax.nn.sigmoid(logits)), column, -1)
    else:
        scores = np.take_along_axis(np.asarray(jax.nn.softmax(logits)), column + 1, -1)
    name = "focal" if columns == 2 else "softmax"

    @functools.partial(jax.jit, static_argnames="options")
    def metrics_of(options):
        return objective.detection_objective(
            *arguments,
            w_loc=jnp.float32(1.0),
            moving_average=jnp.float32(1.0),
            options=objective.ObjectiveOptions(options),
        ).metrics

    plain = metrics_of(objective.ClassificationOptions(name=name, eta=0.0))
    assert "loss_correlation" not in plain
    for kind in KINDS if columns == 2 else KINDS[:1]:
        with_it = metrics_of(
            objective.ClassificationOptions(
                name=name, eta=0.0, correlation_weight=0.5, correlation_kind=kind
            )
        )
        expected = 0.5 * losses.correlation_loss(
            scores[..., 0][positive], np.asarray(ious)[positive], kind=kind
        )
        np.testing.assert_allclose(with_it["loss_correlation"], expected, rtol=1e-4)
        np.testing.assert_allclose(
            with_it["loss"], plain["loss"] + with_it["loss_correlation"], rtol=1e-5
        )


def test_the_kinds_are_those_of_the_loss():
    assert choices.CORRELATIONS == KINDS
