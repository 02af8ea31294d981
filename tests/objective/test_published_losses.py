"""The objective that trains is the exported losses, masked, summed and normalized.

The objective writes the IoU-balanced losses anew, so as to read the logits once. Here it is
compared with `losses.iou_balanced_*`, the functions that a reader of the README takes, and with
what the authors' own code computed (tests/golden/README.md): values, and gradients of logits and
deltas.

The objective is computed in float32. A sum of 5000 terms of one sign, each rounded to 6e-8, is
right to about 1e-6 in whatever order, and so is a normalizer, which multiplies the gradient of each
positive; a relative 1e-5 leaves room for both. An absolute 1e-6 of the largest gradient is for
entries that are differences of nearly equal numbers.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes, losses, objective
from ioub_jax.box_codecs import DeltaCodec
from ioub_jax.matching import Matches
from tests.every_day import one_of_a_kind

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "author_losses.npz"
IMAGES, SIZES, CLASSES = 3, (40, 12, 6), 4
SIDE = 16.0  # of the anchors of a golden case, in pixels


# Of the authors' numbers. They add 1e-6 to the denominator of eq. 2, which is 0.014 in one level.
WITH_EPS = 1e-4


def close(found, expected, relative=1e-5):
    absolute = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=relative, atol=absolute)


@functools.partial(jax.jit, static_argnames=("options", "term"))
def trained(predictions, case, w_loc, options, term="loss"):
    """Value and gradients (of logits and deltas) of a term of the objective."""

    def value_of(predictions):
        found = objective.detection_objective(
            *predictions,
            *case,
            w_loc=w_loc,
            moving_average=jnp.float32(100.0),
            options=options,
        )
        return found.metrics[term]

    return jax.value_and_grad(value_of)(predictions)


# ------------------------------------------------------------------ the exported functions, reduced


def published_classification(logits, labels, ious, options):
    """Sum over all entries; the normalizer's scope is what the functions call `axis`."""
    if options.normalizer_scope == "level":
        parts = [(*part, None) for part in zip(logits, labels, ious, strict=True)]
    else:
        axis = -1 if options.normalizer_scope == "image" else None
        parts = [(*(jnp.concatenate(x, axis=1) for x in (logits, labels, ious)), axis)]
    if options.name == "focal":
        return sum(
            jnp.sum(
                losses.iou_balanced_sigmoid_focal_loss(
                    *part, eta=options.eta, axis=axis, **options.hyper_parameters
                )
            )
            for *part, axis in parts
        )
    values = [
        losses.iou_balanced_softmax_cross_entropy(*part, eta=options.eta, axis=axis)
        for *part, axis in parts
    ]
    values, labels = jnp.concatenate(values, axis=1), jnp.concatenate(labels, axis=1)
    # As the function says: negatives have weight 1, so the balanced loss mines what the plain does.
    mined = losses.hard_negative_mask(values, labels, ratio=options.negatives_per_positive)
    return jnp.sum(jnp.where((labels >= 0) | mined, values, 0.0))


def published_localization(deltas, targets, ious, positive, w_loc, options):
    """Sum over the positives; eq. 5 by the weights' function, as its docstring says."""
    if options.dynamic:
        plain = jnp.sum(losses.smooth_l1_loss(deltas, targets, beta=options.linear_from), axis=-1)
        weights = losses.iou_balanced_classification_weights(
            plain, ious, positive, eta=options.lambda_
        )
        return jnp.sum(jnp.where(positive, weights * plain, 0.0))
    values = losses.iou_balanced_smooth_l1_loss(
        deltas, targets, ious, lambda_=options.lambda_, w_loc=w_loc, beta=options.linear_from
    )
    return jnp.sum(jnp.where(positive[..., None], values, 0.0))


@functools.partial(jax.jit, static_argnames="options")
def published(predictions, case, w_loc, options):
    """Value and gradients likewise, of the exported functions.

    The IoUs are those of the predicted boxes, and nothing here stops their gradients: that the
    functions let none through is part of what is compared.
    """
    anchors, matches, targets = case
    every = jnp.concatenate(anchors)
    edges = np.cumsum(SIZES)[:-1]

    def value_of(predictions):
        logits, deltas = predictions
        deltas = jnp.concatenate(deltas, axis=1)
        ious = boxes.aligned_iou(boxes.decode(deltas, every[None]), targets)
        classification = published_classification(
            logits,
            jnp.split(matches.labels, edges, axis=1),
            jnp.split(ious, edges, axis=1),
            options.classification,
        )
        localization = published_localization(
            deltas,
            boxes.encode(targets, every[None]),
            ious,
            matches.labels >= 0,
            w_loc,
            options.localization,
        )
        return (classification + localization) / jnp.sum(matches.labels >= 0, dtype=jnp.float32)

    return jax.value_and_grad(value_of)(predictions)


def random_case(seed, columns):
    """Predictions, and what they are compared with: three images of three levels.

    The first image has no positive, the second one with IoU 0, every one has ignored anchors.
    """
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (sum(SIZES), 2))
    anchors = np.concatenate([corners, corners + rng.uniform(8, 30, corners.shape)], axis=1)
    labels = rng.choice([-2, *[-1] * 8, *range(CLASSES)], (IMAGES, sum(SIZES))).astype(np.int32)
    labels[0] = np.minimum(labels[0], -1)
    labels[1, 5] = 2
    targets = anchors + rng.uniform(-4, 4, (IMAGES, *anchors.shape))
    targets[1, 5] += 500
    edges = np.cumsum(SIZES)[:-1]

    def levels(array, axis=1):
        return tuple(map(jnp.float32, np.split(array, edges, axis=axis)))

    logits = levels(rng.normal(0, 2, (*labels.shape, columns)))
    deltas = levels(rng.normal(0, 0.2, (*labels.shape, 4)))
    matches = Matches(jnp.asarray(labels), jnp.zeros_like(labels), jnp.zeros(labels.shape))
    return (logits, deltas), (levels(anchors, axis=0), matches, jnp.float32(targets))


@pytest.mark.parametrize("eta", one_of_a_kind((0.0, 1.5), 1.5))
@pytest.mark.parametrize("scope", one_of_a_kind(objective.NORMALIZER_SCOPES, "batch"))
@pytest.mark.parametrize("name", ["focal", "softmax"])
def test_random_cases_of_classification(name, scope, eta):
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(name=name, eta=eta, normalizer_scope=scope)
    )
    for seed in range(3):
        case = random_case(seed, CLASSES + (name == "softmax"))
        jax.tree.map(close, trained(*case, 1.7, options), published(*case, 1.7, options))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("lambda_", one_of_a_kind((0.0, 0.8, 1.5), 1.5))
def test_random_cases_of_localization(lambda_, dynamic):
    options = objective.ObjectiveOptions(
        localization=objective.LocalizationOptions(lambda_=lambda_, dynamic=dynamic)
    )
    for seed, w_loc in enumerate((1.0, 1.7, 0.3)):
        case = random_case(seed, CLASSES)
        jax.tree.map(close, trained(*case, w_loc, options), published(*case, w_loc, options))


# ------------------------------------------------------------------ the authors' numbers


def golden(case):
    """Inputs, value and gradient of the authors' code."""
    with np.load(GOLDEN) as file:
        inputs = {
            key.split("|")[2]: file[key] for key in file.files if key.startswith(f"{case}|in|")
        }
        gradients = [file[key] for key in file.files if key.startswith(f"{case}|grad|")]
        return inputs, file[f"{case}|value"], *gradients


def with_ious(logits, labels, ious, sizes):
    """One image whose predicted boxes, the anchors, have the given IoUs with their targets."""
    anchors = np.tile([0.0, 0.0, SIDE, SIDE], (len(labels), 1))
    targets = anchors.copy()
    targets[:, 2] *= ious  # A share of the anchor, cut off upright.
    edges = np.cumsum(sizes)[:-1]

    def levels(array, axis=1):
        return tuple(map(jnp.float32, np.split(array, edges, axis=axis)))

    labels = jnp.asarray(labels[None].astype(np.int32))
    matches = Matches(labels, jnp.zeros_like(labels), jnp.zeros(labels.shape))
    deltas = levels(np.zeros((1, *anchors.shape)))
    return (
        (levels(logits[None]), deltas),
        (levels(anchors, axis=0), matches, jnp.float32(targets[None])),
    )


@pytest.mark.parametrize(
    ("name", "options", "first_class"),
    [
        ("iou_balanced_sigmoid_focal/0", {"normalizer_scope": "batch"}, 0),
        ("iou_balanced_sigmoid_focal/0", {"normalizer_scope": "image"}, 0),
        ("iou_balanced_sigmoid_focal/5", {"normalizer_scope": "batch"}, 0),
        ("sigmoid_focal/0", {"eta": 0.0}, 0),
        ("retinanet_levels/0", {"normalizer_scope": "level"}, 0),
        # Ten positives mine all 50 negatives, which are counted here.
        (
            "iou_balanced_cross_entropy/0",
            {"name": "softmax", "normalizer_scope": "batch", "negatives_per_positive": 6},
            1,
        ),
        ("ssd_classification/0", {"name": "softmax", "normalizer_scope": "image"}, 1),
    ],
)
def test_classification_of_the_authors(name, options, first_class):
    inputs, value, gradient = golden(name)
    labels = np.where(inputs.get("ignore", False), -2, inputs["labels"]) - first_class
    positives = np.sum(labels >= 0)
    # The plain loss needs none.
    ious = inputs.get("iou", np.ones(len(labels)))
    sizes = inputs.get("level_sizes", [len(labels)])
    case = with_ious(inputs["logits"], labels, ious, sizes)
    chosen = objective.ObjectiveOptions(objective.ClassificationOptions(**options))
    # The authors divide by their own count of positives, which is an input here.
    scale = np.maximum(positives, 1) / inputs["normalizer"]

    found, (of_logits, of_deltas) = trained(*case, 1.0, chosen, "loss_classification")
    close(found * scale, value, WITH_EPS)
    close(np.concatenate(of_logits, axis=1)[0] * scale, gradient, WITH_EPS)
    assert not any(np.any(level) for level in of_deltas)


def test_localization_of_the_authors():
    """Their IoUs are random numbers, the objective's are those of their deltas."""
    inputs, _, gradient = golden("iou_balanced_smooth_l1/0")
    positive, beta, lambda_ = inputs["positive"], float(inputs["beta"]), float(inputs["lam"])
    codec = (10.0, 10.0, 5.0, 5.0)  # Under which all those boxes overlap.
    anchors = jnp.tile(jnp.array([[0.0, 0.0, SIDE, SIDE]]), (len(positive), 1))
    deltas, target_deltas = jnp.float32(inputs["pred"]), jnp.float32(inputs["target"])
    targets = boxes.decode(target_deltas, anchors, weights=codec)
    predicted = boxes.decode(deltas, anchors, weights=codec)
    ious = np.asarray(boxes.aligned_iou(predicted, targets))
    assert 0 < ious[positive].min() < 0.7 < 0.85 < ious[positive].max()

    labels = jnp.asarray(np.where(positive, 0, -1)[None].astype(np.int32))
    matches = Matches(labels, jnp.zeros_like(labels), jnp.zeros(labels.shape))
    options = objective.ObjectiveOptions(
        localization=objective.LocalizationOptions(lambda_=lambda_, beta=beta),
        codec=DeltaCodec(codec),
    )
    predictions = ((jnp.zeros((1, len(positive), 1)),), (deltas[None],))
    case = ((anchors,), matches, targets[None])
    found, (of_logits, of_deltas) = trained(predictions, case, 1.0, options, "loss_localization")
    of_all = losses.iou_balanced_smooth_l1_loss(
        deltas, target_deltas, ious, lambda_=lambda_, beta=beta
    )
    close(found, np.sum(np.asarray(of_all)[positive]) / inputs["normalizer"])
    # A weight is a constant, so a gradient is the plain one times the power of the IoU.
    ratios = np.where(positive, ious / inputs["iou"], 1.0)[:, None]
    close(of_deltas[0][0], gradient * ratios**lambda_)
    assert not np.any(of_logits[0])
