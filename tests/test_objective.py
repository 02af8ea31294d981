"""The objective against a plain loop over anchors, for every scope and normaliser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioub_jax import boxes, objective
from ioub_jax.matching import Matches

SIZES, IMAGES, CLASSES = (6, 3), 3, 2


def case(seed, *, positives=True):
    """Random predictions and matches of three images with two levels; image 0 has no positive."""
    rng = np.random.default_rng(seed)
    anchors = []
    for size in SIZES:
        corner = rng.uniform(0, 50, (size, 2))
        anchors.append(np.concatenate([corner, corner + rng.uniform(8, 30, (size, 2))], 1))
    every = np.concatenate(anchors)
    labels = rng.choice([-2, -1, 0, 1], (IMAGES, sum(SIZES))).astype(np.int32)
    labels[0] = np.where(labels[0] >= 0, -1, labels[0])
    if not positives:
        labels = np.where(labels >= 0, -1, labels)
    targets = every + rng.uniform(-4, 4, (IMAGES, *every.shape))
    logits = [rng.normal(0, 2, (IMAGES, size, CLASSES)) for size in SIZES]
    deltas = [rng.normal(0, 0.2, (IMAGES, size, 4)) for size in SIZES]

    def single(arrays):
        return tuple(jnp.asarray(array, jnp.float32) for array in arrays)

    matches = Matches(jnp.asarray(labels), jnp.zeros_like(labels), jnp.zeros(labels.shape))
    return single(logits), single(deltas), single(anchors), matches, *single([targets])


@jax.jit
def _decode_and_encode(deltas, anchors, targets):
    decoded = boxes.decode(deltas, anchors)
    return boxes.aligned_iou(decoded, targets), boxes.encode(targets, anchors)


def reference(arguments, w_loc, options):
    """Loss and weights by loops, in float64."""
    logits, deltas, anchors, matches, targets = arguments
    labels = np.asarray(matches.labels)
    scores = np.concatenate(logits, 1).astype(np.float64)
    deltas = np.concatenate(deltas, 1)
    ious, encoded = (
        np.asarray(array, np.float64)
        for array in _decode_and_encode(deltas, np.concatenate(anchors)[None], targets)
    )
    level = np.repeat(np.arange(len(SIZES)), SIZES)

    def focal(z, target):
        p = 1 / (1 + np.exp(-z))
        if target:
            return -0.25 * (1 - p) ** 2 * np.log(p)
        return -0.75 * p**2 * np.log(1 - p)

    entries = [
        (image, anchor)
        for image in range(IMAGES)
        for anchor in range(sum(SIZES))
        if labels[image, anchor] >= 0
    ]
    scope_of = {
        "batch": lambda image, anchor: 0,
        "level": lambda image, anchor: level[anchor],
        "image": lambda image, anchor: image,
    }[options.classification.normalizer_scope]
    classification, localization = np.zeros(IMAGES), np.zeros(IMAGES)
    for image in range(IMAGES):
        for anchor in range(sum(SIZES)):
            label = labels[image, anchor]
            if label == -2:
                continue
            for c in range(CLASSES):
                value = focal(scores[image, anchor, c], c == label)
                if c == label:
                    same = [e for e in entries if scope_of(*e) == scope_of(image, anchor)]
                    plain = [focal(scores[i, a, labels[i, a]], True) for i, a in same]
                    powers = [ious[e] ** options.classification.eta for e in same]
                    ratio = sum(plain) / sum(np.multiply(powers, plain))
                    value *= ious[image, anchor] ** options.classification.eta * ratio
                classification[image] += value
    for image, anchor in entries:
        difference = np.abs(deltas[image, anchor] - encoded[image, anchor])
        beta = options.localization.beta
        smooth = np.where(
            difference < beta, 0.5 * difference**2 / beta, difference - 0.5 * beta
        ).sum()
        localization[image] += w_loc * ious[image, anchor] ** options.localization.lambda_ * smooth
    counts = (labels >= 0).sum(axis=1)
    scales = {
        "positives": np.full(IMAGES, 1 / max(counts.sum(), 1)),
        "positives_at_least_one_per_image": np.full(IMAGES, 1 / np.maximum(counts, 1).sum()),
        "per_image": 1 / (IMAGES * np.maximum(counts, 1)),
        # From 100: .9 * 100 + .1 * positives.
        "moving_average": np.full(IMAGES, 1 / (90 + 0.1 * max(counts.sum(), 1))),
    }[options.normalizer]
    return (scales * classification).sum(), (scales * localization).sum()


def options_of(scope="level", normalizer="positives", **localization):
    return objective.ObjectiveOptions(
        objective.ClassificationOptions(normalizer_scope=scope),
        objective.LocalizationOptions(**localization),
        normalizer,
    )


def evaluate(arguments, options, w_loc=1.7):
    run = jax.jit(objective.detection_objective, static_argnames="options")
    return run(
        *arguments,
        w_loc=jnp.float32(w_loc),
        moving_average=jnp.float32(100.0),
        options=options,
    )


@pytest.mark.parametrize("normalizer", objective.NORMALIZERS)
@pytest.mark.parametrize("scope", objective.NORMALIZER_SCOPES)
def test_equals_the_formula_written_as_loops(scope, normalizer):
    options = options_of(scope, normalizer)
    arguments = case(3)
    result = evaluate(arguments, options)
    classification, localization = reference(arguments, 1.7, options)
    np.testing.assert_allclose(result.metrics["loss_classification"], classification, rtol=1e-5)
    np.testing.assert_allclose(result.metrics["loss_localization"], localization, rtol=1e-5)
    np.testing.assert_allclose(result.loss, classification + localization, rtol=1e-5)


_scalars = jax.jit(objective.per_anchor_scalars, static_argnames="options")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weights_change_no_sum_of_the_positive_classification_loss(seed):
    scalars = _scalars(*case(seed), options_of("batch"))
    for scope in objective.NORMALIZER_SCOPES:
        chosen = objective.ClassificationOptions(normalizer_scope=scope)
        weights = objective.classification_weights(scalars, list(SIZES), chosen)
        weighted = np.sum(weights * scalars.classification)
        np.testing.assert_allclose(weighted, np.sum(scalars.classification), rtol=1e-5)
        assert np.all(np.asarray(weights)[~np.asarray(scalars.positive)] == 1)


def test_measured_w_loc_keeps_the_sum_of_the_localization_loss():
    arguments = case(4)
    plain = evaluate(arguments, options_of(lambda_=0.0), w_loc=1.0)
    metrics = evaluate(arguments, options_of()).metrics
    w_loc = metrics["calibration_plain"] / metrics["calibration_balanced"]
    balanced = evaluate(arguments, options_of(), w_loc=w_loc)
    np.testing.assert_allclose(
        balanced.metrics["loss_localization"], plain.metrics["loss_localization"], rtol=1e-6
    )
    dynamic = evaluate(arguments, options_of(dynamic=True), w_loc=99.0)
    np.testing.assert_allclose(
        dynamic.metrics["loss_localization"], plain.metrics["loss_localization"], rtol=1e-6
    )


def test_the_control_arm_measures_with_another_lambda_than_it_weighs():
    arguments = case(4)
    metrics = evaluate(arguments, options_of()).metrics
    control = evaluate(arguments, options_of(lambda_=0.0, calibration_lambda=1.5)).metrics
    np.testing.assert_allclose(metrics["calibration_balanced"], control["calibration_balanced"])
    expected = 1.7 * evaluate(arguments, options_of(lambda_=0.0), 1.0).metrics["loss_localization"]
    np.testing.assert_allclose(control["loss_localization"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", objective.LOCALIZATION_LOSSES)
@pytest.mark.parametrize("positives", [True, False])
def test_every_localization_loss_has_finite_gradients(name, positives):
    arguments = case(5, positives=positives)

    def loss(deltas):
        return evaluate((arguments[0], deltas, *arguments[2:]), options_of(name=name)).loss

    value, gradient = jax.value_and_grad(loss)(arguments[1])
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(level)) for level in gradient)
    moved = any(np.any(np.asarray(level) != 0) for level in gradient)
    assert moved == positives


@pytest.mark.parametrize("name", objective.CLASSIFICATION_LOSSES)
def test_no_gradient_reaches_a_box_through_the_classification_loss(name):
    arguments = case(6)
    options = objective.ObjectiveOptions(
        objective.ClassificationOptions(name=name, eta=1.5 if name == "focal" else 0.0),
        objective.LocalizationOptions(weight=0.0),
    )
    gradient = jax.grad(
        lambda deltas: evaluate((arguments[0], deltas, *arguments[2:]), options).loss
    )(arguments[1])
    assert all(np.all(np.asarray(level) == 0) for level in gradient)


def test_metrics_of_the_positives():
    arguments = case(3)
    metrics = evaluate(arguments, options_of()).metrics
    positive = np.asarray(arguments[3].labels) >= 0
    every = np.concatenate(arguments[2])[None]
    ious, _ = _decode_and_encode(np.concatenate(arguments[1], 1), every, arguments[4])
    assert float(metrics["positives_per_image"]) == pytest.approx(positive.sum() / IMAGES)
    assert float(metrics["mean_positive_iou"]) == pytest.approx(
        np.asarray(ious)[positive].mean(), rel=1e-5
    )
    assert float(metrics["loss_normalizer"]) == positive.sum()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: objective.ClassificationOptions(name="fokal"), "loss.classification.name is 'fok"),
        (lambda: objective.ClassificationOptions(normalizer_scope="gpu"), "normalizer_scope is"),
        (lambda: objective.ClassificationOptions(name="varifocal"), "already follows the IoU"),
        (lambda: objective.LocalizationOptions(name="l2"), "loss.localization.name is 'l2'"),
        (lambda: objective.ObjectiveOptions(normalizer="none"), "loss.normalizer is 'none'"),
    ],
)
def test_unknown_choices_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
