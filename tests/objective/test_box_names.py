"""Every loss on boxes in the objective: it is the exported function, and its state goes on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes, losses, objective
from ioub_jax.detectors import anchor_objective
from ioub_jax.matching import Matches
from ioub_jax.objective.options import BOX_LOSSES

RANDOM = np.random.default_rng(0)
SIZES, CLASSES, CANVAS = (5, 3), 2, (64, 96)
N = sum(SIZES)


def _boxes(*shape):
    corners = RANDOM.uniform(0, 30, (*shape, 2))
    return np.concatenate([corners, corners + RANDOM.uniform(8, 30, (*shape, 2))], -1).astype("f4")


ANCHORS = _boxes(N)
DELTAS = RANDOM.normal(size=(2, N, 4)).astype("f4") * 0.3
TARGETS = _boxes(2, N)
LABELS = np.array([[0, 1, -1, -2, 0, 1, 1, -1], [-1, -1, 0, 1, -1, -1, 0, 0]])
SETTINGS = {
    "focal_eiou": {"gamma": 0.7},
    "siou": {"theta": 2.0, "inner": 0.8},
    "shape_iou": {"scale": 0.7, "focaler": (0.0, 0.95)},
    "piou2": {"piou_lambda": 1.1},
    "nwd": {"nwd_constant": 20.0},
    "wiou_v2": {"gamma": 0.7, "wiou_momentum": 0.5},
    "wiou_v3": {"wiou_alpha": 1.9, "wiou_delta": 3.0, "wiou_momentum": 0.5},
}


def options_of(name):
    return objective.ObjectiveOptions(
        objective.ClassificationOptions(eta=0.0),
        objective.LocalizationOptions(name=name, lambda_=0.0, **SETTINGS.get(name, {})),
    )


def two_batches(name):
    """The localization loss of a batch that comes twice, and the state after both."""
    levels = lambda values: tuple(jnp.split(values, SIZES[:1], axis=-2))  # noqa: E731
    state, found = None, []
    for _ in range(2):
        result = objective.detection_objective(
            levels(jnp.zeros((2, N, CLASSES))),
            levels(jnp.asarray(DELTAS)),
            levels(jnp.asarray(ANCHORS)),
            Matches(jnp.asarray(LABELS), jnp.zeros((2, N), int), jnp.zeros((2, N))),
            jnp.asarray(TARGETS),
            w_loc=jnp.float32(1.0),
            moving_average=jnp.float32(1.0),
            options=options_of(name),
            loss_state=state,
            image_size=CANVAS,
        )
        state = result.loss_state
        found.append(result.metrics["loss_localization"])
    return found, state


def published(name):
    """The same from the exported functions."""
    decoded = boxes.decode(DELTAS, ANCHORS[None])
    given, positive = dict(SETTINGS.get(name, {})), LABELS >= 0
    count = float(positive.sum())
    if name == "nwd":
        loss = losses.normalized_wasserstein_distance(decoded, TARGETS, constant=20.0)
    elif name in ("wiou_v2", "wiou_v3"):
        given = {key.removeprefix("wiou_"): value for key, value in given.items()}
        wise = functools.partial(
            losses.wise_iou_loss, decoded, TARGETS, version=int(name[-1]), where=positive, **given
        )
        first, mean = wise(losses.wise_iou.INITIAL_MEAN)
        second, mean = wise(mean)
        return [loss.sum() / count for loss in (first, second)], {"wiou_mean": mean}
    else:
        size = {"image_size": CANVAS} if name == "mpdiou" else {}
        loss = losses.iou_loss(decoded, TARGETS, kind=name, **given, **size)
    return [jnp.where(positive, loss, 0.0).sum() / count] * 2, {}


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_it_is_the_exported_function(name):
    found, state = jax.jit(two_batches, static_argnums=0)(name)
    expected, expected_state = published(name)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert state.keys() == expected_state.keys()
    for key, value in expected_state.items():
        np.testing.assert_allclose(state[key], value, rtol=1e-6)
    assert options_of(name).localization.initial_state.keys() == state.keys()


def test_mpdiou_has_the_canvas_of_the_batch():
    of_anchors = anchor_objective.AnchorObjective(
        anchor_objective.MatchingOptions(), options_of("mpdiou")
    )
    assert of_anchors._image_size({"image": np.zeros((2, 64, 96, 3))}) == (64, 96)
