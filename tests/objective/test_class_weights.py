"""Class weights in the objective: it is the exported losses with the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import boxes, losses, objective
from tests.objective.test_detection import case

WEIGHTS = (0.25, 3.0)


@functools.partial(jax.jit, static_argnames="options")
def trained(logits, arguments, options):
    def value_of(logits):
        found = objective.detection_objective(
            logits,
            *arguments,
            w_loc=jnp.float32(1.0),
            moving_average=jnp.float32(100.0),
            options=objective.ObjectiveOptions(options),
        )
        return found.metrics["loss_classification"]

    return jax.value_and_grad(value_of)(logits)


#: What is chosen -> the exported loss of all logits, labels and IoUs, summed.
EXPORTED = {
    objective.ClassificationOptions(normalizer_scope="batch"): (
        losses.iou_balanced_sigmoid_focal_loss
    ),
    objective.ClassificationOptions(eta=0.0): lambda logits, labels, ious, **weights: (
        losses.sigmoid_focal_loss(logits, labels, **weights)
    ),
    objective.ClassificationOptions(name="quality_focal", eta=0.0): losses.quality_focal_loss,
    objective.ClassificationOptions(name="varifocal", eta=0.0, alpha=0.75): losses.varifocal_loss,
    objective.ClassificationOptions(name="mal", eta=0.0, gamma=1.5): losses.matchability_aware_loss,
    objective.ClassificationOptions(name="ia_bce", eta=0.0): losses.iou_aware_bce_loss,
}


def with_weights(options, weights=WEIGHTS):
    values = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return objective.ClassificationOptions(**{**values, "class_weights": weights})


@pytest.mark.parametrize("options", EXPORTED, ids=lambda o: f"{o.name}-{o.eta:g}")
def test_it_is_the_exported_loss(options):
    logits, deltas, anchors, matches, targets = case(3)
    decoded = boxes.decode(jnp.concatenate(deltas, axis=1), jnp.concatenate(anchors)[None])
    ious = boxes.aligned_iou(decoded, targets)
    labels = matches.labels

    def exported(logits, weights=WEIGHTS):
        values = EXPORTED[options](
            jnp.concatenate(logits, axis=1),
            labels,
            jnp.where(labels >= 0, ious, 0.0),
            class_weights=None if weights is None else jnp.asarray(weights),
        )
        return jnp.sum(values) / jnp.sum(labels >= 0)

    expected, gradient = jax.jit(jax.value_and_grad(exported))(logits)
    found, of_logits = trained(logits, (deltas, anchors, matches, targets), with_weights(options))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for ours, theirs in zip(of_logits, gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    # Without weights it is another loss.
    assert abs(float(exported(logits, None)) - float(found)) > 0.01


def test_whole_anchors_are_weighted_and_mining_is_not_changed():
    arguments = case(5, columns=3)
    options = objective.ClassificationOptions(name="softmax", normalizer_scope="image", eta=0.0)
    logits, deltas, anchors, matches, targets = arguments
    labels = matches.labels
    cross_entropy = losses.softmax_cross_entropy(jnp.concatenate(logits, axis=1), labels)
    mined = losses.hard_negative_mask(cross_entropy, labels, ratio=3)
    factors = np.where(np.asarray(labels) == 1, 3.0, np.where(np.asarray(labels) == 0, 0.25, 1.0))
    counted = np.asarray((labels >= 0) | mined)
    expected = (np.asarray(cross_entropy) * factors)[counted].sum() / (labels >= 0).sum()
    found, _ = trained(logits, (deltas, anchors, matches, targets), with_weights(options))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_weights_the_program_is_the_same():
    """As text: nothing is computed for weights that are not there, and something where they are."""
    logits, *arguments = case(3)
    options = objective.ClassificationOptions()
    text = trained.lower(logits, tuple(arguments), options).as_text()
    assert trained.lower(logits, tuple(arguments), with_weights(options, None)).as_text() == text
    assert trained.lower(logits, tuple(arguments), with_weights(options)).as_text() != text


def test_weights_that_are_none_are_refused():
    for weights in ((1.0, 0.0), (-1.0,)):
        with pytest.raises(ValueError, match=r"^class_weights is .*; all must be above 0\.$"):
            objective.ClassificationOptions(class_weights=weights)
